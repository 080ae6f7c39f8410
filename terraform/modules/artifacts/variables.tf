variable "name" {
  description = "Prefix of the bucket's name, which ends with the account's id: bucket names are unique in the world."
  type        = string
}

variable "bundle_prefix" {
  description = "Where in the bucket bundles are published, without slashes around it."
  type        = string
  default     = "bundles"
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9/_-]*[a-z0-9]$", var.bundle_prefix))
    error_message = "bundle_prefix is a path of lower-case letters, digits, dashes, underscores and slashes, not around it."
  }
}

variable "noncurrent_days" {
  description = "Days that overwritten and deleted objects can be brought back."
  type        = number
  default     = 30
  validation {
    condition     = var.noncurrent_days >= 1
    error_message = "noncurrent_days is a day at least."
  }
}

variable "force_destroy" {
  description = "Whether destroying deletes what is in the bucket, too."
  type        = bool
  default     = false
}
