variable "cluster_name" {
  description = "The cluster that Karpenter makes nodes for."
  type        = string
}

variable "cluster_arn" {
  description = "Its ARN."
  type        = string
  validation {
    condition     = can(regex("^arn:[a-z-]+:eks:[a-z0-9-]+:[0-9]{12}:cluster/", var.cluster_arn))
    error_message = "cluster_arn is the ARN of an EKS cluster."
  }
}

variable "namespace" {
  description = "Namespace of Karpenter's chart."
  type        = string
  default     = "kube-system"
}

variable "service_account" {
  description = "Service account of Karpenter's chart."
  type        = string
  default     = "karpenter"
}

variable "node_policy_arns" {
  description = "More policies for the nodes, such as AmazonSSMManagedInstanceCore to open sessions on them."
  type        = set(string)
  default     = []
}
