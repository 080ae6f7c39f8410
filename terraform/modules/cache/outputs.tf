output "endpoint" {
  description = "Host and port that servers connect to."
  value       = "${local.host}:${local.port}"
}

output "state_url" {
  description = "state.url of the servers, without the password."
  value       = "${local.scheme}://${var.name}@${local.host}:${local.port}${local.path}"
}

output "state_url_secret_arn" {
  description = "Secret for the whole state.url, which Terraform makes empty."
  value       = aws_secretsmanager_secret.state_url.arn
}

output "user_id" {
  description = "The cache's user, who needs the secret's password once."
  value       = aws_elasticache_user.tamis.user_id
}
