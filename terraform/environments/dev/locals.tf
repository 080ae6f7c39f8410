# Cheap, and gone with `terraform destroy`: one NAT gateway, no interface endpoints, one small cache node that nobody counts on.
locals {
  name       = "tamis-dev"
  disposable = true
  tags       = merge({ Project = "tamis", Environment = "dev" }, var.tags)

  nat                     = "one"
  interface_endpoints     = [] # three would cost more than what they carry here does through NAT
  log_retention_days      = 14
  snapshot_retention_days = 0

  groups = {
    system = {
      instance_types = ["t3.medium"] # 4 GiB for Karpenter, CoreDNS, the EBS driver and metrics-server
      min            = 2             # charts want two of theirs on different nodes
      max            = 3
      taints         = [{ key = "CriticalAddonsOnly", value = "true", effect = "NO_SCHEDULE" }]
    }
  }
}
