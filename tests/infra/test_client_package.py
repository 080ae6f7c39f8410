"""The Python client as a package of its own, with the stubs and without the server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[2]
USES_IT = """
import tamis_client
from tamis.v1 import recommend_service_pb2
print(tamis_client.__file__, recommend_service_pb2.__file__)
with tamis_client.TamisClient("127.0.0.1:1") as client:
    try:
        client.recommend()
    except tamis_client.Unavailable:
        print("unavailable")
"""


def test_the_client_is_a_wheel_that_needs_nothing_of_the_checkout(tmp_path: Path) -> None:
    checkout, wheels, installed = (tmp_path / name for name in ("checkout", "wheels", "installed"))
    built = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    for part in ("clients/python", "proto/gen/python"):  # building leaves files beside the sources
        shutil.copytree(ROOT / part, checkout / part, ignore=built)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", wheels)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, checkout / "clients/python"], check=True
    )
    (wheel,) = wheels.iterdir()
    with ZipFile(wheel) as archive:
        archive.extractall(installed)
    used = subprocess.run(
        [sys.executable, "-c", USES_IT],
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    client, stubs, answer = used.stdout.split()
    assert client == str(installed / "tamis_client" / "__init__.py")
    assert stubs == str(installed / "tamis" / "v1" / "recommend_service_pb2.py")
    assert answer == "unavailable"
    (metadata,) = installed.glob("*.dist-info/METADATA")
    needed = re.findall(r"^Requires-Dist: ([\w-]+)", metadata.read_text(), re.MULTILINE)
    assert sorted(needed) == ["googleapis-common-protos", "grpcio", "protobuf"]
