# Any one zone may go: NAT, system nodes and cache are in three, and what holds data is not destroyed with the rest.
locals {
  name       = "tamis-prod"
  disposable = false
  tags       = merge({ Project = "tamis", Environment = "prod" }, var.tags)

  nat                     = "one_per_zone"
  interface_endpoints     = ["ecr.api", "ecr.dkr", "sts", "eks-auth"] # eks-auth: where pods get their roles
  log_retention_days      = 365                                       # the audit log is among them
  snapshot_retention_days = 7

  groups = {
    system = {
      instance_types = ["m7i.large"]
      min            = 3 # one a zone
      max            = 4
      taints         = [{ key = "CriticalAddonsOnly", value = "true", effect = "NO_SCHEDULE" }]
    }
  }
}
