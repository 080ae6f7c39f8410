variable "cluster_name" {
  description = "The cluster whose pods get the roles."
  type        = string
}

variable "cluster_arn" {
  description = "Its ARN."
  type        = string
}

variable "namespace" {
  description = "Namespace of the service accounts."
  type        = string
  default     = "tamis"
}

variable "service_accounts" {
  description = "Names of the service accounts: of servers, which read bundles, and of the pipeline, which publishes them."
  type = object({
    server   = optional(string, "tamis")
    pipeline = optional(string, "tamis-pipeline")
  })
  default = {}
  validation {
    condition     = var.service_accounts.server != var.service_accounts.pipeline
    error_message = "Servers and pipeline have service accounts of their own: what serves may not publish."
  }
}

variable "bucket_arn" {
  description = "Bucket of the bundles."
  type        = string
}

variable "bundle_prefix" {
  description = "Where in the bucket bundles are: the path of bundle.url, without slashes around it."
  type        = string
  validation {
    condition     = can(regex("^[^/*?].*[^/*?]$", var.bundle_prefix))
    error_message = "bundle_prefix is a path in the bucket, without slashes around it and without wildcards."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the bucket."
  type        = string
}

variable "irsa" {
  description = "OIDC provider of the cluster, to give the roles by IRSA, too; null for Pod Identity alone."
  type = object({
    provider_arn = string
    issuer       = string
  })
  default = null
}

variable "extra" {
  description = "More service accounts with roles, by name: those of charts such as the AWS Load Balancer Controller."
  type = map(object({
    namespace       = string
    service_account = string
    policy_arns     = set(string)
  }))
  default = {}
  validation {
    condition     = length(setintersection(keys(var.extra), ["server", "pipeline"])) == 0
    error_message = "server and pipeline are there already."
  }
}
