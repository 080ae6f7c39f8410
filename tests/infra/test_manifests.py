"""What `kubectl apply -k` applies is valid, fits together, and fits the server that it runs."""

from __future__ import annotations

import math
import shutil
import subprocess
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import kubernetes_validate
import pytest
import redis
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.crds import problems
from support.manifests import KUBERNETES, Manifest, Rendered, kustomized
from support.redis_binary import binary
from support.redis_servers import RedisServer
from support.servers import PATIENCE_S, server_process
from tamis_server.bundles.manifest import MODELS
from tamis_server.settings import Settings, load_settings

OVERLAYS = sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))
OF_KUBERNETES = {"apps/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1", "v1"}
VERSION = "1.36"
NOBODY = {"matchLabels": {"": ""}}
SECRETS = {"<tamis-state/url>": "rediss://tamis:password@redis.example:6379/0"}
UNITS = {"m": 1e-3, "": 1.0, "Mi": 2.0**20, "Gi": 2.0**30}


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def rendered(overlay: str) -> Rendered:
    return kustomized(KUBERNETES / "overlays" / overlay)


@pytest.fixture(scope="module")
def deployment(rendered: Rendered) -> Manifest:
    return rendered.one("Deployment", "tamis")


@pytest.fixture(scope="module")
def pod(deployment: Manifest) -> Manifest:
    found: Manifest = deployment["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def container(pod: Manifest) -> Manifest:
    [found] = pod["containers"]
    assert isinstance(found, dict)
    return found


def given(rendered: Rendered, container: Manifest) -> dict[str, str]:
    """The variables that the server gets."""
    told = rendered.environment(container)
    return {name: SECRETS.get(text, text) for name, text in told.items()}


@pytest.fixture
def settings(rendered: Rendered, container: Manifest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, text in given(rendered, container).items():
        monkeypatch.setenv(name, text)
    return load_settings()


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def amount(quantity: str) -> float:
    """In units of one: cores or bytes."""
    digits = quantity.rstrip("mMGi")
    return float(digits) * UNITS[quantity.removeprefix(digits)]


def port(container: Manifest, name: str) -> int:
    [found] = [each["containerPort"] for each in container["ports"] if each["name"] == name]
    return int(found)


def egress(rendered: Rendered, name: str) -> list[dict[str, Any]]:
    """The rules for what pods of ``name`` may reach."""
    return [
        rule
        for policy in rendered.all("NetworkPolicy")
        if "Egress" in policy["spec"]["policyTypes"]
        and name in rendered.selected_by(policy["spec"]["podSelector"])
        for rule in policy["spec"]["egress"]
    ]


def test_there_is_one_to_try_it_and_one_for_production() -> None:
    assert {"dev", "prod"} <= set(OVERLAYS)


def test_every_manifest_is_what_its_kind_allows(rendered: Rendered) -> None:
    custom = []
    for manifest in rendered.manifests:
        if manifest["apiVersion"] in OF_KUBERNETES:
            kubernetes_validate.validate(manifest, VERSION, strict=True)
        else:
            custom.append(manifest)
    assert [problem for each in custom for problem in problems(each)] == []


def test_everything_is_in_one_namespace_that_admits_only_restricted_pods(
    rendered: Rendered,
) -> None:
    [namespace] = rendered.all("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    names = {
        each["metadata"].get("namespace")
        for each in rendered.manifests
        if each["kind"] != "Namespace"
    }
    assert names == {namespace["metadata"]["name"]}


def test_every_pod_is_restricted_and_writes_to_its_volumes_alone(rendered: Rendered) -> None:
    for _, template in rendered.templates():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in containers(spec):
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert amount(each["resources"]["limits"]["memory"]) > 0


def test_every_image_has_a_version(rendered: Rendered) -> None:
    for _, template in rendered.templates():
        for each in containers(template["spec"]):
            _, _, tag = each["image"].rpartition(":")
            assert tag[0].isdigit(), each["image"]


def test_the_images_are_of_the_version_that_this_is(rendered: Rendered) -> None:
    images = {
        each["image"]
        for _, template in rendered.templates()
        for each in containers(template["spec"])
    }
    ours = {image for image in images if image.rpartition("/")[2].startswith("tamis:")}
    assert {image.rpartition(":")[2] for image in ours} == {version("tamis")}
    assert len(ours) == 1


def test_every_selector_selects_what_it_is_for(rendered: Rendered) -> None:
    for service in rendered.all("Service"):
        [name] = rendered.selected_by({"matchLabels": service["spec"]["selector"]})
        assert name == service["metadata"]["name"]
        templates = dict(rendered.templates())
        ports = {
            each["name"]
            for container in templates[name]["spec"]["containers"]
            for each in container["ports"]
        }
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports
    for budget in rendered.all("PodDisruptionBudget"):
        assert rendered.selected_by(budget["spec"]["selector"]) == {budget["metadata"]["name"]}
    for scaler in rendered.all("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        scaled = rendered.one(target["kind"], target["name"])
        assert "replicas" not in scaled["spec"], "an apply would set it back"
        names = {each["name"] for each in scaled["spec"]["template"]["spec"]["containers"]}
        for metric in scaler["spec"]["metrics"]:
            assert metric["containerResource"]["container"] in names
    for policy in rendered.all("NetworkPolicy"):
        assert rendered.selected_by(policy["spec"]["podSelector"])


def test_every_pod_is_closed_but_to_those_it_serves(rendered: Rendered) -> None:
    for name, template in rendered.templates():
        policies = [
            policy["spec"]
            for policy in rendered.all("NetworkPolicy")
            if name in rendered.selected_by(policy["spec"]["podSelector"])
        ]
        assert {"Ingress", "Egress"} <= {each for spec in policies for each in spec["policyTypes"]}
        named = {
            each["name"]: each["containerPort"]
            for container in template["spec"]["containers"]
            for each in container["ports"]
        }
        for spec in policies:
            for rule in spec.get("ingress", ()):
                assert rule["from"], "nobody is let in from anywhere"
                assert {each["port"] for each in rule["ports"]} <= named.keys()


def test_the_server_takes_its_settings_and_they_fit_the_pod(
    settings: Settings, pod: Manifest, container: Manifest
) -> None:
    assert settings.server.listen == f"0.0.0.0:{port(container, 'grpc')}"
    assert settings.metrics.listen == f"0.0.0.0:{port(container, 'metrics')}"
    going = settings.server.drain_delay_s + settings.server.drain_s
    assert pod["terminationGracePeriodSeconds"] >= going + 5
    assert settings.server.workers == math.ceil(amount(container["resources"]["requests"]["cpu"]))
    volumes = {each["name"] for each in pod["volumes"] if "emptyDir" in each}
    writable = {
        Path(each["mountPath"])
        for each in container["volumeMounts"]
        if each["name"] in volumes and not each.get("readOnly")
    }
    assert Path("/tmp") in writable, "sockets of the server's own"  # noqa: S108
    assert writable & set(settings.bundle.cache.parents)


def test_the_server_has_a_bundle_and_a_store_that_all_its_pods_share(settings: Settings) -> None:
    assert (settings.bundle.path is None) != (settings.bundle.url is None)
    assert settings.state.url.startswith(("redis", "rediss"))


def test_the_server_may_reach_what_its_settings_name(
    rendered: Rendered, settings: Settings
) -> None:
    rules = egress(rendered, "tamis")
    everywhere = {each["port"] for rule in rules if "to" not in rule for each in rule["ports"]}
    assert 53 in everywhere
    if settings.bundle.url is not None:
        assert 443 in everywhere
    redis = urlsplit(settings.state.url)
    inside = {each["metadata"]["name"]: each for each in rendered.all("Service")}
    if redis.hostname in inside:
        [offered] = inside[redis.hostname]["spec"]["ports"]
        assert offered["port"] == redis.port
        [rule] = [
            rule
            for rule in rules
            for to in rule.get("to", ())
            if redis.hostname in rendered.selected_by(to.get("podSelector", NOBODY))
        ]
        assert [each["port"] for each in rule["ports"]] == [offered["targetPort"]]
    else:
        blocks = [rule["ports"] for rule in rules for to in rule.get("to", ()) if "ipBlock" in to]
        assert [{"port": redis.port}] in blocks


def test_the_server_asks_every_triton_there_is_by_its_name(
    rendered: Rendered, settings: Settings
) -> None:
    rankers = [
        each
        for each in rendered.all("StatefulSet")
        if each["metadata"]["labels"]["app.kubernetes.io/component"] == "ranker"
    ]
    if not rankers:
        assert settings.ranking.url == ""
        return
    [ranker] = rankers
    name, count = ranker["metadata"]["name"], ranker["spec"]["replicas"]
    service = rendered.one("Service", ranker["spec"]["serviceName"])
    [offered] = service["spec"]["ports"]
    hosts, _, model = settings.ranking.url.removeprefix("triton://").partition("/")
    within = service["metadata"]["name"]
    assert hosts.split(",") == [f"{name}-{n}.{within}:{offered['port']}" for n in range(count)]
    assert model == "transformer"
    [container] = ranker["spec"]["template"]["spec"]["containers"]
    assert port(container, offered["targetPort"]) == offered["port"]
    [rule] = [
        rule
        for rule in egress(rendered, "tamis")
        for to in rule.get("to", ())
        if name in rendered.selected_by(to.get("podSelector", NOBODY))
    ]
    assert [each["port"] for each in rule["ports"]] == [offered["targetPort"]]
    [bundles] = ranker["spec"]["template"]["spec"]["initContainers"]
    program, command, *_ = bundles["args"]
    assert (program, command) == ("bundle", "follow")
    assert "TAMIS_BUNDLE__URL" in rendered.environment(bundles)
    assert f"--model-repository={bundles['args'][3]}/current/{MODELS}" in container["args"]


def test_nothing_is_mounted_or_read_that_is_not_there(rendered: Rendered) -> None:
    apart = {("Secret", "tamis-state")}  # docs/deploy.md: made by hand, since it is a secret
    for _, template in rendered.templates():
        spec = template["spec"]
        mounted = {each["name"] for each in spec.get("volumes", ())}
        for each in spec["volumes"]:
            if "configMap" in each:
                assert rendered.one("ConfigMap", each["configMap"]["name"])
        for each in containers(spec):
            for name in rendered.environment(each).values():
                if name.startswith("<"):
                    assert ("Secret", name[1:].partition("/")[0]) in apart
        if "serviceAccountName" in spec:
            assert rendered.one("ServiceAccount", spec["serviceAccountName"])
        claimed = {
            claim["metadata"]["name"]
            for owner in rendered.all("StatefulSet")
            for claim in owner["spec"].get("volumeClaimTemplates", ())
        }
        wanted = {mount["name"] for each in containers(spec) for mount in each["volumeMounts"]}
        assert wanted <= mounted | claimed


def test_a_changed_setting_rolls_the_pods(tmp_path: Path, overlay: str, pod: Manifest) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "k8s")
    with (tmp_path / "k8s/base/settings.env").open("a") as settings:
        settings.write("TAMIS_LOG__LEVEL=debug\n")
    after = kustomized(tmp_path / "k8s/overlays" / overlay).one("Deployment", "tamis")
    assert after["spec"]["template"]["spec"] != pod


def test_a_server_with_these_settings_answers_the_probes(
    rendered: Rendered,
    container: Manifest,
    redis_empty: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = Path(str(files("tamis_pipeline.shop") / "bundle"))
    elsewhere = {
        "TAMIS_BUNDLE__URL",
        "TAMIS_METRICS__LISTEN",
    }  # S3 isn't here, the port may be taken
    for name, text in given(rendered, container).items():
        if name not in elsewhere:
            monkeypatch.setenv(name, text)
    probes = [container[f"{name}Probe"]["grpc"] for name in ("startup", "readiness", "liveness")]
    options = ("--set", f"state.url={redis_empty.url}", "--set", "server.drain_delay_s=0")
    assert container["args"] == ["serve"]
    with (
        server_process(bundle, *options) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for probe in probes:
            assert probe["port"] == port(container, "grpc")
            asked = health_pb2.HealthCheckRequest(service=probe.get("service", ""))
            said = health.Check(asked, timeout=PATIENCE_S, wait_for_ready=True)
            assert said.status == health_pb2.HealthCheckResponse.SERVING
        assert server.stop() == 0


def test_redis_runs_by_its_configuration_and_has_room_to_rewrite_its_log(tmp_path: Path) -> None:
    rendered = kustomized(KUBERNETES / "overlays/dev")
    spec = rendered.one("StatefulSet", "tamis-redis")["spec"]["template"]["spec"]
    [configuration] = [each["configMap"]["name"] for each in spec["volumes"]]
    text = rendered.one("ConfigMap", configuration)["data"]["redis.conf"]
    assert "\ndir /data\n" in text
    (tmp_path / "redis.conf").write_text(text.replace("dir /data", f"dir {tmp_path}"))
    address = tmp_path / "socket"
    command = [binary().path, tmp_path / "redis.conf", "--port", "0", "--unixsocket", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if "ready to accept connections" in line.lower():
                    break
            assert process.poll() is None, said
            with redis.Redis(unix_socket_path=str(address), decode_responses=True) as client:
                assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
                assert client.config_get("appendonly") == {"appendonly": "yes"}
                most = float(client.config_get("maxmemory")["maxmemory"])
        finally:
            process.kill()
    [container] = spec["containers"]
    assert 0 < most <= 0.75 * amount(container["resources"]["limits"]["memory"])


def test_an_installation_may_have_all_components_and_its_events_are_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "k8s")
    components = sorted(path.name for path in (tmp_path / "k8s/components").iterdir())
    overlay = {
        "namespace": "tamis",
        "resources": ["../../base"],
        "components": [f"../../components/{name}" for name in components],
    }
    (tmp_path / "k8s/overlays/all").mkdir()
    (tmp_path / "k8s/overlays/all/kustomization.yaml").write_text(yaml.safe_dump(overlay))
    rendered = kustomized(tmp_path / "k8s/overlays/all")
    for manifest in rendered.manifests:
        if manifest["apiVersion"] in OF_KUBERNETES:
            kubernetes_validate.validate(manifest, VERSION, strict=True)
    pod = rendered.one("Deployment", "tamis")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    for name, text in given(rendered, container).items():
        monkeypatch.setenv(name, text)
    settings = load_settings()
    assert settings.state.url.startswith("redis://tamis-redis")
    assert settings.ranking.url.startswith("triton://tamis-triton-0")
    [mount] = [each for each in container["volumeMounts"] if each["name"] == "events"]
    assert settings.events.log_dir == Path(mount["mountPath"])
    [volume] = [each for each in pod["volumes"] if each["name"] == "events"]
    claim = rendered.one("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_every_component_says_what_it_is_for() -> None:
    for component in KUBERNETES.glob("components/*/"):
        assert (component / "README.md").read_text().startswith("# ")


def test_nodes_are_what_karpenter_defines_and_take_the_pods_that_need_them() -> None:
    nodes = kustomized(KUBERNETES / "karpenter")
    [node_class] = nodes.all("EC2NodeClass")
    assert "cluster.env" not in str(node_class), "all of it was put in"
    assert node_class["spec"]["metadataOptions"]["httpPutResponseHopLimit"] == 1
    pools = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in nodes.all("NodePool")
    }
    for pool in pools.values():
        assert pool["nodeClassRef"]["name"] == node_class["metadata"]["name"]
    ranker = kustomized(KUBERNETES / "overlays/prod-gpu").one("StatefulSet", "tamis-triton")
    tolerated = {
        (each["key"], each["effect"]) for each in ranker["spec"]["template"]["spec"]["tolerations"]
    }
    assert {(each["key"], each["effect"]) for each in pools["tamis-gpu"]["taints"]} == tolerated
    assert "taints" not in pools["tamis"]
    assert [problem for each in nodes.manifests for problem in problems(each)] == []
