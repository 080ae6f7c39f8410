variable "cluster_name" {
  description = "The cluster, with the add-ons that nodes need: output name of the module eks."
  type        = string
}

variable "kubernetes_version" {
  description = "Version of the nodes: that of the control plane, or one behind while it is upgraded."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets, one a zone."
  type        = list(string)
}

variable "groups" {
  description = "Managed node groups by name. Nodes that only come with load are Karpenter's."
  type = map(object({
    instance_types = list(string)
    min            = number
    max            = number
    disk_gb        = optional(number, 30)
    ami_type       = optional(string, "AL2023_x86_64_STANDARD")
    capacity_type  = optional(string, "ON_DEMAND")
    labels         = optional(map(string), {})
    # key, value and effect, of which a pod must tolerate all
    taints = optional(list(object({
      key    = string
      value  = string
      effect = string
    })), [])
  }))
  default = {
    system = {
      instance_types = ["m7i.large"]
      min            = 2
      max            = 3
      # Karpenter, CoreDNS and the EBS driver tolerate it by themselves; all else waits for Karpenter's nodes
      taints = [{ key = "CriticalAddonsOnly", value = "true", effect = "NO_SCHEDULE" }]
    }
  }
  validation {
    condition     = alltrue([for group in var.groups : group.min >= 1 && group.max >= group.min])
    error_message = "A group has a node at least, and max is min or more."
  }
  validation {
    condition     = alltrue([for group in var.groups : startswith(group.ami_type, "AL2023_") || startswith(group.ami_type, "BOTTLEROCKET_")])
    error_message = "ami_type is one of AL2023_… or BOTTLEROCKET_…: AL2 has ended."
  }
  validation {
    condition     = alltrue(flatten([for group in var.groups : [for taint in group.taints : contains(["NO_SCHEDULE", "NO_EXECUTE", "PREFER_NO_SCHEDULE"], taint.effect)]]))
    error_message = "A taint's effect is NO_SCHEDULE, NO_EXECUTE or PREFER_NO_SCHEDULE."
  }
}

variable "addons" {
  description = "Add-ons that run on nodes."
  type        = set(string)
  default     = ["coredns", "aws-ebs-csi-driver", "metrics-server"]
}

variable "addon_versions" {
  description = "Versions of add-ons to pin, by name; of others than its own the module takes no notice. An add-on without one gets EKS's default when it is made, and stays at that."
  type        = map(string)
  default     = {}
}
