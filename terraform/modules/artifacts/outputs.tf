output "bucket_arn" {
  description = "The bucket."
  value       = aws_s3_bucket.this.arn
}

output "bucket_name" {
  description = "Its name."
  value       = aws_s3_bucket.this.bucket
}

output "bundle_prefix" {
  description = "Where in it bundles are."
  value       = var.bundle_prefix
}

output "bundle_url" {
  description = "bundle.url of a server, and --to of tamis pipeline publish."
  value       = "s3://${aws_s3_bucket.this.bucket}/${var.bundle_prefix}"
}

output "kms_key_arn" {
  description = "Key that encrypts the bucket."
  value       = aws_kms_key.this.arn
}
