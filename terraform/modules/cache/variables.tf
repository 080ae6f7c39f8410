variable "name" {
  description = "Name of the cache and of its user."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,23}$", var.name)) && !strcontains(var.name, "--")
    error_message = "name is 3 to 24 lower-case letters, digits and single dashes, a letter first."
  }
}

variable "vpc_id" {
  description = "VPC of the cache."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets, one a zone."
  type        = list(string)
}

variable "client_security_group_id" {
  description = "Security group of those that may connect: that of the cluster's nodes."
  type        = string
}

variable "node_type" {
  description = "Size of each node. docs/state.md tells how much memory users take."
  type        = string
}

variable "engine_version" {
  description = "Version of Valkey."
  type        = string
  default     = "8.2"
  validation {
    condition     = can(regex("^[89]\\.[0-9]+$", var.engine_version))
    error_message = "engine_version is a minor version of Valkey 8 or later, such as 8.2."
  }
}

variable "cluster_mode" {
  description = "Whether users are spread over shards (rediss+cluster://): for more than one node holds. It can't be changed without making the cache anew."
  type        = bool
  default     = false
}

variable "shards" {
  description = "Primaries, in cluster mode; otherwise 1."
  type        = number
  default     = 1
  validation {
    condition     = var.shards >= 1 && (var.cluster_mode || var.shards == 1)
    error_message = "shards is 1 at least, and more than 1 in cluster mode only."
  }
}

variable "replicas" {
  description = "Replicas of each primary, in other zones. None: a primary that dies takes what it held with it."
  type        = number
  default     = 1
  validation {
    condition     = var.replicas >= 0 && var.replicas <= 5 && (!var.cluster_mode || var.replicas >= 1)
    error_message = "replicas is 0 to 5, and 1 at least in cluster mode, which fails over by itself."
  }
}

variable "namespace" {
  description = "state.namespace of the servers: what keys begin with. The user can't touch others."
  type        = string
  default     = "tamis"
  validation {
    condition     = can(regex("^[a-z0-9_-]+$", var.namespace))
    error_message = "namespace is of lower-case letters, digits, dashes and underscores."
  }
}

variable "snapshot_retention_days" {
  description = "Days that the daily snapshots are kept; 0 for none."
  type        = number
  default     = 7
}

variable "final_snapshot" {
  description = "Whether destroying leaves a last snapshot."
  type        = bool
  default     = true
}

variable "secret_recovery_days" {
  description = "Days that a deleted secret can be brought back; 0 deletes it at once."
  type        = number
  default     = 30
  validation {
    condition     = var.secret_recovery_days == 0 || (var.secret_recovery_days >= 7 && var.secret_recovery_days <= 30)
    error_message = "secret_recovery_days is 0 or 7 to 30."
  }
}

variable "apply_immediately" {
  description = "Whether changes are made at once and not in the maintenance window."
  type        = bool
  default     = false
}
