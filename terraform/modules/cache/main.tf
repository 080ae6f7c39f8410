data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}

locals {
  port   = 6379
  family = "valkey${split(".", var.engine_version)[0]}"

  # docs/state.md, "Keys": what Tamis needs and nothing else
  commands = [
    "+mget", "+get", "+evalsha", "+eval", "+xread", "+zrevrange", "+hget", "+hscan", "+hdel", "+append", "+exists", "+getrange", "+hset", "+pexpire",
    "+pexpireat", "+sadd", "+set", "+setrange", "+sismember", "+strlen", "+xadd", "+zadd", "+zremrangebyrank", "+ping", "+select",
  ]
  cluster_commands = var.cluster_mode ? ["+cluster|slots", "+cluster|shards", "+command"] : []
  access_string    = join(" ", concat(["on ~${var.namespace}:* resetchannels -@all"], local.commands, local.cluster_commands))

  scheme = var.cluster_mode ? "rediss+cluster" : "rediss"
  host   = var.cluster_mode ? aws_elasticache_replication_group.this.configuration_endpoint_address : aws_elasticache_replication_group.this.primary_endpoint_address
  path   = var.cluster_mode ? "" : "/0"
}

resource "aws_kms_key" "this" {
  description             = "State of ${var.name}: cache, snapshots, password"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "IAMDecides"
      Effect    = "Allow"
      Principal = { AWS = "arn:${data.aws_partition.this.partition}:iam::${data.aws_caller_identity.this.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}-state"
  target_key_id = aws_kms_key.this.key_id
}

resource "aws_security_group" "this" {
  name        = "${var.name}-cache"
  description = "Valkey, from the cluster's nodes"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-cache" }
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  security_group_id            = aws_security_group.this.id
  description                  = "Valkey from nodes and pods"
  referenced_security_group_id = var.client_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_elasticache_subnet_group" "this" {
  name       = "${var.name}-cache"
  subnet_ids = var.subnet_ids
}

resource "aws_elasticache_parameter_group" "this" {
  name        = "${var.name}-${local.family}${var.cluster_mode ? "-cluster" : ""}"
  description = "State of Tamis"
  family      = local.family

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction" # an evicted filter is a forgotten one: a full cache refuses writes
  }

  dynamic "parameter" {
    for_each = var.cluster_mode ? ["yes"] : []
    content {
      name  = "cluster-enabled"
      value = parameter.value
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

# The user is born with IAM authentication, which no role of ours may use: it can't log in until somebody gives it the password of
# the secret below (docs/terraform.md). Terraform could give it one only by writing it into its state.
resource "aws_elasticache_user" "tamis" {
  user_id       = var.name
  user_name     = var.name # with IAM they must be the same
  engine        = "valkey"
  access_string = local.access_string

  authentication_mode {
    type = "iam"
  }

  lifecycle {
    ignore_changes = [authentication_mode]
  }
}

# The one user there is: groups of Valkey have no default user unless one is put in.
resource "aws_elasticache_user_group" "this" {
  user_group_id = var.name
  engine        = "valkey"
  user_ids      = [aws_elasticache_user.tamis.user_id]
}

resource "aws_cloudwatch_log_group" "slow" {
  name              = "/aws/elasticache/${var.name}/slow"
  retention_in_days = 30
}

resource "aws_elasticache_replication_group" "this" {
  replication_group_id = var.name
  description          = "State of ${var.name}"
  engine               = "valkey"
  engine_version       = var.engine_version
  node_type            = var.node_type
  port                 = local.port
  parameter_group_name = aws_elasticache_parameter_group.this.name

  num_cache_clusters      = var.cluster_mode ? null : 1 + var.replicas
  num_node_groups         = var.cluster_mode ? var.shards : null
  replicas_per_node_group = var.cluster_mode ? var.replicas : null

  multi_az_enabled           = var.replicas > 0
  automatic_failover_enabled = var.replicas > 0

  subnet_group_name  = aws_elasticache_subnet_group.this.name
  security_group_ids = [aws_security_group.this.id]
  user_group_ids     = [aws_elasticache_user_group.this.user_group_id]

  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  at_rest_encryption_enabled = true
  kms_key_id                 = aws_kms_key.this.arn

  snapshot_retention_limit  = var.snapshot_retention_days
  snapshot_window           = "03:00-04:00"
  final_snapshot_identifier = var.final_snapshot ? "${var.name}-final" : null
  maintenance_window        = "sun:04:30-sun:05:30"
  apply_immediately         = var.apply_immediately

  log_delivery_configuration {
    destination      = aws_cloudwatch_log_group.slow.name
    destination_type = "cloudwatch-logs"
    log_format       = "json"
    log_type         = "slow-log"
  }
}

# Empty: whoever gives the user its password puts it in here, and Terraform never knows it.
resource "aws_secretsmanager_secret" "state_url" {
  name                    = "${var.name}/state-url"
  description             = "state.url of the servers, with the cache's password"
  kms_key_id              = aws_kms_key.this.arn
  recovery_window_in_days = var.secret_recovery_days
}
