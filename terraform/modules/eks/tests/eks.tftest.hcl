mock_provider "aws" {
  source = "../../mocks"
}

variables {
  name                 = "tamis-test"
  subnet_ids           = ["subnet-1", "subnet-2", "subnet-3"]
  admin_principal_arns = ["arn:aws:iam::123456789012:role/admin"]
}

run "the_cluster_is_closed_encrypted_and_logged_by_default" {
  command = apply
  assert {
    condition     = aws_eks_cluster.this.version == "1.36"
    error_message = "the current version of Kubernetes"
  }
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "the API server has no public endpoint"
  }
  assert {
    condition     = one(one(aws_eks_cluster.this.encryption_config).provider).key_arn == aws_kms_key.secrets.arn
    error_message = "secrets are encrypted by the cluster's own key"
  }
  assert {
    condition     = aws_kms_key.secrets.enable_key_rotation
    error_message = "the key rotates"
  }
  assert {
    condition     = aws_eks_cluster.this.enabled_cluster_log_types == toset(["api", "audit", "authenticator", "controllerManager", "scheduler"])
    error_message = "all that the control plane can log"
  }
  assert {
    condition     = one(aws_eks_cluster.this.access_config).authentication_mode == "API" && !one(aws_eks_cluster.this.access_config).bootstrap_cluster_creator_admin_permissions
    error_message = "access is by entries alone, and nobody has it unwritten"
  }
  assert {
    condition     = keys(aws_eks_access_policy_association.admin) == ["arn:aws:iam::123456789012:role/admin"]
    error_message = "those named are administrators"
  }
  assert {
    condition     = toset(keys(aws_eks_addon.this)) == toset(["vpc-cni", "kube-proxy", "eks-pod-identity-agent"])
    error_message = "what nodes need to be Ready"
  }
  assert {
    condition     = jsondecode(aws_eks_addon.this["vpc-cni"].configuration_values).enableNetworkPolicy == "true"
    error_message = "network policies are enforced"
  }
  assert {
    condition     = aws_ec2_tag.discovery.key == "karpenter.sh/discovery" && aws_ec2_tag.discovery.value == "tamis-test"
    error_message = "Karpenter finds the security group of nodes"
  }
  assert {
    condition     = length(aws_iam_openid_connect_provider.this) == 0 && output.oidc_provider_arn == null
    error_message = "Pod Identity needs no OIDC provider"
  }
}

run "a_public_endpoint_is_for_those_named" {
  command = plan
  variables {
    public_access_cidrs  = ["192.0.2.0/24"]
    private_access_cidrs = ["10.9.0.0/16"]
    irsa                 = true
  }
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["192.0.2.0/24"])
    error_message = "the public endpoint is for the networks named"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.api["10.9.0.0/16"].from_port == 443
    error_message = "the private endpoint is for the networks named"
  }
  assert {
    condition     = length(aws_iam_openid_connect_provider.this) == 1
    error_message = "IRSA on request"
  }
}

run "an_endpoint_for_the_whole_internet_and_a_cluster_for_nobody_are_refused" {
  command = plan
  variables {
    public_access_cidrs  = ["0.0.0.0/0"]
    private_access_cidrs = ["0.0.0.0/0"]
    admin_principal_arns = []
    kubernetes_version   = "1.36.3"
  }
  expect_failures = [var.public_access_cidrs, var.private_access_cidrs, var.admin_principal_arns, var.kubernetes_version]
}
