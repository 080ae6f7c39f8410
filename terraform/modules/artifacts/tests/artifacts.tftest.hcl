mock_provider "aws" {
  source = "../../mocks"
}

variables {
  name = "tamis-test"
}

run "bundles_are_private_encrypted_versioned_and_reached_by_tls_only" {
  command = apply
  assert {
    condition     = output.bundle_url == "s3://tamis-test-bundles-123456789012/bundles"
    error_message = "the URL that servers follow and the pipeline publishes to"
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "nothing is public"
  }
  assert {
    condition = one([
      for s in jsondecode(aws_s3_bucket_policy.this.policy).Statement : s
      if s.Effect == "Deny" && s.Principal == "*" && s.Action == "s3:*" && try(s.Condition.Bool["aws:SecureTransport"], "") == "false"
    ]).Resource == [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]
    error_message = "TLS only, for the bucket and all in it"
  }
  assert {
    condition     = one(aws_s3_bucket_versioning.this.versioning_configuration).status == "Enabled"
    error_message = "what is overwritten can be brought back"
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default).kms_master_key_id == aws_kms_key.this.arn
    error_message = "encrypted by the bucket's own key"
  }
  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : alltrue([for e in rule.expiration : try(e.days, 0) == 0 || e.days == null])])
    error_message = "no bundle expires by its age"
  }
  assert {
    condition     = !aws_s3_bucket.this.force_destroy
    error_message = "a bucket with bundles is not deleted"
  }
}

run "a_prefix_with_slashes_around_it_is_refused" {
  command = plan
  variables {
    bundle_prefix = "/bundles/"
  }
  expect_failures = [var.bundle_prefix]
}
