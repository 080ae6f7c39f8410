"""What Kustomize makes of a directory, to be asked about."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

Manifest = dict[str, Any]
KUBERNETES = Path(__file__).resolve().parents[2] / "k8s"


@dataclass(frozen=True)
class Rendered:
    """The manifests of an overlay or component."""

    manifests: list[Manifest]

    def all(self, kind: str) -> list[Manifest]:
        return [each for each in self.manifests if each["kind"] == kind]

    def one(self, kind: str, name: str) -> Manifest:
        [found] = [each for each in self.all(kind) if each["metadata"]["name"] == name]
        return found

    def templates(self) -> Iterator[tuple[str, Manifest]]:
        """Of all pods: the name of what makes them, and how they are made."""
        for each in self.manifests:
            if "template" in each.get("spec", {}):
                yield each["metadata"]["name"], each["spec"]["template"]

    def selected_by(self, selector: Mapping[str, Any]) -> set[str]:
        """The names of those whose pods a label selector selects."""
        assert set(selector) <= {"matchLabels"}, "no other selectors are understood here"
        wanted = selector.get("matchLabels", {}).items()
        return {
            name
            for name, template in self.templates()
            if wanted <= template["metadata"]["labels"].items()
        }

    def environment(self, container: Manifest) -> dict[str, str]:
        """What the container is told; values of secrets are in angle brackets."""
        told: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            told |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        for variable in container.get("env", ()):
            secret = variable.get("valueFrom", {}).get("secretKeyRef")
            told[variable["name"]] = (
                f"<{secret['name']}/{secret['key']}>" if secret else variable["value"]
            )
        return told


def kustomized(directory: Path) -> Rendered:
    """Skips without kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip(f"kubectl is not there: {directory.name} was not rendered")
    done = subprocess.run(
        [kubectl, "kustomize", str(directory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Rendered(list(yaml.safe_load_all(done.stdout)))
