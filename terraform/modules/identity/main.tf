locals {
  objects = "${var.bucket_arn}/${var.bundle_prefix}/*"
  read = [
    { Sid = "ReadBundles", Effect = "Allow", Action = "s3:GetObject", Resource = local.objects },
    # On the whole bucket: without it S3 answers 403 for an object that is not there, and a condition on the
    # prefix would not be met by GetObject.
    { Sid = "KnowWhatIsMissing", Effect = "Allow", Action = "s3:ListBucket", Resource = var.bucket_arn },
    { Sid = "Decrypt", Effect = "Allow", Action = "kms:Decrypt", Resource = var.kms_key_arn },
  ]
  publish = [
    { Sid = "Publish", Effect = "Allow", Action = ["s3:PutObject", "s3:AbortMultipartUpload"], Resource = local.objects },
    { Sid = "Encrypt", Effect = "Allow", Action = "kms:GenerateDataKey", Resource = var.kms_key_arn },
  ]
  policies = {
    server   = local.read
    pipeline = concat(local.read, local.publish)
  }

  accounts = merge(
    { for name, account in var.service_accounts : name => { namespace = var.namespace, service_account = account } },
    { for name, extra in var.extra : name => { namespace = extra.namespace, service_account = extra.service_account } },
  )

  trust = {
    for name, account in local.accounts : name => concat(
      [{
        Effect    = "Allow"
        Principal = { Service = "pods.eks.amazonaws.com" }
        Action    = ["sts:AssumeRole", "sts:TagSession"]
        # whoever may make associations can't give the role to another pod
        Condition = {
          StringEquals = {
            "aws:RequestTag/eks-cluster-arn"            = var.cluster_arn
            "aws:RequestTag/kubernetes-namespace"       = account.namespace
            "aws:RequestTag/kubernetes-service-account" = account.service_account
          }
        }
      }],
      [for irsa in var.irsa[*] : {
        Effect    = "Allow"
        Principal = { Federated = irsa.provider_arn }
        Action    = ["sts:AssumeRoleWithWebIdentity"]
        Condition = {
          StringEquals = {
            "${irsa.issuer}:aud" = "sts.amazonaws.com"
            "${irsa.issuer}:sub" = "system:serviceaccount:${account.namespace}:${account.service_account}"
          }
        }
      }],
    )
  }
}

resource "aws_iam_role" "this" {
  for_each           = local.accounts
  name               = "${var.cluster_name}-${each.key}"
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = local.trust[each.key] })
}

resource "aws_iam_role_policy" "bundles" {
  for_each = local.policies
  name     = "bundles"
  role     = aws_iam_role.this[each.key].id
  policy   = jsonencode({ Version = "2012-10-17", Statement = each.value })
}

resource "aws_iam_role_policy_attachment" "extra" {
  for_each = merge([
    for name, extra in var.extra : { for arn in extra.policy_arns : "${name} ${arn}" => { name = name, arn = arn } }
  ]...)
  role       = aws_iam_role.this[each.value.name].name
  policy_arn = each.value.arn
}

resource "aws_eks_pod_identity_association" "this" {
  for_each        = local.accounts
  cluster_name    = var.cluster_name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = aws_iam_role.this[each.key].arn
}
