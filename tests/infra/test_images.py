"""The Dockerfile: its images hold what is installed, and are run as the manifests run them."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

from support.manifests import KUBERNETES, kustomized

ROOT = Path(__file__).resolve().parents[2]
# continued lines are one
LINES = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text()).splitlines()


def stages() -> dict[str, list[tuple[str, str]]]:
    """By name, the instructions of each; those of the stage that it begins from first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in LINES:
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            begun_from, _, name = rest.partition(" AS ")
            found[name] = list(found.get(begun_from, ()))
        elif found and instruction.isupper():
            found[name].append((instruction, rest))
    return found


def said(stage: str, instruction: str) -> list[str]:
    return [rest for each, rest in stages()[stage] if each == instruction]


def test_what_is_built_without_a_target_is_the_server() -> None:
    assert list(stages())[-1] == "server"
    assert [json.loads(each) for each in said("server", "ENTRYPOINT")] == [["tamis"]]


@pytest.mark.parametrize("name", ["build-server", "build-pipeline"])
def test_the_extras_that_are_installed_exist(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [extras] = [
        found[1]
        for each in said(name, "RUN")
        if (found := re.search(r"'\.\[([a-z0-9,]+)\]'", each))
    ]
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    assert any("--constraint constraints.txt" in each for each in said(name, "RUN"))


def test_the_server_installs_no_training_library() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [command] = [each for each in said("build-server", "RUN") if "'.[" in each]
    training = {re.split(r"[^\w-]", each)[0] for each in project["optional-dependencies"]["train"]}
    serving = [*project["dependencies"]]
    for extra in re.findall(r"\w+", command.partition("'.[")[2]):
        serving += project["optional-dependencies"].get(extra, [])
    named = {re.split(r"[^\w-]", each)[0] for each in serving}
    assert {"jax", "optax", "polars"} <= training
    assert named.isdisjoint({"jax", "optax", "polars", "lightgbm", "torch", "ray"})


def test_all_that_setup_needs_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    assert all((ROOT / each).exists() for each in sent)
    tree = ast.parse((ROOT / "setup.py").read_text())
    [roots] = [
        ast.literal_eval(each.value)
        for each in tree.body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "ROOTS"
    ]
    wanted = {*roots, "pyproject.toml", "setup.py", "constraints.txt", "README.md"}
    assert all({each, *map(str, Path(each).parents)} & sent for each in wanted)


@pytest.mark.parametrize("name", ["server", "pipeline"])
def test_an_image_runs_as_the_user_of_the_manifests(name: str) -> None:
    [user] = said(name, "USER")
    spec = kustomized(KUBERNETES / "base").one("Deployment", "tamis")["spec"]["template"]["spec"]
    security = spec["securityContext"]
    assert user == f"{security['runAsUser']}:{security['runAsGroup']}"


def test_the_server_listens_where_its_image_says_and_serves_the_bundle_that_it_holds() -> None:
    rendered = kustomized(KUBERNETES / "overlays/dev")
    [container] = rendered.one("Deployment", "tamis")["spec"]["template"]["spec"]["containers"]
    [exposed] = said("server", "EXPOSE")
    assert {int(each) for each in exposed.split()} == {
        each["containerPort"] for each in container["ports"]
    }
    [link] = [each for each in said("server", "RUN") if each.startswith("ln -s")]
    assert link.split()[-1] == rendered.environment(container)["TAMIS_BUNDLE__PATH"]
    assert "tamis_pipeline/shop/bundle" in link


def test_every_stage_begins_from_the_same_python_which_is_one_that_is_allowed() -> None:
    [default] = [line.partition("=")[2] for line in LINES if line.startswith("ARG PYTHON=")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = project["requires-python"].removeprefix(">=")
    assert [int(each) for each in default.split(".")] >= [int(each) for each in least.split(".")]
    assert len({line.split()[1] for line in LINES if line.startswith("FROM python")}) == 1
