output "name" {
  description = "Name of the cluster, known when its nodes' add-ons are there."
  value       = aws_eks_cluster.this.name
  # nodes that come before the network plugin stay NotReady, and their group fails
  depends_on = [aws_eks_addon.this]
}

output "arn" {
  description = "ARN of the cluster."
  value       = aws_eks_cluster.this.arn
}

output "version" {
  description = "Kubernetes version of the control plane."
  value       = aws_eks_cluster.this.version
}

output "endpoint" {
  description = "URL of the API server."
  value       = aws_eks_cluster.this.endpoint
}

output "security_group_id" {
  description = "The one security group of all nodes and pods."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

output "oidc_provider_arn" {
  description = "For roles of service accounts (IRSA); null without irsa."
  value       = one(aws_iam_openid_connect_provider.this[*].arn)
}

output "oidc_issuer" {
  description = "The issuer's URL without its scheme, as conditions of trust policies name it."
  value       = trimprefix(aws_eks_cluster.this.identity[0].oidc[0].issuer, "https://")
}
