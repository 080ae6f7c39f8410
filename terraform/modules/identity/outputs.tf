output "role_names" {
  description = "IAM roles: server, pipeline, and those of extra."
  value       = { for name, role in aws_iam_role.this : name => role.name }
}

output "role_arns" {
  description = "The same by ARN, for annotations of service accounts where IRSA is used."
  value       = { for name, role in aws_iam_role.this : name => role.arn }
}
