mock_provider "aws" {
  source = "../../mocks"
}

variables {
  cluster_name = "tamis-test"
  cluster_arn  = "arn:aws:eks:eu-west-1:123456789012:cluster/tamis-test"
}

run "karpenter_has_what_its_documentation_asks_for_and_only_of_its_own" {
  command = apply
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_policy.controller["node-lifecycle"].policy).Statement :
      contains(keys(statement), "Condition") || statement.Sid == "AllowScopedEC2InstanceAccessActions"
    ])
    error_message = "instances are made, tagged and ended only with the cluster's tags"
  }
  assert {
    condition = alltrue([
      for statement in concat([for policy in aws_iam_policy.controller : jsondecode(policy.policy).Statement]...) :
      statement.Condition.StringEquals["aws:ResourceTag/kubernetes.io/cluster/tamis-test"] == "owned" if can(regex("Deletion$|Template", statement.Sid))
    ])
    error_message = "what is deleted is the cluster's"
  }
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_policy.controller["iam-integration"].policy).Statement :
      statement.Sid == "AllowPassingInstanceRole" ? statement.Resource == aws_iam_role.node.arn : statement.Resource == "arn:aws:iam::123456789012:instance-profile/*"
    ])
    error_message = "only the nodes' role is passed on, only instance profiles of the account are made"
  }
  assert {
    condition     = alltrue([for policy in aws_iam_policy.controller : length(policy.policy) <= 6144])
    error_message = "IAM takes no policy of more than 6,144 characters"
  }
  assert {
    condition     = aws_eks_access_entry.node.type == "EC2_LINUX" && aws_eks_access_entry.node.principal_arn == aws_iam_role.node.arn
    error_message = "nodes with the role may join"
  }
  assert {
    condition     = "${aws_eks_pod_identity_association.controller.namespace}/${aws_eks_pod_identity_association.controller.service_account}" == "kube-system/karpenter"
    error_message = "the chart's service account has the role"
  }
  assert {
    condition = toset([for rule in aws_cloudwatch_event_rule.interruption : jsondecode(rule.event_pattern).detail-type[0]]) == toset([
      "AWS Health Event",
      "EC2 Capacity Reservation Instance Interruption Warning",
      "EC2 Instance Rebalance Recommendation",
      "EC2 Instance State-change Notification",
      "EC2 Spot Instance Interruption Warning",
    ])
    error_message = "all that Karpenter acts upon comes into the queue"
  }
  assert {
    condition     = alltrue([for target in aws_cloudwatch_event_target.interruption : target.arn == aws_sqs_queue.interruption.arn])
    error_message = "every rule leads to the queue"
  }
  assert {
    condition     = one([for statement in jsondecode(aws_sqs_queue_policy.interruption.policy).Statement : statement.Condition.Bool["aws:SecureTransport"] if statement.Effect == "Deny"]) == "false"
    error_message = "the queue is used by TLS only"
  }
}
