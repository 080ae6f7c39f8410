mock_provider "aws" {
  source = "../../mocks"
}

variables {
  cluster_name       = "tamis-test"
  kubernetes_version = "1.36"
  subnet_ids         = ["subnet-1", "subnet-2", "subnet-3"]
}

run "system_nodes_are_small_hardened_and_kept_for_critical_pods" {
  command = apply
  assert {
    condition     = one(aws_launch_template.this["system"].metadata_options).http_tokens == "required" && one(aws_launch_template.this["system"].metadata_options).http_put_response_hop_limit == 1
    error_message = "IMDSv2 only, and out of reach of pods"
  }
  assert {
    condition     = one(one(aws_launch_template.this["system"].block_device_mappings).ebs).encrypted == "true" && one(one(aws_launch_template.this["system"].block_device_mappings).ebs).volume_type == "gp3"
    error_message = "disks are encrypted gp3"
  }
  assert {
    condition     = startswith(aws_eks_node_group.this["system"].ami_type, "AL2023_")
    error_message = "AL2023"
  }
  assert {
    condition     = [for taint in aws_eks_node_group.this["system"].taint : "${taint.key}=${taint.value}:${taint.effect}"] == ["CriticalAddonsOnly=true:NO_SCHEDULE"]
    error_message = "other pods go to Karpenter's nodes"
  }
  assert {
    condition     = one(aws_eks_node_group.this["system"].scaling_config).min_size == 2
    error_message = "two nodes, so that one may go"
  }
  assert {
    condition     = toset(keys(aws_eks_addon.this)) == toset(["coredns", "aws-ebs-csi-driver", "metrics-server"])
    error_message = "DNS, volumes and metrics"
  }
  assert {
    condition     = jsondecode(aws_eks_addon.this["metrics-server"].configuration_values).tolerations[0].key == "CriticalAddonsOnly"
    error_message = "it runs on the nodes that are there first"
  }
  assert {
    condition     = one(aws_eks_addon.this["aws-ebs-csi-driver"].pod_identity_association).role_arn == aws_iam_role.ebs_csi[0].arn
    error_message = "the EBS driver has a role of its own"
  }
}

run "ended_images_and_groups_that_can_not_be_are_refused" {
  command = plan
  variables {
    groups = {
      old = { instance_types = ["m5.large"], min = 2, max = 1, ami_type = "AL2_x86_64" }
    }
  }
  expect_failures = [var.groups]
}
