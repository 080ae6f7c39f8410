mock_provider "aws" {
  source = "../../mocks"
}

variables {
  name         = "tamis-test"
  cluster_name = "tamis-test"
  zones        = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
}

run "each_zone_has_its_subnets_and_a_way_out_and_the_default_group_is_closed" {
  command = apply
  assert {
    condition     = toset([for subnet in aws_subnet.private : subnet.availability_zone]) == toset(var.zones)
    error_message = "a private subnet a zone"
  }
  assert {
    condition     = length(distinct(concat([for s in aws_subnet.private : s.cidr_block], [for s in aws_subnet.public : s.cidr_block]))) == 6
    error_message = "six different networks"
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 3
    error_message = "a NAT gateway a zone"
  }
  assert {
    condition = alltrue([
      for zone, route in aws_route.nat : route.nat_gateway_id == aws_nat_gateway.this[zone].id
    ])
    error_message = "each zone leaves through its own NAT gateway"
  }
  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" && length(aws_vpc_endpoint.s3.route_table_ids) == 3
    error_message = "S3 is reached without NAT from every private subnet"
  }
  assert {
    condition     = toset(keys(aws_vpc_endpoint.interface)) == toset(["ecr.api", "ecr.dkr", "sts"])
    error_message = "images and credentials come through interface endpoints"
  }
  assert {
    condition = alltrue([
      for subnet in aws_subnet.private :
      subnet.tags["karpenter.sh/discovery"] == "tamis-test" && subnet.tags["kubernetes.io/role/internal-elb"] == "1"
    ])
    error_message = "nodes and internal load balancers go into private subnets"
  }
  assert {
    condition = alltrue([
      for subnet in aws_subnet.public :
      subnet.tags["kubernetes.io/role/elb"] == "1" && !contains(keys(subnet.tags), "karpenter.sh/discovery")
    ])
    error_message = "public load balancers go into public subnets, nodes never"
  }
  assert {
    condition     = length(aws_default_security_group.closed.ingress) == 0 && length(aws_default_security_group.closed.egress) == 0
    error_message = "the default security group has no rules"
  }
}

run "one_nat_gateway_serves_all_zones" {
  command = apply
  variables {
    nat                 = "one"
    interface_endpoints = []
  }
  assert {
    condition     = keys(aws_nat_gateway.this) == ["eu-west-1a"]
    error_message = "one NAT gateway, in the first zone"
  }
  assert {
    condition     = length(aws_route.nat) == 3
    error_message = "every zone has a way out"
  }
  assert {
    condition     = length(aws_security_group.endpoints) == 0
    error_message = "no group without an endpoint"
  }
}

run "wrong_zones_and_networks_are_refused" {
  command = plan
  variables {
    zones = ["eu-west-1a", "eu-west-1b", "eu-west-1b"]
    cidr  = "10.0.0.0/22"
    nat   = "none"
  }
  expect_failures = [var.zones, var.cidr, var.nat]
}
