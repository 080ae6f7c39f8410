variable "name" {
  description = "Prefix of all names."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,23}$", var.name))
    error_message = "name is 3 to 24 lower-case letters, digits and dashes, a letter first."
  }
}

variable "cluster_name" {
  description = "EKS cluster whose nodes and load balancers use the subnets: Karpenter finds the private ones by it."
  type        = string
}

variable "cidr" {
  description = "Addresses of the VPC, /16 to /18. Each pod takes one."
  type        = string
  default     = "10.0.0.0/16"
  validation {
    condition     = can(cidrnetmask(var.cidr)) && can(regex("/1[6-8]$", var.cidr))
    error_message = "cidr is an IPv4 network of /16 to /18."
  }
}

variable "zones" {
  description = "Three availability zones, in an order that stays: a zone's place in the list decides its addresses."
  type        = list(string)
  validation {
    condition     = length(var.zones) == 3 && length(distinct(var.zones)) == 3
    error_message = "zones are three different ones."
  }
}

variable "nat" {
  description = "NAT gateways: \"one\" (cheap; its zone takes the way out with it) or \"one_per_zone\"."
  type        = string
  default     = "one_per_zone"
  validation {
    condition     = contains(["one", "one_per_zone"], var.nat)
    error_message = "nat is \"one\" or \"one_per_zone\"."
  }
}

variable "interface_endpoints" {
  description = "AWS services reached inside the VPC, each for an hourly price a zone. S3 always is, for nothing."
  type        = set(string)
  default     = ["ecr.api", "ecr.dkr", "sts"]
}

variable "flow_log_retention_days" {
  description = "Days that flow logs are kept."
  type        = number
  default     = 30
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.flow_log_retention_days)
    error_message = "flow_log_retention_days is one of those that CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, …"
  }
}
