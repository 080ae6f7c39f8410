"""terraform/: every root is formatted and passes its tests, and what it would make is closed.

Offline, with the provider mocked: its schema checks every attribute, its answers are made up. It
comes from a filesystem mirror (TAMIS_TF_MIRROR, or where Terraform looks for one); where there is
none, tests are skipped, and say so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support.manifests import KUBERNETES, kustomized

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "terraform"
ENVIRONMENTS = sorted(path.parent.name for path in TREE.glob("environments/*/main.tf"))
MODULES = sorted(path.parent.name for path in TREE.glob("modules/*/main.tf"))
ROOTS = [f"modules/{name}" for name in MODULES] + [f"environments/{name}" for name in ENVIRONMENTS]
PROVIDER = Path("registry.terraform.io/hashicorp/aws")
ANYWHERE = {"0.0.0.0/0", "::/0"}
RESOURCE = re.compile(r'^resource "(\w+)" "\w+" {', re.MULTILINE)


@cache
def terraform() -> str:
    found = shutil.which("terraform")
    if found is None:
        pytest.skip("terraform is not there: nothing of terraform/ was checked with it")
    return found


@cache
def mirror() -> Path:
    """The directory of a filesystem mirror that has the provider."""
    named = os.environ.get("TAMIS_TF_MIRROR")
    places = [Path(named)] if named else [
        Path.home() / ".terraform.d/plugins",
        Path.home() / ".local/share/terraform/plugins",
        Path("/usr/local/share/terraform/plugins"),
        Path("/usr/share/terraform/plugins"),
        *sorted(found.parent for found in Path("/opt").glob("*/registry.terraform.io")),
    ]  # fmt: skip
    for place in places:
        if (place / PROVIDER).is_dir():
            return place
    pytest.skip(
        f"no mirror with {PROVIDER} in {', '.join(map(str, places))}: no root of terraform/ was "
        "validated or tested. `terraform providers mirror DIR` makes one; set TAMIS_TF_MIRROR"
    )


@dataclass
class Checkout:
    """A copy of terraform/ where Terraform may leave its files, and what it said of each root."""

    tree: Path
    environment: dict[str, str]
    tested: dict[str, Future[list[dict[str, Any]]]] = field(default_factory=dict)

    def run(self, root: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [terraform(), f"-chdir={self.tree / root}", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def test(self, root: str) -> list[dict[str, Any]]:
        """The messages of `terraform test`, states of environments among them."""
        started = self.run(root, "init", "-backend=false", "-input=false", "-no-color")
        assert started.returncode == 0, started.stderr
        verbose = ["-verbose"] if root.startswith("environments/") else []
        said = self.run(root, "test", "-json", *verbose)
        return [json.loads(line) for line in said.stdout.splitlines()]

    def applied(self, environment: str) -> list[dict[str, Any]]:
        """The resources that the environment has when it was applied to the mocked provider."""
        messages = self.tested[f"environments/{environment}"].result()
        states = [each["test_state"] for each in messages if each["type"] == "test_state"]
        assert len(states) == 1, "it could not be applied: the test of its root says why"
        return list(_resources(states[0]["root_module"]))


def _resources(module: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (each for each in module.get("resources", ()) if each["mode"] == "managed")
    for child in module.get("child_modules", ()):
        yield from _resources(child)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    terraform()
    place, plugins = tmp_path_factory.mktemp("terraform"), mirror()
    tree = place / "terraform"
    shutil.copytree(TREE, tree, ignore=shutil.ignore_patterns(".terraform*", "*.tfvars"))
    settings = place / "terraform.rc"
    settings.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{plugins}"\n'
        '    include = ["registry.terraform.io/*/*"]\n  }\n}\ndisable_checkpoint = true\n'
    )
    # nothing of the person who runs this: no credentials, no arguments of theirs
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))
    }
    made = Checkout(tree, {**clean, "TF_CLI_CONFIG_FILE": str(settings), "TF_IN_AUTOMATION": "1"})
    with ThreadPoolExecutor(2) as pool:  # most of it is the provider starting, again and again
        made.tested = {root: pool.submit(made.test, root) for root in ROOTS}
        yield made
        pool.shutdown(cancel_futures=True)


@pytest.fixture(params=ENVIRONMENTS)
def applied(checkout: Checkout, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return checkout.applied(request.param)


def of(applied: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    """The values of the resources of these kinds, of which there must be some."""
    found = [each["values"] for each in applied if each["type"] in kinds]
    assert found, f"none of {kinds}: a check of nothing"
    return found


def statements(applied: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of a policy, with the address of what holds it."""
    for each in applied:
        for name in ("policy", "assume_role_policy"):
            document = each["values"].get(name) or ""
            if document.startswith("{"):  # what the mock makes up for those left to AWS does not
                for statement in json.loads(document).get("Statement", ()):
                    yield each["address"], statement


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_every_module_and_environment_is_in_the_documentation() -> None:
    named = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/terraform.md").read_text(), re.MULTILINE)
    assert sorted(named) == MODULES
    assert ENVIRONMENTS == ["dev", "prod"]


def test_the_whole_tree_is_formatted() -> None:
    said = subprocess.run(
        [terraform(), "fmt", "-check", "-recursive", "-diff", str(TREE)],
        env={**os.environ, "TF_CLI_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("root", ROOTS)
def test_the_tests_of_the_root_pass(checkout: Checkout, root: str) -> None:
    messages = checkout.tested[root].result()
    problems = [
        each["diagnostic"]["detail"] or each["@message"]
        for each in messages
        if each["type"] == "diagnostic" and each["@level"] == "error"
    ]
    [summary] = [each["test_summary"] for each in messages if each["type"] == "test_summary"]
    assert summary["status"] == "pass", problems
    written = len(re.findall(r"^run ", _text(TREE / root / "tests", "*.tftest.hcl"), re.MULTILINE))
    assert summary["passed"] == written > 0


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_environment_is_valid_and_warns_of_nothing(
    checkout: Checkout, environment: str
) -> None:
    checkout.tested[f"environments/{environment}"].result()  # it is initialised, too
    said = checkout.run(f"environments/{environment}", "validate", "-json")
    found = json.loads(said.stdout)
    assert found["valid"] is True
    assert found["diagnostics"] == [], "deprecated attributes are gone in the next provider"


def test_exactly_one_security_group_is_found_by_karpenter(applied: list[dict[str, Any]]) -> None:
    groups = of(applied, "aws_security_group", "aws_default_security_group")
    tagged = [each["id"] for each in groups if "karpenter.sh/discovery" in (each["tags"] or {})]
    tagged += [
        each["resource_id"]
        for each in of(applied, "aws_ec2_tag")
        if each["key"] == "karpenter.sh/discovery" and each["resource_id"].startswith("sg-")
    ]
    assert len(tagged) == 1
    [entry] = of(applied, "aws_eks_cluster")
    assert tagged == [entry["vpc_config"][0]["cluster_security_group_id"]]


def test_karpenter_finds_private_subnets_in_three_zones(applied: list[dict[str, Any]]) -> None:
    subnets = of(applied, "aws_subnet")
    found = [each for each in subnets if "karpenter.sh/discovery" in each["tags"]]
    assert len({each["availability_zone"] for each in found}) == len(found) == 3
    assert all("kubernetes.io/role/internal-elb" in each["tags"] for each in found)
    [cluster] = of(applied, "aws_eks_cluster")
    assert {each["tags"]["karpenter.sh/discovery"] for each in found} == {cluster["name"]}
    networks = [each["cidr_block"] for each in subnets]
    assert len(set(networks)) == len(networks) == 6


def test_nothing_is_let_in_from_anywhere(applied: list[dict[str, Any]]) -> None:
    for rule in of(applied, "aws_vpc_security_group_ingress_rule"):
        assert {rule["cidr_ipv4"], rule["cidr_ipv6"]}.isdisjoint(ANYWHERE)
    for group in of(applied, "aws_security_group", "aws_default_security_group"):
        for rule in group["ingress"] or ():
            assert ANYWHERE.isdisjoint([*rule["cidr_blocks"], *rule["ipv6_cidr_blocks"]])
    [cluster] = of(applied, "aws_eks_cluster")
    [network] = cluster["vpc_config"]
    assert not network["endpoint_public_access"], "unless somebody names networks"
    assert network["endpoint_private_access"]


def test_rules_are_of_the_kinds_that_the_test_above_reads() -> None:
    made = set(RESOURCE.findall(_text(TREE, "**/*.tf")))
    assert made.isdisjoint({"aws_security_group_rule", "aws_network_acl_rule"})


def test_pods_do_not_reach_the_metadata_of_their_node(applied: list[dict[str, Any]]) -> None:
    for template in of(applied, "aws_launch_template"):
        [options] = template["metadata_options"]
        assert options["http_tokens"] == "required"
        assert options["http_put_response_hop_limit"] == 1
        for device in template["block_device_mappings"]:
            [disk] = device["ebs"]
            assert (disk["encrypted"], disk["volume_type"]) == ("true", "gp3")
    templates = {each["id"] for each in of(applied, "aws_launch_template")}
    for group in of(applied, "aws_eks_node_group"):
        [used] = group["launch_template"]
        assert used["id"] in templates


def test_buckets_are_private_and_reached_by_tls_only(applied: list[dict[str, Any]]) -> None:
    for bucket in of(applied, "aws_s3_bucket"):
        [policy] = [
            json.loads(each["policy"])
            for each in of(applied, "aws_s3_bucket_policy")
            if each["bucket"] == bucket["id"]
        ]
        _denies_plain(policy, "s3:*", [bucket["arn"], f"{bucket['arn']}/*"])
        [block] = [
            each
            for each in of(applied, "aws_s3_bucket_public_access_block")
            if each["bucket"] == bucket["id"]
        ]
        kinds = ("block_public_acls", "block_public_policy", "ignore_public_acls")
        assert all(block[each] for each in (*kinds, "restrict_public_buckets"))
        [encryption] = [
            each["rule"][0]["apply_server_side_encryption_by_default"][0]
            for each in of(applied, "aws_s3_bucket_server_side_encryption_configuration")
            if each["bucket"] == bucket["id"]
        ]
        assert encryption["sse_algorithm"] == "aws:kms"


def test_queues_are_reached_by_tls_only(applied: list[dict[str, Any]]) -> None:
    for queue in of(applied, "aws_sqs_queue"):
        [policy] = [
            json.loads(each["policy"])
            for each in of(applied, "aws_sqs_queue_policy")
            if each["queue_url"] == queue["id"]
        ]
        _denies_plain(policy, "sqs:*", [queue["arn"]])


def _denies_plain(policy: dict[str, Any], action: str, resources: list[str]) -> None:
    [denial] = [each for each in policy["Statement"] if each["Effect"] == "Deny"]
    assert denial["Principal"] == "*"
    assert denial["Action"] == action
    assert listed(denial["Resource"]) == resources
    assert denial["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_keys_rotate(applied: list[dict[str, Any]]) -> None:
    assert all(each["enable_key_rotation"] for each in of(applied, "aws_kms_key"))


def test_no_role_may_do_everything_of_a_service(applied: list[dict[str, Any]]) -> None:
    seen = 0
    for address, statement in statements(applied):
        if statement["Effect"] == "Allow" and ".aws_kms_key." not in address:
            seen += 1
            assert not any("*" in action for action in listed(statement["Action"])), address
    assert seen > 20


def test_roles_of_pods_are_for_one_service_account_of_one_cluster(
    applied: list[dict[str, Any]],
) -> None:
    seen = 0
    for address, statement in statements(applied):
        principal = statement.get("Principal")
        if isinstance(principal, dict) and principal.get("Service") == "pods.eks.amazonaws.com":
            seen += 1
            wanted = statement["Condition"]["StringEquals"]
            assert "aws:RequestTag/kubernetes-namespace" in wanted, address
            assert "aws:RequestTag/kubernetes-service-account" in wanted, address
    assert seen == 4, "server, pipeline, Karpenter, the EBS driver"


def test_servers_read_bundles_and_the_pipeline_publishes_them(
    applied: list[dict[str, Any]],
) -> None:
    accounts = of(applied, "aws_eks_pod_identity_association")
    names = {(each["namespace"], each["service_account"]) for each in accounts}
    assert {("tamis", "tamis"), ("tamis", "tamis-pipeline")} <= names
    may: dict[str, set[str]] = {}
    for address, statement in statements(applied):
        if ".aws_iam_role_policy.bundles" in address:
            key = address.split('"')[1]
            may.setdefault(key, set()).update(listed(statement["Action"]))
    said = (ROOT / "docs/pipeline.md").read_text()
    reads = re.search(r"A server needs (.*?) \(without", said)
    writes = re.search(r"publishing (`s3:\w+`) too", said)
    assert reads is not None
    assert writes is not None
    needed = set(re.findall(r"`(s3:\w+)`", reads[1]))
    assert {each for each in may["server"] if each.startswith("s3:")} == needed
    assert needed | set(re.findall(r"`(s3:\w+)`", writes[1])) <= may["pipeline"]
    assert not any("Delete" in each for each in may["pipeline"])


def test_the_state_store_is_as_docs_state_wants_it(applied: list[dict[str, Any]]) -> None:
    said = (ROOT / "docs/state.md").read_text()
    rights = re.search(
        r"An ACL user needs\n\n(.*?)\n\nand for a cluster (.*?) as well", said, re.DOTALL
    )
    assert rights is not None
    wanted = rights[1].split()
    [group] = of(applied, "aws_elasticache_replication_group")
    [parameters] = of(applied, "aws_elasticache_parameter_group")
    if {"name": "cluster-enabled", "value": "yes"} in parameters["parameter"]:
        wanted += rights[2].strip("`").split()
    [user] = of(applied, "aws_elasticache_user")
    assert user["access_string"].split() == ["on", *wanted]
    [users] = of(applied, "aws_elasticache_user_group")
    assert users["user_ids"] == [user["user_id"]]
    assert group["user_group_ids"] == [users["user_group_id"]]
    assert group["parameter_group_name"] == parameters["name"]
    assert {"name": "maxmemory-policy", "value": "noeviction"} in parameters["parameter"]
    assert group["transit_encryption_enabled"]
    assert group["transit_encryption_mode"] == "required"


def test_the_state_holds_no_password(applied: list[dict[str, Any]]) -> None:
    for user in of(applied, "aws_elasticache_user"):
        assert not user["passwords"]
        assert [each.get("passwords") for each in user["authentication_mode"]] == [None]
    assert not [each for each in applied if each["type"] == "aws_secretsmanager_secret_version"]


def test_prod_is_redundant_and_dev_is_not_paid_for_that(checkout: Checkout) -> None:
    def count(environment: str, kind: str) -> int:
        return len(of(checkout.applied(environment), kind))

    assert count("prod", "aws_nat_gateway") == 3
    assert count("dev", "aws_nat_gateway") == 1
    [prod], [dev] = (
        of(checkout.applied(each), "aws_elasticache_replication_group") for each in ("prod", "dev")
    )
    assert prod["multi_az_enabled"]
    assert prod["automatic_failover_enabled"]
    assert prod["replicas_per_node_group"] >= 1
    assert prod["snapshot_retention_limit"] >= 1
    assert prod["final_snapshot_identifier"]
    assert dev["num_cache_clusters"] == 1
    [bucket] = of(checkout.applied("prod"), "aws_s3_bucket")
    assert not bucket["force_destroy"]
    assert not any(
        each["force_delete"] for each in of(checkout.applied("prod"), "aws_ecr_repository")
    )


def test_the_manifests_of_prod_name_what_prod_makes(checkout: Checkout) -> None:
    made = checkout.applied("prod")
    [cluster] = of(made, "aws_eks_cluster")
    nodes, servers = kustomized(KUBERNETES / "karpenter"), kustomized(KUBERNETES / "overlays/prod")
    [node_class] = nodes.all("EC2NodeClass")
    assert node_class["spec"]["role"] in {each["name"] for each in of(made, "aws_iam_role")}
    found = {"tags": {"karpenter.sh/discovery": cluster["name"]}}
    assert node_class["spec"]["subnetSelectorTerms"] == [found]
    assert node_class["spec"]["securityGroupSelectorTerms"] == [found]
    account = servers.one("Deployment", "tamis")["spec"]["template"]["spec"]["serviceAccountName"]
    metadata = servers.one("ServiceAccount", account)["metadata"]
    assert (metadata["namespace"], metadata["name"]) in {
        (each["namespace"], each["service_account"])
        for each in of(made, "aws_eks_pod_identity_association")
    }
    [container] = servers.one("Deployment", "tamis")["spec"]["template"]["spec"]["containers"]
    _, _, repository = container["image"].partition("/")
    assert repository.rpartition(":")[0] in {
        each["name"] for each in of(made, "aws_ecr_repository")
    }
    place = servers.environment(container)["TAMIS_BUNDLE__URL"].removeprefix("s3://")
    name, _, prefix = place.partition("/")
    [bucket] = of(made, "aws_s3_bucket")
    assert (name, prefix) == (bucket["bucket"], "bundles")


def test_environments_may_share_an_account(checkout: Checkout) -> None:
    def names(environment: str) -> set[tuple[str, str]]:
        kinds = ("aws_iam_role", "aws_iam_policy", "aws_ecr_repository", "aws_s3_bucket")
        return {
            (kind, value)
            for kind in (*kinds, "aws_eks_cluster", "aws_kms_alias", "aws_sqs_queue")
            for each in of(checkout.applied(environment), kind)
            for value in [each.get("bucket") or each["name"]]
        }

    assert not names("dev") & names("prod")


def test_environments_have_the_same_outputs_and_the_documentation_uses_no_others() -> None:
    def outputs(environment: str) -> list[str]:
        text = (TREE / "environments" / environment / "outputs.tf").read_text()
        return re.findall(r'^output "(\w+)"', text, re.MULTILINE)

    assert outputs("dev") == outputs("prod")
    used = re.findall(r"\$\((?:out|json) (\w+)", (ROOT / "docs/terraform.md").read_text())
    assert used
    assert set(used) <= set(outputs("prod"))


@pytest.mark.parametrize("root", ROOTS)
def test_the_root_is_documented_and_needs_one_provider(root: str) -> None:
    text = _text(TREE / root, "*.tf")
    blocks = re.findall(r'^(variable|output) "(\w+)" {\n(.*?)^}', text, re.MULTILINE | re.DOTALL)
    assert blocks
    for kind, name, body in blocks:
        assert re.search(r'^  description += "\S', body, re.MULTILINE), f"{kind} {name}"
        assert kind == "output" or re.search(r"^  type += ", body, re.MULTILINE), name
    declared = re.findall(r'^variable "(\w+)"', text, re.MULTILINE)
    assert [each for each in declared if f"var.{each}" not in text.replace(f'"{each}"', "")] == []
    assert re.findall(r'source += "([a-z]+/[a-z]+)"', text) == ["hashicorp/aws"]
    assert 'version = ">= 5.95, < 7.0"' in text
    assert all(
        each.startswith("../../modules/") for each in re.findall(r'source += "(\.[^"]+)"', text)
    )
    # renamed in provider 6, whose resources have a region of their own, too
    assert not re.search(r"data\.aws_region\.\w+\.name", text)
    assert root.startswith("environments/") or (TREE / root / "README.md").read_text()


def _text(directory: Path, pattern: str) -> str:
    paths = sorted(path for path in directory.glob(pattern) if ".terraform" not in path.parts)
    return "\n".join(path.read_text() for path in paths)
