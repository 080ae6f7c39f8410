"""The Ray jobs of k8s/jobs: commands that exist, clusters that can do them, images that are set."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_group

from support.crds import problems
from tamis_pipeline.cli import app

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "k8s/jobs"
RAY_JOBS = sorted(JOBS.glob("*-rayjob.yaml"))
pytestmark = pytest.mark.parametrize("path", RAY_JOBS, ids=lambda path: path.stem)


def manifest(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def command(job: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The pipeline's command that the job runs, and its options as the command line has them."""
    program, group, name, *options = shlex.split(job["spec"]["entrypoint"])
    assert (program, group) == ("tamis", "pipeline")
    found = get_group(app).commands[name].make_context(name, options)
    return name, found.params


def pods(job: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """How many there are of each, and its specification; the head first."""
    cluster = job["spec"]["rayClusterSpec"]
    yield 1, cluster["headGroupSpec"]["template"]["spec"]
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        yield group["replicas"], group["template"]["spec"]


def templates(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Of all pods that are made: those of the cluster, and the one that submits the job to it."""
    cluster, submitter = job["spec"]["rayClusterSpec"], job["spec"]["submitterPodTemplate"]
    workers = [group["template"] for group in cluster["workerGroupSpecs"]]
    return [cluster["headGroupSpec"]["template"], *workers, submitter]


def test_the_job_is_what_kuberay_defines(path: Path) -> None:
    assert problems(manifest(path)) == []


def test_the_job_asks_for_a_command_that_exists_and_workers_that_fit(path: Path) -> None:
    job = manifest(path)
    _, options = command(job)
    assert options["engine"].value == "ray"
    assert options["shards"] >= options["workers"]
    cpus = 0
    _, *workers = pods(job)
    for count, pod in workers:
        [container] = pod["containers"]
        cpus += count * int(container["resources"]["limits"]["cpu"])
    assert options["workers"] <= cpus
    assert job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_every_path_of_the_command_is_on_storage_that_all_pods_mount(path: Path) -> None:
    job = manifest(path)
    paths = re.findall(r"(/\S+)", job["spec"]["entrypoint"])
    assert paths
    for _, pod in pods(job):
        claims = {volume["name"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume}
        [container] = pod["containers"]
        shared = {each["mountPath"] for each in container["volumeMounts"] if each["name"] in claims}
        assert all(any(each.startswith(f"{mount}/") for mount in shared) for each in paths)


def test_pods_are_restricted_and_the_cluster_goes_with_the_job(path: Path) -> None:
    job = manifest(path)
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    for pod in (template["spec"] for template in templates(job)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}


def test_a_cluster_without_tokens_is_closed_to_other_namespaces(path: Path) -> None:
    policy = yaml.safe_load((JOBS / "network-policy.yaml").read_text())["spec"]
    for template in templates(manifest(path)):
        [container] = template["spec"]["containers"]
        assert {"name": "RAY_AUTH_MODE", "value": "disabled"} in container["env"]
        assert (
            policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        )
    assert policy["policyTypes"] == ["Ingress"]
    for each in policy["ingress"][0]["from"]:
        assert set(each) != {"namespaceSelector"} or each["namespaceSelector"]["matchLabels"]


def test_the_cluster_runs_the_ray_that_is_pinned(path: Path) -> None:
    version = manifest(path)["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"\nray=={version}\n" in (ROOT / "constraints.txt").read_text()


def test_the_submitter_leaves_the_command_to_kuberay_and_can_write_where_its_home_is(
    path: Path,
) -> None:
    job = manifest(path)
    assert job["spec"]["submissionMode"] == "K8sJobMode"
    pod = job["spec"]["submitterPodTemplate"]["spec"]
    [container] = pod["containers"]
    assert pod["restartPolicy"] == "Never"
    assert "command" not in container
    assert {"name": "HOME", "value": "/tmp"} in container["env"]  # noqa: S108
    assert "/tmp" in {each["mountPath"] for each in container["volumeMounts"]}  # noqa: S108


def test_the_extra_can_submit_jobs_and_be_probed(path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [ray] = project["optional-dependencies"]["ray"]
    extras = re.match(r"ray\[([a-z,]+)\]", ray)
    assert extras is not None
    assert {"data", "default"} <= set(extras[1].split(","))
    pinned = (ROOT / "constraints.txt").read_text()
    assert "\naiohttp==" in pinned, "what ray[default] brings is pinned, too"


def test_kustomize_sets_the_image_of_every_pod(path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not there: k8s/jobs was not rendered")
    rendered = subprocess.run(
        [kubectl, "kustomize", str(JOBS)], capture_output=True, text=True, check=True
    )
    name = manifest(path)["metadata"]["name"]
    [job] = [
        each for each in yaml.safe_load_all(rendered.stdout) if each["metadata"]["name"] == name
    ]
    [wanted] = yaml.safe_load((JOBS / "kustomization.yaml").read_text())["images"]
    for template in templates(job):
        for container in template["spec"]["containers"]:
            assert container["image"] == f"{wanted['newName']}:{wanted['newTag']}"
