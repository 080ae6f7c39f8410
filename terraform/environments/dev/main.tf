module "network" {
  source              = "../../modules/network"
  name                = local.name
  cluster_name        = local.name
  cidr                = var.cidr
  zones               = coalesce(var.zones, [for letter in ["a", "b", "c"] : "${var.region}${letter}"])
  nat                 = local.nat
  interface_endpoints = local.interface_endpoints
}

module "eks" {
  source               = "../../modules/eks"
  name                 = local.name
  kubernetes_version   = var.kubernetes_version
  subnet_ids           = module.network.private_subnet_ids
  admin_principal_arns = var.admin_principal_arns
  public_access_cidrs  = var.public_access_cidrs
  private_access_cidrs = var.private_access_cidrs
  irsa                 = var.irsa
  log_retention_days   = local.log_retention_days
  addon_versions       = var.addon_versions
}

module "node_groups" {
  source             = "../../modules/node_groups"
  cluster_name       = module.eks.name
  kubernetes_version = module.eks.version
  subnet_ids         = module.network.private_subnet_ids
  groups             = local.groups
  addon_versions     = var.addon_versions
}

module "karpenter" {
  source       = "../../modules/karpenter"
  cluster_name = module.eks.name
  cluster_arn  = module.eks.arn
}

module "identity" {
  source        = "../../modules/identity"
  cluster_name  = module.eks.name
  cluster_arn   = module.eks.arn
  bucket_arn    = module.artifacts.bucket_arn
  bundle_prefix = module.artifacts.bundle_prefix
  kms_key_arn   = module.artifacts.kms_key_arn
  extra         = var.extra_identities
  irsa          = var.irsa ? { provider_arn = module.eks.oidc_provider_arn, issuer = module.eks.oidc_issuer } : null
}

module "registry" {
  source       = "../../modules/registry"
  prefix       = local.name
  force_delete = local.disposable
}

module "artifacts" {
  source        = "../../modules/artifacts"
  name          = local.name
  force_destroy = local.disposable
}

module "cache" {
  source                   = "../../modules/cache"
  name                     = local.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.private_subnet_ids
  client_security_group_id = module.eks.security_group_id
  node_type                = var.cache.node_type
  cluster_mode             = var.cache.cluster_mode
  shards                   = var.cache.shards
  replicas                 = var.cache.replicas
  snapshot_retention_days  = local.snapshot_retention_days
  final_snapshot           = !local.disposable
  secret_recovery_days     = local.disposable ? 0 : 30
  apply_immediately        = local.disposable
}
