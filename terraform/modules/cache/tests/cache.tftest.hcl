mock_provider "aws" {
  source = "../../mocks"
}

variables {
  name                     = "tamis-test"
  vpc_id                   = "vpc-1"
  subnet_ids               = ["subnet-1", "subnet-2", "subnet-3"]
  client_security_group_id = "sg-00000000000000001"
  node_type                = "cache.m7g.large"
}

run "state_is_encrypted_replicated_snapshotted_and_never_evicted" {
  command = apply
  assert {
    condition     = { for p in aws_elasticache_parameter_group.this.parameter : p.name => p.value } == { maxmemory-policy = "noeviction" }
    error_message = "nothing is evicted"
  }
  assert {
    condition     = aws_elasticache_replication_group.this.transit_encryption_enabled && aws_elasticache_replication_group.this.transit_encryption_mode == "required"
    error_message = "TLS only"
  }
  assert {
    condition     = aws_elasticache_replication_group.this.at_rest_encryption_enabled && aws_elasticache_replication_group.this.kms_key_id == aws_kms_key.this.arn
    error_message = "encrypted by the cache's own key"
  }
  assert {
    condition     = aws_elasticache_replication_group.this.multi_az_enabled && aws_elasticache_replication_group.this.automatic_failover_enabled
    error_message = "a replica in another zone takes over"
  }
  assert {
    condition     = aws_elasticache_replication_group.this.num_cache_clusters == 2
    error_message = "a primary and a replica"
  }
  assert {
    condition     = aws_elasticache_replication_group.this.snapshot_retention_limit == 7 && aws_elasticache_replication_group.this.final_snapshot_identifier == "tamis-test-final"
    error_message = "there are snapshots"
  }
  assert {
    condition     = aws_elasticache_replication_group.this.user_group_ids == toset(["tamis-test"]) && aws_elasticache_user_group.this.user_ids == toset(["tamis-test"])
    error_message = "one user, and no default one"
  }
  assert {
    condition     = aws_elasticache_user.tamis.engine == "valkey" && one(aws_elasticache_user.tamis.authentication_mode).type == "iam" && aws_elasticache_user.tamis.passwords == null
    error_message = "no password goes through Terraform"
  }
  assert {
    condition     = startswith(aws_elasticache_user.tamis.access_string, "on ~tamis:* resetchannels -@all +mget ") && !strcontains(aws_elasticache_user.tamis.access_string, "cluster")
    error_message = "the user has the keys and the commands of Tamis, and no others"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.clients.referenced_security_group_id == "sg-00000000000000001" && aws_vpc_security_group_ingress_rule.clients.from_port == 6379
    error_message = "only the cluster's nodes connect"
  }
  assert {
    condition     = output.state_url == "rediss://tamis-test@master.mock.cache.amazonaws.com:6379/0"
    error_message = "the URL that servers take"
  }
}

run "shards_on_request" {
  command = apply
  variables {
    cluster_mode = true
    shards       = 4
  }
  assert {
    condition     = { for p in aws_elasticache_parameter_group.this.parameter : p.name => p.value } == { maxmemory-policy = "noeviction", cluster-enabled = "yes" }
    error_message = "cluster mode"
  }
  assert {
    condition     = aws_elasticache_replication_group.this.num_node_groups == 4 && aws_elasticache_replication_group.this.replicas_per_node_group == 1
    error_message = "four primaries with a replica each"
  }
  assert {
    condition     = endswith(aws_elasticache_user.tamis.access_string, " +cluster|slots +cluster|shards +command")
    error_message = "the client may ask where slots are"
  }
  assert {
    condition     = output.state_url == "rediss+cluster://tamis-test@clustercfg.mock.cache.amazonaws.com:6379"
    error_message = "the URL of a cluster"
  }
}

run "shards_without_cluster_mode_and_other_engines_are_refused" {
  command = plan
  variables {
    shards         = 2
    replicas       = 6
    engine_version = "7.1"
    namespace      = "*"
  }
  expect_failures = [var.shards, var.replicas, var.engine_version, var.namespace]
}
