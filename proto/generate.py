"""Generates the Python stubs into proto/gen/python; with --check only compares."""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
STUBS = ROOT / "gen" / "python"


def generate(out: Path) -> None:
    """Write the stubs of every proto under ``out``. Raises RuntimeError where protoc refuses."""
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    beside = Path(sys.executable).parent  # whether or not the environment is activated
    protos = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tamis").rglob("*.proto"))
    command = [
        "protoc",
        f"--proto_path={ROOT}",
        f"--proto_path={well_known}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        *(
            f"--plugin={name}={beside / name}"
            for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
        ),
        f"--mypy_out=quiet:{out}",
        f"--mypy_grpc_out=quiet:{out}",
        *protos,
    ]
    if protoc.main(command):
        raise RuntimeError("protoc refused the protos; see above")
    (out / "tamis" / "v1" / "__init__.py").write_text('"""The public contract of Tamis, v1."""\n')
    (out / "tamis" / "v1" / "py.typed").touch()


def drift() -> list[str]:
    """Names of stubs that are not what the protos generate."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        generate(fresh)
        expected = {str(path.relative_to(fresh)) for path in fresh.rglob("*") if path.is_file()}
        present = {
            str(path.relative_to(STUBS))
            for path in STUBS.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        _, differing, missing = filecmp.cmpfiles(fresh, STUBS, sorted(expected), shallow=False)
        return sorted({*differing, *missing, *(present - expected)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the stubs are out of date")
    if parser.parse_args().check:
        names = drift()
        if names:
            print("out of date, run `make proto`: " + ", ".join(names), file=sys.stderr)
        return 1 if names else 0
    with tempfile.TemporaryDirectory() as temporary:
        generate(Path(temporary))
        shutil.rmtree(STUBS, ignore_errors=True)
        shutil.copytree(temporary, STUBS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
