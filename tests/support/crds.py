"""Manifests held to the schemas of the custom resources that they are."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

# official CustomResourceDefinitions: beside a checkout, or where TAMIS_TEST_CRDS says
CRDS = Path(os.environ.get("TAMIS_TEST_CRDS", Path(__file__).resolve().parents[3] / "shared/crds"))


def problems(manifest: dict[str, Any]) -> list[str]:
    """Where ``manifest`` is not what the definition of its kind allows; skips without one."""
    wanted = (manifest["apiVersion"], manifest["kind"])
    schema = next((schema for kind, schema in _schemas() if kind == wanted), None)
    if schema is None:
        pytest.skip(f"no definition of {wanted[1]} ({wanted[0]}) in {CRDS}: set TAMIS_TEST_CRDS")
    errors = jsonschema.Draft202012Validator(schema).iter_errors(manifest)
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in errors]


def _schemas() -> Any:
    for path in sorted(CRDS.glob("*.yaml")):
        for found in yaml.safe_load_all(path.read_text()):
            if found and found["kind"] == "CustomResourceDefinition":
                spec = found["spec"]
                for version in spec["versions"]:
                    kind = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                    schema = _strict(deepcopy(version["schema"]["openAPIV3Schema"]))
                    schema["properties"]["metadata"] = {"type": "object"}
                    yield kind, schema


def _strict(schema: Any) -> Any:
    """With unknown keys refused, as an API server does, and quantities as text or number."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("type") == "object" and "properties" in schema and not open_ended:
        schema.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return {key: _strict(value) for key, value in schema.items()}
