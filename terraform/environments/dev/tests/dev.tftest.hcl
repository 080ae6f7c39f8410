mock_provider "aws" {
  source = "../../mocks"
}

variables {
  admin_principal_arns = ["arn:aws:iam::123456789012:role/admin"]
}

run "dev_is_cheap" {
  command = apply
  assert {
    condition     = length(module.network.nat_public_ips) == 1
    error_message = "one NAT gateway"
  }
  assert {
    condition     = output.state_url == "rediss://tamis-dev@master.mock.cache.amazonaws.com:6379/0"
    error_message = "one primary"
  }
  assert {
    condition     = output.bundle_url == "s3://tamis-dev-bundles-123456789012/bundles"
    error_message = "where bundles are published"
  }
  assert {
    condition     = output.role_names == { server = "tamis-dev-server", pipeline = "tamis-dev-pipeline" }
    error_message = "roles of the service accounts"
  }
}
