variable "prefix" {
  description = "What stands before the repositories' names, so that environments may share an account."
  type        = string
}

variable "repositories" {
  description = "Repositories to make."
  type        = set(string)
  default     = ["tamis", "tamis-pipeline"]
}

variable "keep_images" {
  description = "How many images of a repository are kept. Let it be more than you would ever roll back."
  type        = number
  default     = 50
  validation {
    condition     = var.keep_images >= 10
    error_message = "keep_images is 10 at least: an image that runs must not be deleted."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts images; null for the account's own key of ECR."
  type        = string
  default     = null
}

variable "force_delete" {
  description = "Whether destroying deletes images, too."
  type        = bool
  default     = false
}
