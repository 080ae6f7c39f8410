mock_provider "aws" {
  source = "../../mocks"
}

variables {
  admin_principal_arns = ["arn:aws:iam::123456789012:role/admin"]
  irsa                 = true
}

run "prod_survives_the_loss_of_a_zone" {
  command = apply
  assert {
    condition     = length(module.network.nat_public_ips) == 3
    error_message = "a NAT gateway a zone"
  }
  assert {
    condition     = length(module.network.private_subnet_ids) == 3
    error_message = "three zones"
  }
  assert {
    condition     = output.state_url == "rediss+cluster://tamis-prod@clustercfg.mock.cache.amazonaws.com:6379"
    error_message = "shards, each with a replica"
  }
  assert {
    condition     = output.karpenter_queue_name == "tamis-prod-karpenter"
    error_message = "the queue of Karpenter's chart"
  }
  assert {
    condition     = keys(output.repository_urls) == ["tamis", "tamis-pipeline"]
    error_message = "a repository for each image"
  }
}
