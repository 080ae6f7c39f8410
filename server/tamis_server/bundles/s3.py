"""Published bundles in S3: ``PREFIX/BUNDLE_ID/...`` and ``PREFIX/current.json``, which names one.

A bundle's manifest is the last of it to be written, ``current.json`` the last of all: who follows
the pointer finds a whole bundle. Credentials, region and endpoint are boto3's to find
(``AWS_ENDPOINT_URL_S3`` for anything that speaks S3). Needs the extra ``s3``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.directory import replacing
from tamis_server.domain.errors import BundleRejected, DependencyFailed, installing

CURRENT = "current.json"
_BUNDLE_ID = re.compile(r"[^./][^/]*")  # a directory's name, and of none that is hidden


class S3Bundles:
    """The bundles under one ``s3://bucket/prefix``. All methods raise DependencyFailed."""

    def __init__(self, url: str) -> None:
        """Raises BundleRejected for a URL of another form, or without the extra."""
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise BundleRejected(url, "is not s3://bucket/prefix")
        try:
            import boto3  # noqa: PLC0415 an extra
        except ModuleNotFoundError:
            raise BundleRejected(url, f"needs boto3: {installing('s3')}") from None
        self.url = url.rstrip("/")
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/")
        self._client: Any = boto3.client("s3")

    def current(self) -> str | None:
        """The id of the bundle to be served; None where nothing was published. Raises
        BundleRejected where it says nothing of the kind."""
        body = self._read(CURRENT)
        return None if body is None else named(body, f"{self.url}/{CURRENT}")

    def read(self, bundle_id: str, name: str) -> bytes | None:
        """A file of a bundle; None where there is none."""
        return self._read(f"{bundle_id}/{name}")

    def put(self, bundle: Path) -> None:
        """Upload a bundle; what is there already, from a run that was stopped, is written again."""
        manifest = fmt.read_manifest(bundle)
        inside = (path for path in sorted(bundle.rglob("*")) if path.is_file())
        names = [str(path.relative_to(bundle)) for path in inside]
        names.remove(fmt.MANIFEST)
        with self._failures():
            for name in (*names, fmt.MANIFEST):
                self._client.upload_file(
                    str(bundle / name),
                    self._bucket,
                    self._key(f"{manifest.bundle_id}/{name}"),
                    ExtraArgs={"ChecksumAlgorithm": "SHA256"},
                )

    def point(self, bundle_id: str) -> None:
        """Make it the one to be served."""
        body = json.dumps({"bundle_id": bundle_id}).encode()
        with self._failures():
            self._client.put_object(Bucket=self._bucket, Key=self._key(CURRENT), Body=body)

    def fetch(self, bundle_id: str, cache: Path) -> Path:
        """``cache/BUNDLE_ID``, downloaded and checked unless it is there, whole by the sizes of its
        files. Raises BundleRejected."""
        directory = cache / bundle_id
        if not _is_whole(directory):
            with self._failures(), replacing(directory) as temporary:
                self._download(bundle_id, temporary)
        return directory

    def _download(self, bundle_id: str, directory: Path) -> None:
        body = self.read(bundle_id, fmt.MANIFEST)
        if body is None:
            raise BundleRejected(fmt.MANIFEST, f"not found in {self.url}/{bundle_id}")
        (directory / fmt.MANIFEST).write_bytes(body)
        manifest = fmt.read_manifest(directory)
        if manifest.bundle_id != bundle_id:
            raise BundleRejected(
                fmt.MANIFEST, f"of {self.url}/{bundle_id} is {manifest.bundle_id}'s"
            )
        fmt.check_files(manifest)  # names that a bundle has lead nowhere else
        for name, entry in manifest.files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            key = self._key(f"{bundle_id}/{name}")
            self._client.download_file(self._bucket, key, str(path))
            if fmt.digest(path) != entry.sha256:
                raise BundleRejected(name, f"of {self.url}/{bundle_id}: not what its manifest says")

    def _read(self, name: str) -> bytes | None:
        with self._failures():
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
            except self._client.exceptions.NoSuchKey:
                return None
            body: bytes = found["Body"].read()
            return body

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    @contextmanager
    def _failures(self) -> Iterator[None]:
        from boto3.exceptions import Boto3Error  # noqa: PLC0415 an extra
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 an extra

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError, OSError) as error:
            raise DependencyFailed(self.url, str(error)) from None


def named(body: bytes, where: str) -> str:
    """The bundle that a pointer names. Raises BundleRejected."""
    try:
        bundle_id = json.loads(body)["bundle_id"]
    except (ValueError, KeyError, TypeError):
        bundle_id = None
    if not isinstance(bundle_id, str) or not _BUNDLE_ID.fullmatch(bundle_id):
        raise BundleRejected(where, 'is not {"bundle_id": "NAME-DIGEST"}')
    return bundle_id


def _is_whole(directory: Path) -> bool:
    try:
        files = fmt.read_manifest(directory).files
        return all((directory / name).stat().st_size == files[name].bytes for name in files)
    except (BundleRejected, OSError):
        return False
