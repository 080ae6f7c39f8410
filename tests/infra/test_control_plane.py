"""What a real control plane makes of the overlays; skipped until `make control-plane` has built it.

What pods do inside, nobody does here: each runs at once, and is ready until a test says it isn't.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.control_plane import ControlPlane, NoControlPlane, Object, Refused, Said, until
from support.crds import CRDS
from support.manifests import KUBERNETES, Manifest, Rendered, kustomized

OVERLAYS = sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))
NAMESPACE = ("--namespace", "tamis")
PODS = "/api/v1/namespaces/tamis/pods"
SERVERS = f"{PODS}?labelSelector=app.kubernetes.io/component%3Dserver"
TRITONS = (*NAMESPACE, "pods", "--selector=app.kubernetes.io/component=ranker")
REFUSAL = "would violate the pod's disruption budget"
ZONES = ("a", "b", "c")  # and the nodes in them that have no GPU
DEFINITIONS = sorted(CRDS.glob("*.yaml"))
DEFINED_APART = {"monitoring.coreos.com/v1", "karpenter.sh/v1", "karpenter.k8s.aws/v1"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    try:
        made = ControlPlane(tmp_path_factory.mktemp("control-plane"), DEFINITIONS)
    except NoControlPlane as error:
        pytest.skip(f"no control plane: {error}")
    with made:
        yield made


@pytest.fixture(autouse=True)
def _logs(request: pytest.FixtureRequest, plane: ControlPlane) -> Iterator[None]:
    """Shown with a test that failed."""
    before = request.session.testsfailed
    yield
    if request.session.testsfailed > before:
        print(plane.logs())


@pytest.fixture
def definitions(plane: ControlPlane) -> None:
    """What custom resources are; in a cluster their operators bring it."""
    if not DEFINITIONS:
        pytest.skip(f"no definitions of custom resources in {CRDS}: set TAMIS_TEST_CRDS")


@dataclass(frozen=True)
class Installed:
    """An overlay that was applied."""

    plane: ControlPlane
    rendered: Rendered
    directory: Path
    said: Said

    def again(self, directory: Path | None = None) -> None:
        """Apply it once more, or how it looks in another directory."""
        self.plane.kubectl("apply", "-k", directory or self.directory)

    def wanted(self, owner: Manifest) -> int:
        """How many pods the Deployment or StatefulSet should have."""
        least = {
            each["spec"]["scaleTargetRef"]["name"]: each["spec"]["minReplicas"]
            for each in self.rendered.all("HorizontalPodAutoscaler")
        }
        return int(least.get(owner["metadata"]["name"]) or owner["spec"]["replicas"])

    def settle(self) -> None:
        """Until all pods of its last version are there and ready, and none of before."""
        for kind in ("Deployment", "StatefulSet"):
            for owner in self.rendered.all(kind):
                what = (*NAMESPACE, f"{kind}/{owner['metadata']['name']}")
                ready = f"jsonpath={{.status.readyReplicas}}={self.wanted(owner)}"
                self.plane.wait(ready, *what)
                self.plane.kubectl("rollout", "status", "--timeout=60s", *what)

    def stored(self) -> Sequence[Object]:
        """What was wanted, as the API server keeps it."""
        found = self.plane.all("-k", str(self.directory))
        for each in found:
            # what controllers note beside it; what is wanted has a generation
            del each["metadata"]["resourceVersion"]
            each.pop("status", None)
        return found

    def servers(self) -> Sequence[Object]:
        found: Sequence[Object] = self.plane.moment(SERVERS)["items"]
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]


@pytest.fixture(params=OVERLAYS)
def installed(request: pytest.FixtureRequest, plane: ControlPlane) -> Iterator[Installed]:
    """One overlay, and nothing of another: but for the namespace, which takes long to go."""
    directory = KUBERNETES / "overlays" / request.param
    rendered = kustomized(directory)
    if DEFINED_APART & {each["apiVersion"] for each in rendered.manifests}:
        request.getfixturevalue("definitions")
    try:
        yield Installed(plane, rendered, directory, plane.kubectl("apply", "-k", directory))
    finally:
        plane.kubectl("uncordon", *ZONES)
        inside = [each for each in rendered.manifests if each["kind"] != "Namespace"]
        whole = {"apiVersion": "v1", "kind": "List", "items": inside}
        gone = ("--cascade=foreground", "--ignore-not-found", "--filename=-")
        plane.kubectl("delete", *gone, given=whole)
        plane.kubectl("delete", *NAMESPACE, "persistentvolumeclaims", "--all")
        plane.kubectl("patch", "persistentvolume", "disk", "--patch", '{"spec":{"claimRef":null}}')


on_dev = pytest.mark.parametrize("installed", ["dev"], indirect=True)
on_prod = pytest.mark.parametrize("installed", ["prod"], indirect=True)
on_prod_gpu = pytest.mark.parametrize("installed", ["prod-gpu"], indirect=True)


def name(found: Object) -> str:
    return str(found["metadata"]["name"])


def serves(pod: Object) -> bool:
    """Ready, and not about to go."""
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def fewest(plane: ControlPlane, start: Object) -> int:
    """Of servers that served at a time, since ``start``."""
    serving = {name(pod): serves(pod) for pod in start["items"]}
    least = sum(serving.values())
    for event in plane.since(start, SERVERS):
        pod = event["object"]
        serving[name(pod)] = event["type"] != "DELETED" and serves(pod)
        least = min(least, sum(serving.values()))
    now = {name(pod) for pod in plane.moment(SERVERS)["items"] if serves(pod)}
    assert {pod for pod, does in serving.items() if does} == now, "the history has no gap"
    return least


def nodes(pods: Sequence[Object]) -> list[str]:
    return sorted(pod["spec"]["nodeName"] for pod in pods)


def fail(plane: ControlPlane, pod: Object) -> None:
    """Its probe says that it doesn't serve."""
    status = '{"status":{"conditions":[{"type":"Ready","status":"False"}]}}'
    plane.kubectl("patch", *NAMESPACE, "pod", name(pod), "--subresource=status", "--patch", status)


def evict(plane: ControlPlane, pod: Object) -> None:
    """As a drain does. Raises Refused."""
    where = {"name": name(pod), "namespace": "tamis"}
    asked = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": where}
    plane.kubectl("create", "--raw", f"{PODS}/{name(pod)}/eviction", "-f", "-", given=asked)


def addresses(plane: ControlPlane, service: str, condition: str = "ready") -> set[str]:
    """What the service's name is resolved to: ``ready``, or of pods that are so: ``serving``."""
    of_service = f"--selector=kubernetes.io/service-name={service}"
    return {
        address
        for piece in plane.all(*NAMESPACE, "endpointslices", of_service)
        for endpoint in piece["endpoints"] or ()
        if endpoint["conditions"][condition]
        for address in endpoint["addresses"]
    }


def ip(pod: Object) -> str:
    return str(pod["status"]["podIP"])


@contextmanager
def no_room(plane: ControlPlane) -> Iterator[None]:
    """For servers that aren't there yet."""
    plane.kubectl("cordon", *ZONES)
    yield
    plane.kubectl("uncordon", *ZONES)


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The manifests with another setting."""
    shutil.copytree(KUBERNETES, tmp_path / "k8s")
    with (tmp_path / "k8s/base/settings.env").open("a") as settings:
        settings.write("TAMIS_LOG__LEVEL=debug\n")
    return tmp_path / "k8s/overlays/prod"


def test_every_overlay_is_admitted_without_a_warning_and_rolls_out(installed: Installed) -> None:
    assert installed.said.err == ""
    made = [line for line in installed.said.out.splitlines() if line.endswith(" created")]
    assert len(made) >= len(installed.rendered.manifests) - 1, "the namespace may have been there"
    installed.settle()
    before = installed.stored()
    installed.again()
    assert installed.stored() == before, "what is applied again changes nothing"


@on_dev
def test_a_pod_that_is_not_restricted_is_refused(installed: Installed) -> None:
    of_pod: dict[str, Object] = {
        "any system call": {"securityContext": {"runAsNonRoot": True}},
        "the network of its node": {"hostNetwork": True},
        "the disk of its node": {"volumes": [{"name": "disk", "hostPath": {"path": "/"}}]},
    }
    of_container: dict[str, Object] = {
        "what the server may": {},
        "root": {"runAsNonRoot": False},
        "to become more": {"allowPrivilegeEscalation": True},
        "capabilities": {"capabilities": {"drop": []}},
    }
    server = installed.rendered.one("Deployment", "tamis")["spec"]["template"]["spec"]
    admitted = []
    for what in (*of_pod, *of_container):
        spec = deepcopy(server)
        spec["volumes"] += of_pod.get(what, {}).pop("volumes", [])
        spec |= of_pod.get(what, {})
        spec["containers"][0]["securityContext"] |= of_container.get(what, {})
        about = {"name": "another", "namespace": "tamis"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}
        try:
            installed.plane.kubectl("create", "--dry-run=server", "-f", "-", given=pod)
        except Refused as refused:
            assert 'violates PodSecurity "restricted:' in str(refused)  # noqa: PT017
        else:
            admitted.append(what)
    assert admitted == ["what the server may"]


@on_prod
def test_servers_are_spread_over_the_zones_and_so_are_those_of_the_next_version(
    installed: Installed, changed: Path
) -> None:
    installed.settle()
    before = installed.servers()
    assert nodes(before) == ["a", "b", "c"]
    installed.again(changed)
    installed.settle()
    after = installed.servers()
    assert set(map(name, before)).isdisjoint(map(name, after))
    assert nodes(after) == ["a", "b", "c"]


@on_prod
def test_a_changed_setting_rolls_the_servers_and_never_are_there_fewer(
    installed: Installed, changed: Path
) -> None:
    installed.settle()
    start = installed.plane.moment(SERVERS)
    with no_room(installed.plane):
        installed.again(changed)
        deployment = (*NAMESPACE, "deployment/tamis")
        installed.plane.wait("jsonpath={.status.updatedReplicas}=1", *deployment)
    installed.settle()
    told = {
        source["configMapRef"]["name"]
        for pod in installed.servers()
        for source in pod["spec"]["containers"][0]["envFrom"]
    }
    [settings] = told
    data = installed.plane.get(*NAMESPACE, "configmap", settings)["data"]
    assert data["TAMIS_LOG__LEVEL"] == "debug"
    assert fewest(installed.plane, start) == len(start["items"]) == 3


@on_prod
def test_a_drain_of_all_nodes_takes_one_server_at_a_time_and_waits_for_the_next(
    installed: Installed,
) -> None:
    installed.settle()
    plane, start = installed.plane, installed.plane.moment(SERVERS)
    drain = ("drain", *ZONES, "--delete-emptydir-data", "--timeout=60s")
    with plane.kubectl_meanwhile(*drain) as draining:
        assert draining.stderr is not None
        said = []
        for line in draining.stderr:
            said.append(line)
            if REFUSAL in line:
                break
        assert REFUSAL in "".join(said), said
        plane.kubectl("uncordon", "a")  # as a new node comes
        said += draining.stderr
        assert draining.wait() == 0, said
    installed.settle()
    assert nodes(installed.servers()) == ["a", "a", "a"]
    assert fewest(plane, start) == 2


@on_prod
def test_a_server_that_does_not_serve_holds_up_no_drain_and_saves_those_that_do(
    installed: Installed,
) -> None:
    installed.settle()
    plane = installed.plane
    well, *ill = installed.servers()
    for pod in ill:
        fail(plane, pod)
    plane.wait("jsonpath={.status.currentHealthy}=1", *NAMESPACE, "pdb/tamis")
    with no_room(plane):
        with pytest.raises(Refused, match=REFUSAL):
            evict(plane, well)
        evict(plane, ill[0])
    until(lambda: sum(map(serves, installed.servers())), 2)
    assert name(well) in map(name, installed.servers())


@on_prod
def test_the_service_has_the_addresses_of_the_servers_that_serve(installed: Installed) -> None:
    installed.settle()
    plane, servers = installed.plane, installed.servers()
    until(lambda: addresses(plane, "tamis"), set(map(ip, servers)))
    ill, *well = servers
    fail(plane, ill)
    until(lambda: addresses(plane, "tamis"), set(map(ip, well)))


@on_prod_gpu
def test_every_triton_has_a_gpu_and_one_too_many_waits_for_its_own(installed: Installed) -> None:
    installed.settle()
    plane, triton = installed.plane, "statefulset/tamis-triton"
    assert nodes(plane.all(*TRITONS)) == ["gpu-a", "gpu-b"]
    assert nodes(installed.servers()) == ["a", "b", "c"], "nodes with a GPU are for Triton alone"
    plane.kubectl("scale", *NAMESPACE, triton, "--replicas=3")
    third = (*NAMESPACE, "pod/tamis-triton-2")
    plane.wait("create", *third)
    reason = '{.status.conditions[?(@.type=="PodScheduled")].reason}'
    plane.wait(f"jsonpath={reason}=Unschedulable", *third)
    [condition] = plane.get(*third)["status"]["conditions"]
    assert " Insufficient nvidia.com/gpu" in condition["message"]


@on_prod_gpu
def test_a_triton_that_is_ill_keeps_its_name(installed: Installed) -> None:
    installed.settle()
    plane = installed.plane
    ill, well = tritons = plane.all(*TRITONS)
    fail(plane, ill)
    until(lambda: addresses(plane, "tamis-triton", "serving"), {ip(well)})
    assert addresses(plane, "tamis-triton") == set(map(ip, tritons))


@pytest.mark.usefixtures("definitions")
def test_nodes_are_what_karpenter_takes(plane: ControlPlane) -> None:
    directory = KUBERNETES / "karpenter"
    try:
        said = plane.kubectl("apply", "-k", directory)
        assert said.err == ""
        stored = {(each["kind"], name(each)) for each in plane.all("-k", str(directory))}
        assert stored == {(each["kind"], name(each)) for each in kustomized(directory).manifests}
    finally:
        plane.kubectl("delete", "-k", directory, "--ignore-not-found")


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize(
    ("kind", "field", "value", "said"),
    [
        ("NodePool", "disruption.consolidateAfter", None, "Required value"),
        ("NodePool", "template.spec.requirements.0.operator", "Is", "Unsupported value"),
        ("NodePool", "template.spec.requirements.0.values", [], "must have a value defined"),
        ("NodePool", "template.spec.requirements.5.values", ["few"], "a single positive integer"),
        ("EC2NodeClass", "instanceProfile", "another", "exactly one of"),
        ("EC2NodeClass", "amiSelectorTerms.0.id", "ami-0123456789abcdef0", "mutually exclusive"),
        ("EC2NodeClass", "metadataOptions.hops", 1, "unknown field"),
        ("PodMonitor", "podMetricsEndpoints.0.interval", "half a minute", "should match"),
        ("PrometheusRule", "groups.0.rules.0.for", "half a minute", "should match"),
    ],
)
def test_a_custom_resource_that_is_wrong_is_refused(
    plane: ControlPlane, kind: str, field: str, value: object, said: str
) -> None:
    rendered = kustomized(KUBERNETES / ("karpenter" if "Node" in kind else "overlays/prod"))
    resource = rendered.one(kind, "tamis")
    resource["metadata"].pop("namespace", None)  # it isn't there
    check = ("create", "--dry-run=server", "--filename=-")
    plane.kubectl(*check, given=resource)
    place: Any = resource["spec"]
    *way, last = field.split(".")
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[last] = value
    with pytest.raises(Refused, match=said):
        plane.kubectl(*check, given=resource)
