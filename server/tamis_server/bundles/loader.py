"""Loads a bundle: verified first, mapped rather than read where it is large."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis_kernels import HnswGraph, IvfIndex
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.neighbours import Neighbours
from tamis_server.domain.errors import BundleRejected

Arrays = Mapping[str, npt.NDArray[Any]]
Index = HnswGraph | IvfIndex
_UNIT = 1e-3  # how far the square of a unit vector's length may be from 1


@dataclass(frozen=True, slots=True)
class Content:
    """What items look and read like: vectors float32[rows, c], the index over the bundle's own, and
    the directory of the towers that made them, where the bundle has it."""

    spec: fmt.ContentSpec
    vectors: npt.NDArray[np.float32]
    index: Index
    clip: Path | None


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory. Shapes as in ``bundles.manifest``, but arrays by item have ``rows`` rows:
    behind the bundle's own, which are never written to, spare ones for items that come later.
    """

    directory: Path
    manifest: fmt.Manifest
    rows: int
    items: pa.Table
    users: pa.Table
    vectors: npt.NDArray[np.float32]
    index: Index
    item_fields: npt.NDArray[np.int32]
    item_dense: npt.NDArray[np.float32]
    popularity: npt.NDArray[np.float32]
    encoder: Arrays
    ranker: Arrays
    content: Content | None = None
    item_tower: Arrays | None = None
    neighbours: Neighbours = Neighbours.none()  # noqa: RUF009 frozen


def verify(directory: Path) -> fmt.Manifest:
    """Check every file against the manifest. Raises BundleRejected with the file and the reason."""
    manifest = fmt.read_manifest(directory)
    fmt.check_files(manifest)
    for name, entry in manifest.files.items():
        path = directory / name
        try:
            size = path.stat().st_size
            if size != entry.bytes:
                raise BundleRejected(name, f"{size} bytes, the manifest says {entry.bytes}")
            actual = fmt.digest(path)
        except OSError as error:
            raise BundleRejected(name, error.strerror or str(error)) from None
        if actual != entry.sha256:
            raise BundleRejected(
                name, f"sha256 is {actual[:12]}…, the manifest says {entry.sha256[:12]}…"
            )
    expected = fmt.bundle_id(manifest.name, manifest.files)
    if manifest.bundle_id != expected:
        raise BundleRejected(
            fmt.MANIFEST, f"bundle_id is {manifest.bundle_id}, its files make {expected}"
        )
    return manifest


def load(directory: Path, spare: int = 0) -> Bundle:
    """Verify and load a bundle. Raises BundleRejected with the file and the reason."""
    manifest = verify(directory)
    vectors = _vectors(directory, fmt.VECTORS, manifest.items, manifest.dim, spare)
    features = _arrays(directory, fmt.FEATURES, ("item_fields", "item_dense"))
    bundle = Bundle(
        directory=directory,
        manifest=manifest,
        rows=manifest.items,
        items=_table(directory, fmt.ITEMS),
        users=_table(directory, fmt.USERS),
        vectors=vectors,
        index=_index(directory, fmt.INDEX, fmt.VECTORS, manifest, vectors),
        item_fields=features["item_fields"],
        item_dense=features["item_dense"],
        popularity=_array(directory, fmt.POPULARITY),
        encoder=_arrays(directory, fmt.ENCODER, (*fmt.ENCODER_ARRAYS, "pairing_id")),
        ranker=_arrays(directory, fmt.RANKER, (*fmt.RANKER_ARRAYS, "pairing_id")),
        content=_content(directory, manifest, spare),
        item_tower=_optional(directory, manifest, fmt.ITEM_TOWER, ("pairing_id",)),
        neighbours=_neighbours(directory, manifest),
    )
    _check_shapes(bundle)
    _check_pairing(bundle)
    return _with_spare(bundle, spare) if spare else bundle


def _vectors(
    directory: Path, name: str, items: int, dim: int, spare: int
) -> npt.NDArray[np.float32]:
    """Mapped; with room for spare ones copied, before a graph refers to them: the copy alone is
    then read."""
    vectors = _array(directory, name)
    _check_array(name, vectors, (items, dim), np.float32)
    return _longer(vectors, spare) if spare else vectors


def _content(directory: Path, manifest: fmt.Manifest, spare: int) -> Content | None:
    if manifest.content is None:
        return None
    vectors = _vectors(directory, fmt.CONTENT, manifest.items, manifest.content.dim, spare)
    squares = np.einsum("nc,nc->n", vectors, vectors)
    strange = np.flatnonzero((squares > 0) & (np.abs(squares - 1) > _UNIT))
    if strange.shape[0]:
        raise BundleRejected(
            fmt.CONTENT, f"row {strange[0]} has length {squares[strange[0]] ** 0.5:.4f}, not 1 or 0"
        )
    return Content(
        spec=manifest.content,
        vectors=vectors,
        index=_index(directory, fmt.CONTENT_INDEX, fmt.CONTENT, manifest, vectors),
        clip=directory / fmt.CLIP if manifest.has_clip else None,
    )


def _optional(
    directory: Path, manifest: fmt.Manifest, name: str, wanted: tuple[str, ...]
) -> Arrays | None:
    return _arrays(directory, name, wanted) if name in manifest.files else None


def _neighbours(directory: Path, manifest: fmt.Manifest) -> Neighbours:
    if fmt.NEIGHBOURS not in manifest.files:
        return Neighbours.none()
    arrays = _arrays(directory, fmt.NEIGHBOURS, ("rows", "weights"))
    rows, weights = arrays["rows"], arrays["weights"]
    shape = (manifest.items, rows.shape[1] if rows.ndim == 2 else 1)
    _check_array(fmt.NEIGHBOURS, rows, shape, np.int32)
    _check_array(fmt.NEIGHBOURS, weights, shape, np.float32)
    if int(rows.min(initial=0)) < -1 or int(rows.max(initial=0)) >= manifest.items:
        raise BundleRejected(fmt.NEIGHBOURS, f"names rows outside -1..{manifest.items - 1}")
    return Neighbours(rows, weights)


def _with_spare(bundle: Bundle, spare: int) -> Bundle:
    encoder = dict(bundle.encoder)
    encoder["history_table"] = _longer(encoder["history_table"].astype(np.float32), spare)
    return replace(
        bundle,
        rows=bundle.manifest.items + spare,
        item_fields=_longer(bundle.item_fields, spare),
        item_dense=_longer(bundle.item_dense, spare),
        popularity=_longer(bundle.popularity, spare),
        encoder=encoder,
        neighbours=bundle.neighbours.with_spare(spare),
    )


def _longer(array: npt.NDArray[Any], spare: int) -> npt.NDArray[Any]:
    longer = np.zeros((array.shape[0] + spare, *array.shape[1:]), array.dtype)
    longer[: array.shape[0]] = array
    return longer


def _array(directory: Path, name: str) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(directory / name, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BundleRejected(name, str(error)) from None
    return array.view(np.ndarray)  # a plain array over the map: memmap's own slicing is slow


def _arrays(directory: Path, name: str, wanted: tuple[str, ...]) -> Arrays:
    try:
        with np.load(directory / name, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError) as error:
        raise BundleRejected(name, str(error)) from None
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise BundleRejected(name, f"lacks {', '.join(missing)}")
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def _table(directory: Path, name: str) -> pa.Table:
    try:
        return pq.read_table(directory / name)
    except (OSError, pa.ArrowException) as error:
        raise BundleRejected(name, str(error)) from None


def _index(
    directory: Path,
    files: fmt.IndexFiles,
    over: str,
    manifest: fmt.Manifest,
    vectors: npt.NDArray[Any],
) -> Index:
    """The index over ``vectors``, those of the file ``over``: a graph looks whether they are the
    indexed ones, lists say of which file they were made."""
    if manifest.index.kind == "ivf":
        name = files.lists
        arrays = _arrays(directory, name, ("centroids", "starts", "rows", "pairing_id"))
        if str(arrays["pairing_id"]) != manifest.files[over].sha256[: fmt.PAIRING_DIGITS]:
            raise BundleRejected(name, f"is of another {over}")
        read: Callable[[], Index] = partial(
            IvfIndex, arrays["centroids"], arrays["starts"], arrays["rows"], vectors
        )
    else:
        name = files.graph if files.graph in manifest.files else files.hnsw
        read = partial(HnswGraph, directory / name, vectors)
    try:
        index = read()
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise BundleRejected(name, str(error)) from None
    if index.size != manifest.items:
        raise BundleRejected(name, f"holds {index.size} items, the manifest says {manifest.items}")
    return index


def _check_array(
    name: str, array: npt.NDArray[Any], shape: tuple[int, ...], dtype: type[Any]
) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise BundleRejected(
            name, f"{array.dtype}{array.shape} where {np.dtype(dtype)}{shape} is declared"
        )
    if dtype is np.float32 and not np.isfinite(array).all():
        raise BundleRejected(name, "holds values that are not finite")


def _check_shapes(bundle: Bundle) -> None:
    n = bundle.manifest.items
    schema = bundle.manifest.features
    item_fields, item_dense = len(schema.item_fields), len(schema.item_dense)
    _check_array(fmt.FEATURES, bundle.item_fields, (n, item_fields), np.int32)
    _check_array(fmt.FEATURES, bundle.item_dense, (n, item_dense), np.float32)
    _check_array(fmt.POPULARITY, bundle.popularity, (n,), np.float32)
    for table, name, rows in (
        (bundle.items, fmt.ITEMS, n),
        (bundle.users, fmt.USERS, bundle.manifest.users),
    ):
        if table.num_rows != rows:
            raise BundleRejected(name, f"{table.num_rows} rows, the manifest says {rows}")
    missing = {attribute.name for attribute in bundle.manifest.attributes} - set(
        bundle.items.column_names
    )
    if missing:
        raise BundleRejected(fmt.ITEMS, f"lacks the attributes {', '.join(sorted(missing))}")
    for column, field in enumerate(schema.item_fields):
        values = bundle.item_fields[:, column]
        if int(values.min()) < 0 or int(values.max()) >= field.size:
            raise BundleRejected(fmt.FEATURES, f"{field.name}: values outside 0..{field.size - 1}")


def _check_pairing(bundle: Bundle) -> None:
    """Encoder, index and ranker must come from the training run that made the vectors."""
    pairing, tower = bundle.manifest.pairing_id, bundle.item_tower
    for name, actual in (
        (fmt.VECTORS, fmt.pairing_id(bundle.directory / fmt.VECTORS)),
        (fmt.ENCODER, str(bundle.encoder["pairing_id"])),
        (fmt.RANKER, str(bundle.ranker["pairing_id"])),
        *(() if tower is None else ((fmt.ITEM_TOWER, str(tower["pairing_id"])),)),
    ):
        if actual != pairing:
            raise BundleRejected(
                name, f"is paired with {actual}, the manifest with {pairing}: not one training run"
            )
