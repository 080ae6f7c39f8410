mock_provider "aws" {
  source = "../../mocks"
}

variables {
  prefix = "tamis-test"
}

run "images_are_immutable_scanned_encrypted_and_don_t_pile_up" {
  command = apply
  assert {
    condition     = toset([for r in aws_ecr_repository.this : r.name]) == toset(["tamis-test/tamis", "tamis-test/tamis-pipeline"])
    error_message = "a repository for each image"
  }
  assert {
    condition     = alltrue([for r in aws_ecr_repository.this : r.image_tag_mutability == "IMMUTABLE"])
    error_message = "tags don't change"
  }
  assert {
    condition     = alltrue([for r in aws_ecr_repository.this : one(r.image_scanning_configuration).scan_on_push])
    error_message = "images are scanned"
  }
  assert {
    condition     = alltrue([for r in aws_ecr_repository.this : one(r.encryption_configuration).encryption_type == "KMS" && !r.force_delete])
    error_message = "images are encrypted, and not deleted with the repository"
  }
  assert {
    condition     = alltrue([for p in aws_ecr_lifecycle_policy.this : [for rule in jsondecode(p.policy).rules : rule.selection.tagStatus] == ["untagged", "any"]])
    error_message = "old images go"
  }
}
