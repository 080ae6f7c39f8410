output "node_role_name" {
  description = "IAM role of the managed nodes."
  value       = aws_iam_role.node.name
}

output "group_arns" {
  description = "The node groups by name."
  value       = { for name, group in aws_eks_node_group.this : name => group.arn }
}
