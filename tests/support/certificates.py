"""A certificate authority for one test run, and a certificate it gave to the loopback."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """PEM files. ``authority``: what a client must trust; the other two are the server's."""

    authority: Path
    certificate: Path
    key: Path


def certificates(directory: Path) -> Certificates:
    """Make them in ``directory``, valid for a day. Raises FileNotFoundError without openssl."""
    made = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    authority_key, request = directory / "ca.key", directory / "server.csr"
    extensions = directory / "server.ext"
    extensions.write_text("subjectAltName = IP:127.0.0.1, DNS:localhost\n")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl(
        *("req", "-x509", *new_key, "-keyout", authority_key, "-out", made.authority),
        *("-days", "1", "-subj", "/CN=Tamis test authority"),
    )
    _openssl("req", *new_key, "-keyout", made.key, "-out", request, "-subj", "/CN=localhost")
    _openssl(
        *("x509", "-req", "-in", request, "-out", made.certificate, "-days", "1"),
        *("-CA", made.authority, "-CAkey", authority_key, "-CAcreateserial"),
        *("-extfile", extensions),
    )
    return made


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"openssl {arguments[0]}: {done.stderr}"
