variable "name" {
  description = "Name of the cluster."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,23}$", var.name))
    error_message = "name is 3 to 24 lower-case letters, digits and dashes, a letter first."
  }
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes. Upgrades go one minor at a time."
  type        = string
  default     = "1.36"
  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "kubernetes_version is a minor version such as 1.36, without a patch."
  }
}

variable "subnet_ids" {
  description = "Private subnets, in two zones at least: the control plane's network interfaces."
  type        = list(string)
  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "EKS needs subnets in two zones at least."
  }
}

variable "admin_principal_arns" {
  description = "IAM roles or users that may do anything in the cluster. Who creates it may not by that alone."
  type        = set(string)
  validation {
    condition     = length(var.admin_principal_arns) > 0
    error_message = "Without an entry in admin_principal_arns nobody could use the cluster."
  }
  validation {
    condition     = alltrue([for arn in var.admin_principal_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/", arn))])
    error_message = "admin_principal_arns are ARNs of IAM roles or users (not of sessions: arn:aws:sts::…)."
  }
}

variable "public_access_cidrs" {
  description = "Networks that may reach the API server from the internet. None (the default): it has no public endpoint."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for cidr in var.public_access_cidrs : can(cidrnetmask(cidr)) && !endswith(cidr, "/0")])
    error_message = "public_access_cidrs are IPv4 networks, and not the whole internet."
  }
}

variable "private_access_cidrs" {
  description = "Networks outside the cluster that may reach the API server's private endpoint: a VPN, a bastion's subnet."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for cidr in var.private_access_cidrs : can(cidrnetmask(cidr)) && !endswith(cidr, "/0")])
    error_message = "private_access_cidrs are IPv4 networks, and not the whole internet."
  }
}

variable "irsa" {
  description = "Whether to make an OIDC provider, for charts that can't do with Pod Identity."
  type        = bool
  default     = false
}

variable "zonal_shift" {
  description = "Whether ARC may move traffic out of a zone that is in trouble."
  type        = bool
  default     = true
}

variable "log_retention_days" {
  description = "Days that the control plane's logs are kept."
  type        = number
  default     = 90
}

variable "addon_versions" {
  description = "Versions of add-ons to pin, by name; of others than its own the module takes no notice. An add-on without one gets EKS's default when it is made, and stays at that."
  type        = map(string)
  default     = {}
}
