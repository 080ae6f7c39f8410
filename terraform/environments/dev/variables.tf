variable "region" {
  description = "AWS region."
  type        = string
  default     = "us-east-1"
}

variable "zones" {
  description = "Three availability zones; null for a, b and c of the region. Look what the account has: aws ec2 describe-availability-zones."
  type        = list(string)
  default     = null
}

variable "cidr" {
  description = "Addresses of the VPC, which must not be those of networks that it is to be connected with."
  type        = string
  default     = "10.1.0.0/16"
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes."
  type        = string
  default     = "1.36"
}

variable "addon_versions" {
  description = "Versions of EKS add-ons to pin, by name. Without one an add-on stays at the version that was the default when it was made."
  type        = map(string)
  default     = {}
  validation {
    condition = alltrue([
      for name in keys(var.addon_versions) :
      contains(["vpc-cni", "kube-proxy", "eks-pod-identity-agent", "coredns", "aws-ebs-csi-driver", "metrics-server"], name)
    ])
    error_message = "addon_versions knows vpc-cni, kube-proxy, eks-pod-identity-agent, coredns, aws-ebs-csi-driver and metrics-server."
  }
}

variable "admin_principal_arns" {
  description = "IAM roles or users that administer the cluster."
  type        = set(string)
}

variable "public_access_cidrs" {
  description = "Networks that may reach the API server from the internet; none: no public endpoint, so that kubectl needs a way into the VPC."
  type        = set(string)
  default     = []
}

variable "private_access_cidrs" {
  description = "Networks connected with the VPC that may reach the API server: a VPN, a bastion's subnet."
  type        = set(string)
  default     = []
}

variable "irsa" {
  description = "Whether roles are given by IRSA, too."
  type        = bool
  default     = false
}

variable "extra_identities" {
  description = "More service accounts with roles, by name, such as the AWS Load Balancer Controller's."
  type = map(object({
    namespace       = string
    service_account = string
    policy_arns     = set(string)
  }))
  default = {}
}

variable "cache" {
  description = "The state store. docs/state.md tells how much memory users take."
  type = object({
    node_type    = optional(string, "cache.t4g.micro")
    cluster_mode = optional(bool, false)
    shards       = optional(number, 1)
    replicas     = optional(number, 0)
  })
  default = {}
}

variable "tags" {
  description = "More tags for everything."
  type        = map(string)
  default     = {}
}
