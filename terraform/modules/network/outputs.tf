output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "vpc_cidr" {
  description = "Its addresses."
  value       = aws_vpc.this.cidr_block
}

output "private_subnet_ids" {
  description = "One a zone, in the order of zones: nodes, pods and the cache."
  value       = [for zone in var.zones : aws_subnet.private[zone].id]
}

output "public_subnet_ids" {
  description = "One a zone, in the order of zones: load balancers that the internet reaches."
  value       = [for zone in var.zones : aws_subnet.public[zone].id]
}

output "nat_public_ips" {
  description = "Addresses that the cluster's requests to the internet come from."
  value       = [for address in aws_eip.nat : address.public_ip]
}
