output "region" {
  description = "Region of everything."
  value       = var.region
}

output "vpc_id" {
  description = "The VPC: vpcId of the AWS Load Balancer Controller."
  value       = module.network.vpc_id
}

output "cluster_name" {
  description = "aws eks update-kubeconfig --name"
  value       = module.eks.name
}

output "cluster_endpoint" {
  description = "URL of the API server."
  value       = module.eks.endpoint
}

output "bundle_url" {
  description = "TAMIS_BUNDLE__URL of the servers, --to of tamis pipeline publish."
  value       = module.artifacts.bundle_url
}

output "redis_endpoint" {
  description = "Host and port of the state store."
  value       = module.cache.endpoint
}

output "state_url" {
  description = "TAMIS_STATE__URL of the servers, without the password."
  value       = module.cache.state_url
}

output "state_url_secret_arn" {
  description = "Secret for the whole of it."
  value       = module.cache.state_url_secret_arn
}

output "cache_user_id" {
  description = "The state store's user, who needs a password."
  value       = module.cache.user_id
}

output "repository_urls" {
  description = "Where images are pushed to, and newName of the images of k8s/."
  value       = module.registry.repository_urls
}

output "role_names" {
  description = "IAM roles of the service accounts: server, pipeline."
  value       = module.identity.role_names
}

output "karpenter_queue_name" {
  description = "settings.interruptionQueue of Karpenter's chart."
  value       = module.karpenter.queue_name
}

output "karpenter_node_role_name" {
  description = "spec.role of an EC2NodeClass."
  value       = module.karpenter.node_role_name
}

output "karpenter_controller_role_name" {
  description = "The role that Karpenter has by Pod Identity."
  value       = module.karpenter.controller_role_name
}
