output "queue_name" {
  description = "Queue of interruptions: settings.interruptionQueue of Karpenter's chart."
  value       = aws_sqs_queue.interruption.name
}

output "node_role_name" {
  description = "IAM role of Karpenter's nodes: spec.role of an EC2NodeClass."
  value       = aws_iam_role.node.name
}

output "controller_role_name" {
  description = "IAM role that Karpenter itself has by Pod Identity."
  value       = aws_iam_role.controller.name
}
