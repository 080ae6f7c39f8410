data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}

locals {
  # What nodes need before they can be Ready. Add-ons that are pods on nodes are the module node_groups'.
  addons = {
    # k8s/ closes namespaces by NetworkPolicies; without this they are accepted and do nothing
    vpc-cni                = jsonencode({ enableNetworkPolicy = "true" })
    kube-proxy             = null
    eks-pod-identity-agent = null
  }
}

resource "aws_kms_key" "secrets" {
  description             = "Secrets of the EKS cluster ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30 # a cluster without its key can't be read any more
  # IAM decides, as by default; said, so that a change of the default changes nothing here
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "IAMDecides"
      Effect    = "Allow"
      Principal = { AWS = "arn:${data.aws_partition.this.partition}:iam::${data.aws_caller_identity.this.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_kms_alias" "secrets" {
  name          = "alias/${var.name}-eks-secrets"
  target_key_id = aws_kms_key.secrets.key_id
}

resource "aws_iam_role" "cluster" {
  name = "${var.name}-cluster"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
    }]
  })
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_iam_role_policy" "secrets" {
  name = "secrets-key"
  role = aws_iam_role.cluster.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["kms:Encrypt", "kms:Decrypt", "kms:ListGrants", "kms:DescribeKey"]
      Resource = aws_kms_key.secrets.arn
    }]
  })
}

# Made here, since EKS would make it without an end to what it keeps.
resource "aws_cloudwatch_log_group" "cluster" {
  name              = "/aws/eks/${var.name}/cluster"
  retention_in_days = var.log_retention_days
}

resource "aws_eks_cluster" "this" {
  name     = var.name
  version  = var.kubernetes_version
  role_arn = aws_iam_role.cluster.arn

  enabled_cluster_log_types     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
  bootstrap_self_managed_addons = false # the add-ons below are EKS's own from the start

  access_config {
    authentication_mode = "API"
    # who may is written down (aws_eks_access_entry.admin), and not who happened to run Terraform first
    bootstrap_cluster_creator_admin_permissions = false
  }

  encryption_config {
    resources = ["secrets"]
    provider {
      key_arn = aws_kms_key.secrets.arn
    }
  }

  vpc_config {
    subnet_ids              = var.subnet_ids
    endpoint_private_access = true
    endpoint_public_access  = length(var.public_access_cidrs) > 0
    public_access_cidrs     = length(var.public_access_cidrs) > 0 ? var.public_access_cidrs : null
  }

  # a cluster whose version has ended is upgraded, not paid for at six times the price
  upgrade_policy {
    support_type = "STANDARD"
  }

  zonal_shift_config {
    enabled = var.zonal_shift
  }

  depends_on = [
    aws_cloudwatch_log_group.cluster,
    aws_iam_role_policy.secrets,
    aws_iam_role_policy_attachment.cluster, # EKS deletes its network interfaces by it when the cluster goes
  ]
}

# The group that EKS makes lets nodes and control plane talk, and all nodes are in it: the system ones by default, Karpenter's
# because it finds this tag. It must be on exactly one group: the load balancer controller refuses nodes with two of the cluster's.
resource "aws_ec2_tag" "discovery" {
  resource_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  key         = "karpenter.sh/discovery"
  value       = var.name
}

resource "aws_vpc_security_group_ingress_rule" "api" {
  for_each          = var.private_access_cidrs
  security_group_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  description       = "API server from ${each.key}"
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_eks_access_entry" "admin" {
  for_each      = var.admin_principal_arns
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.key
}

resource "aws_eks_access_policy_association" "admin" {
  for_each      = var.admin_principal_arns
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_eks_access_entry.admin[each.key].principal_arn
  policy_arn    = "arn:${data.aws_partition.this.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
  access_scope {
    type = "cluster"
  }
}

resource "aws_eks_addon" "this" {
  for_each                    = local.addons
  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  addon_version               = lookup(var.addon_versions, each.key, null)
  configuration_values        = each.value
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
}

# AWS checks the issuer's certificate by its own list of authorities: no thumbprint is needed.
resource "aws_iam_openid_connect_provider" "this" {
  count          = var.irsa ? 1 : 0
  url            = aws_eks_cluster.this.identity[0].oidc[0].issuer
  client_id_list = ["sts.amazonaws.com"]
}
