mock_provider "aws" {
  source = "../../mocks"
}

variables {
  cluster_name  = "tamis-test"
  cluster_arn   = "arn:aws:eks:eu-west-1:123456789012:cluster/tamis-test"
  bucket_arn    = "arn:aws:s3:::tamis-test"
  bundle_prefix = "bundles"
  kms_key_arn   = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "servers_read_bundles_and_only_the_pipeline_writes_them" {
  command = apply
  assert {
    condition     = toset(flatten([for s in jsondecode(aws_iam_role_policy.bundles["server"].policy).Statement : s.Action])) == toset(["s3:GetObject", "s3:ListBucket", "kms:Decrypt"])
    error_message = "a server reads"
  }
  assert {
    condition = toset(flatten([for s in jsondecode(aws_iam_role_policy.bundles["pipeline"].policy).Statement : s.Action])) == toset([
      "s3:GetObject", "s3:ListBucket", "kms:Decrypt", "s3:PutObject", "s3:AbortMultipartUpload", "kms:GenerateDataKey",
    ])
    error_message = "publishing writes, and deletes nothing"
  }
  assert {
    condition = alltrue(flatten([for policy in aws_iam_role_policy.bundles : [
      for s in jsondecode(policy.policy).Statement : s.Resource == "arn:aws:s3:::tamis-test/bundles/*" if contains(["ReadBundles", "Publish"], s.Sid)
    ]]))
    error_message = "only what is under the prefix"
  }
  assert {
    condition = toset([for a in aws_eks_pod_identity_association.this : "${a.namespace}/${a.service_account}"]) == toset([
      "tamis/tamis", "tamis/tamis-pipeline",
    ])
    error_message = "the service accounts of k8s/"
  }
  assert {
    condition = alltrue([for name, role in aws_iam_role.this : alltrue([
      for s in jsondecode(role.assume_role_policy).Statement :
      s.Principal.Service == "pods.eks.amazonaws.com" && s.Condition.StringEquals["aws:RequestTag/eks-cluster-arn"] == var.cluster_arn
    ])])
    error_message = "pods of this cluster, by Pod Identity alone"
  }
}

run "irsa_and_roles_for_charts_on_request" {
  command = plan
  variables {
    irsa = {
      provider_arn = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/MOCK"
      issuer       = "oidc.eks.eu-west-1.amazonaws.com/id/MOCK"
    }
    extra = {
      load-balancers = {
        namespace       = "kube-system"
        service_account = "aws-load-balancer-controller"
        policy_arns     = ["arn:aws:iam::123456789012:policy/load-balancers"]
      }
    }
  }
  assert {
    condition     = jsondecode(aws_iam_role.this["server"].assume_role_policy).Statement[1].Condition.StringEquals["oidc.eks.eu-west-1.amazonaws.com/id/MOCK:sub"] == "system:serviceaccount:tamis:tamis"
    error_message = "the service account, and no other, by IRSA"
  }
  assert {
    condition     = aws_iam_role_policy_attachment.extra["load-balancers arn:aws:iam::123456789012:policy/load-balancers"].role == "tamis-test-load-balancers"
    error_message = "the chart's role has its policy"
  }
}

run "one_service_account_for_both_and_wildcards_are_refused" {
  command = plan
  variables {
    service_accounts = { server = "tamis", pipeline = "tamis" }
    bundle_prefix    = "*"
  }
  expect_failures = [var.service_accounts, var.bundle_prefix]
}
