"""What a result came from: code, libraries and input files, as digests that can be compared."""

from __future__ import annotations

import ast
import hashlib
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tamis_pipeline.dataset import DatasetRejected
from tamis_server.bundles.manifest import digest

_OURS = ("tamis_pipeline", "tamis_server", "tamis_client", "tamis_kernels")
# those whose version can change a result
_LIBRARIES = ("hnswlib", "jax", "jaxlib", "numpy", "optax", "polars", "pyarrow")


def inputs(source: Path) -> dict[str, str]:
    """SHA-256 of each file of ``source``, and one of each directory in it: by name, "posters/".

    Raises DatasetRejected.
    """
    if not source.is_dir():
        raise DatasetRejected(f"{source}: not a directory")
    found = {}
    for path in sorted(source.iterdir()):
        if path.is_dir():
            inside = (each for each in sorted(path.rglob("*")) if each.is_file())
            table = {str(each.relative_to(source)): digest(each) for each in inside}
            found[f"{path.name}/"] = combined(table)
        else:
            found[path.name] = digest(path)
    return found


def combined(digests: Mapping[str, str]) -> str:
    """One digest of many, whatever their order."""
    lines = "".join(f"{name} {value}\n" for name, value in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def tree(directory: Path) -> str:
    """One digest of all files in a directory."""
    paths = (path for path in directory.rglob("*") if path.is_file())
    return combined({str(path.relative_to(directory)): digest(path) for path in paths})


def libraries() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}


def commit() -> str | None:
    """The git commit of the checkout that this package lies in, "-dirty" where files differ."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40"]
    command += ["--dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


@cache
def code(*modules: str) -> str:
    """One digest of the source of ``modules`` and of all modules of ours that they import."""
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name not in found and path is not None:
            text = path.read_bytes()
            found[name] = hashlib.sha256(text).hexdigest()
            waiting.extend(_imports(ast.parse(text)))
    return combined(found)


def _imports(module: ast.Module) -> Iterator[str]:
    """Absolute imports of ours, those inside functions too."""
    for node in ast.walk(module):
        names: Iterable[str] = ()
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # a name may be a module itself
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.split(".")[0] in _OURS)


def _source(name: str) -> Path | None:
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:  # the name of a function in a module
        return None
    path = Path(spec.origin) if spec is not None and spec.origin else None
    return path if path is not None and path.suffix == ".py" else None
