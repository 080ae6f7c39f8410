locals {
  ec2     = "arn:${local.partition}:ec2:${data.aws_region.this.id}"
  profile = "arn:${local.partition}:iam::${local.account}:instance-profile/*"
  owned   = "kubernetes.io/cluster/${var.cluster_name}"

  # what Karpenter makes carries these, and it touches nothing without them
  made_by_request  = { "aws:RequestTag/${local.owned}" = "owned", "aws:RequestTag/eks:eks-cluster-name" = var.cluster_name }
  made_by_resource = { "aws:ResourceTag/${local.owned}" = "owned" }
  created = [
    "${local.ec2}:*:fleet/*",
    "${local.ec2}:*:instance/*",
    "${local.ec2}:*:volume/*",
    "${local.ec2}:*:network-interface/*",
    "${local.ec2}:*:launch-template/*",
    "${local.ec2}:*:spot-instances-request/*",
  ]

  controller_policies = {
    node-lifecycle = [
      {
        Sid    = "AllowScopedEC2InstanceAccessActions"
        Effect = "Allow"
        Action = ["ec2:RunInstances", "ec2:CreateFleet"]
        Resource = [
          "${local.ec2}::image/*",
          "${local.ec2}::snapshot/*",
          "${local.ec2}:*:security-group/*",
          "${local.ec2}:*:subnet/*",
          "${local.ec2}:*:capacity-reservation/*",
          "${local.ec2}:*:placement-group/*",
        ]
      },
      {
        Sid      = "AllowScopedEC2LaunchTemplateAccessActions"
        Effect   = "Allow"
        Action   = ["ec2:RunInstances", "ec2:CreateFleet"]
        Resource = "${local.ec2}:*:launch-template/*"
        Condition = {
          StringEquals = local.made_by_resource
          StringLike   = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" }
        }
      },
      {
        Sid      = "AllowScopedEC2InstanceActionsWithTags"
        Effect   = "Allow"
        Action   = ["ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"]
        Resource = local.created
        Condition = {
          StringEquals = local.made_by_request
          StringLike   = { "aws:RequestTag/karpenter.sh/nodepool" = "*" }
        }
      },
      {
        Sid      = "AllowScopedResourceCreationTagging"
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = local.created
        Condition = {
          StringEquals = merge(local.made_by_request, { "ec2:CreateAction" = ["RunInstances", "CreateFleet", "CreateLaunchTemplate"] })
          StringLike   = { "aws:RequestTag/karpenter.sh/nodepool" = "*" }
        }
      },
      {
        Sid      = "AllowScopedResourceTagging"
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = "${local.ec2}:*:instance/*"
        Condition = {
          StringEquals                = local.made_by_resource
          StringLike                  = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" }
          StringEqualsIfExists        = { "aws:RequestTag/eks:eks-cluster-name" = var.cluster_name }
          "ForAllValues:StringEquals" = { "aws:TagKeys" = ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"] }
        }
      },
      {
        Sid      = "AllowScopedDeletion"
        Effect   = "Allow"
        Action   = ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"]
        Resource = ["${local.ec2}:*:instance/*", "${local.ec2}:*:launch-template/*"]
        Condition = {
          StringEquals = local.made_by_resource
          StringLike   = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" }
        }
      },
    ]

    # an EC2NodeClass names a role, and Karpenter makes the instance profile for it
    iam-integration = [
      {
        Sid       = "AllowPassingInstanceRole"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = aws_iam_role.node.arn
        Condition = { StringEquals = { "iam:PassedToService" = ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"] } }
      },
      {
        Sid      = "AllowScopedInstanceProfileCreationActions"
        Effect   = "Allow"
        Action   = "iam:CreateInstanceProfile"
        Resource = local.profile
        Condition = {
          StringEquals = merge(local.made_by_request, { "aws:RequestTag/topology.kubernetes.io/region" = data.aws_region.this.id })
          StringLike   = { "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass" = "*" }
        }
      },
      {
        Sid      = "AllowScopedInstanceProfileTagActions"
        Effect   = "Allow"
        Action   = "iam:TagInstanceProfile"
        Resource = local.profile
        Condition = {
          StringEquals = merge(local.made_by_resource, local.made_by_request, {
            "aws:ResourceTag/topology.kubernetes.io/region" = data.aws_region.this.id
            "aws:RequestTag/topology.kubernetes.io/region"  = data.aws_region.this.id
          })
          StringLike = {
            "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass" = "*"
            "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass"  = "*"
          }
        }
      },
      {
        Sid      = "AllowScopedInstanceProfileActions"
        Effect   = "Allow"
        Action   = ["iam:AddRoleToInstanceProfile", "iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile"]
        Resource = local.profile
        Condition = {
          StringEquals = merge(local.made_by_resource, { "aws:ResourceTag/topology.kubernetes.io/region" = data.aws_region.this.id })
          StringLike   = { "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass" = "*" }
        }
      },
    ]

    eks-integration = [
      {
        Sid      = "AllowAPIServerEndpointDiscovery"
        Effect   = "Allow"
        Action   = "eks:DescribeCluster"
        Resource = var.cluster_arn
      },
      {
        Sid       = "AllowZonalShiftStatusReadOnly"
        Effect    = "Allow"
        Action    = "arc-zonal-shift:GetManagedResource"
        Resource  = "*"
        Condition = { StringEquals = { "arc-zonal-shift:ResourceIdentifier" = var.cluster_arn } }
      },
    ]

    interruption = [{
      Sid      = "AllowInterruptionQueueActions"
      Effect   = "Allow"
      Action   = ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
      Resource = aws_sqs_queue.interruption.arn
    }]

    resource-discovery = [
      {
        Sid    = "AllowRegionalReadActions"
        Effect = "Allow"
        Action = [
          "ec2:DescribeCapacityReservations",
          "ec2:DescribeImages",
          "ec2:DescribeInstances",
          "ec2:DescribeInstanceStatus",
          "ec2:DescribeInstanceTypeOfferings",
          "ec2:DescribeInstanceTypes",
          "ec2:DescribeLaunchTemplates",
          "ec2:DescribePlacementGroups",
          "ec2:DescribeSecurityGroups",
          "ec2:DescribeSpotPriceHistory",
          "ec2:DescribeSubnets",
        ]
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestedRegion" = data.aws_region.this.id } }
      },
      {
        Sid      = "AllowSSMReadActions"
        Effect   = "Allow"
        Action   = "ssm:GetParameter"
        Resource = "arn:${local.partition}:ssm:${data.aws_region.this.id}::parameter/aws/service/*"
      },
      {
        Sid      = "AllowPricingReadActions"
        Effect   = "Allow"
        Action   = "pricing:GetProducts"
        Resource = "*"
      },
      {
        Sid      = "AllowUnscopedInstanceProfileListAction"
        Effect   = "Allow"
        Action   = "iam:ListInstanceProfiles"
        Resource = "*"
      },
      {
        Sid      = "AllowInstanceProfileReadActions"
        Effect   = "Allow"
        Action   = "iam:GetInstanceProfile"
        Resource = local.profile
      },
    ]
  }
}
