"""Loads a bundle: verified first, mapped rather than read where it is large."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tamis_kernels import HnswGraph, IvfIndex, halved
from tamis_server.bundles import manifest as fmt
from tamis_server.bundles.archive import READING_HEADER, mapped
from tamis_server.bundles.ids import in_one_piece
from tamis_server.bundles.neighbours import Neighbours
from tamis_server.bundles.profiles import NO_PROFILES, Profiles
from tamis_server.domain.errors import BundleRejected

Arrays = Mapping[str, npt.NDArray[Any]]
Index = HnswGraph | IvfIndex
_CHUNK = 16_384  # rows at a time
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
    profiles: Profiles = NO_PROFILES
    item_tower: Arrays | None = None
    neighbours: Neighbours = Neighbours.none()  # noqa: RUF009 frozen


def verify(directory: Path, threads: int = 1) -> fmt.Manifest:
    """Check every file against the manifest. Raises BundleRejected with the file and the reason."""
    manifest = fmt.read_manifest(directory)
    fmt.check_files(manifest)
    with ThreadPoolExecutor(threads) as pool:
        for checked in [
            pool.submit(_check_file, directory, name, entry)
            for name, entry in manifest.files.items()
        ]:
            checked.result()
    expected = fmt.bundle_id(manifest.name, manifest.files)
    if manifest.bundle_id != expected:
        raise BundleRejected(
            fmt.MANIFEST, f"bundle_id is {manifest.bundle_id}, its files make {expected}"
        )
    return manifest


def _check_file(directory: Path, name: str, entry: fmt.FileEntry) -> None:
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


def load(directory: Path, spare: int = 0, threads: int = 1) -> Bundle:
    """Verify and load a bundle, with room for ``spare`` items more. Raises BundleRejected with the
    file and the reason."""
    manifest = verify(directory, threads)
    with ThreadPoolExecutor(threads) as pool:  # what takes longest first
        indexed = pool.submit(_indexed, directory, manifest, spare)
        encoder = pool.submit(_encoder, directory, manifest, spare)
        items = pool.submit(_items, directory, manifest.items, threads > 1)
        neighbours = pool.submit(_neighbours, directory, manifest, spare)
        users = _table(directory, fmt.USERS, manifest.users, "user_id")
        features = pool.submit(_features, directory, manifest, spare)
        content = pool.submit(_content, directory, manifest, spare)
        vectors, index = indexed.result()
        item_fields, item_dense = features.result()
        bundle = Bundle(
            directory=directory,
            manifest=manifest,
            rows=manifest.items + spare,
            items=items.result(),
            users=users,
            profiles=_profiles(users, manifest.features.profile_fields),
            vectors=vectors,
            index=index,
            item_fields=item_fields,
            item_dense=item_dense,
            popularity=_popularity(directory, manifest, spare),
            encoder=encoder.result(),
            ranker=_arrays(directory, fmt.RANKER, (*fmt.RANKER_ARRAYS, "pairing_id")),
            content=content.result(),
            item_tower=_optional(directory, manifest, fmt.ITEM_TOWER, ("pairing_id",)),
            neighbours=neighbours.result(),
        )
    _check_attributes(bundle)
    _check_pairing(bundle)
    return bundle


def _profiles(users: pa.Table, fields: tuple[fmt.FieldSpec, ...]) -> Profiles:
    """Of the users' table. Raises BundleRejected."""
    if not fields:
        return NO_PROFILES
    if "profile" not in users.column_names:
        raise BundleRejected(fmt.USERS, "lacks the column profile")
    lists = users.column("profile").combine_chunks()
    lengths = lists.value_lengths()
    if lengths.null_count or (lengths.to_numpy() != len(fields)).any():
        raise BundleRejected(fmt.USERS, f"profile: not {len(fields)} codes in every row")
    codes = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, len(fields))
    sizes = np.array([field.size for field in fields])
    outside = np.flatnonzero(~((codes >= 0) & (codes < sizes)).all(axis=0))
    if outside.shape[0]:
        field = fields[outside[0]]
        raise BundleRejected(fmt.USERS, f"profile: {field.name} outside 0..{field.size - 1}")
    return Profiles(fields, np.ascontiguousarray(codes, np.int32))


def _indexed(
    directory: Path, manifest: fmt.Manifest, spare: int
) -> tuple[npt.NDArray[np.float32], Index]:
    vectors = _vectors(directory, fmt.VECTORS, manifest.items, manifest.dim, spare)
    _check_units(fmt.VECTORS, vectors[: manifest.items])
    return vectors, _index(directory, fmt.INDEX, fmt.VECTORS, manifest, vectors)


def _vectors(
    directory: Path, name: str, items: int, dim: int, spare: int
) -> npt.NDArray[np.float32]:
    """Mapped; with room for spare ones copied, before an index refers to them: the copy alone is
    then read."""
    vectors = _array(directory, name)
    _check_array(name, vectors, (items, dim), np.float32)
    return _longer(vectors, spare)


def _encoder(directory: Path, manifest: fmt.Manifest, spare: int) -> Arrays:
    """``history_table`` in float16, however the bundle has it."""
    arrays = _mapped(directory, fmt.ENCODER, (*fmt.ENCODER_ARRAYS, "pairing_id"))
    table = arrays.pop("history_table")
    fits = table.ndim == 2 and table.shape[0] == manifest.items
    if not fits or table.dtype not in (np.float16, np.float32):
        found = f"history_table is {table.dtype}{table.shape}"
        declared = f"float16({manifest.items}, e)"
        raise BundleRejected(fmt.ENCODER, f"{found} where {declared} is declared")
    halves = np.zeros((manifest.items + spare, table.shape[1]), np.float16)
    for start in range(0, manifest.items, _CHUNK):
        part = table[start : start + _CHUNK]
        if part.dtype == np.float32:
            part = halved(part)
        if not np.isfinite(part).all():
            reason = "history_table holds values that are not finite, or beyond 65,504"
            raise BundleRejected(fmt.ENCODER, reason)
        halves[start : start + part.shape[0]] = part
    return {**_copied(arrays), "history_table": halves}


def _features(
    directory: Path, manifest: fmt.Manifest, spare: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """item_fields and item_dense."""
    arrays = _arrays(directory, fmt.FEATURES, ("item_fields", "item_dense"))
    fields, dense, schema = arrays["item_fields"], arrays["item_dense"], manifest.features
    _check_array(fmt.FEATURES, fields, (manifest.items, len(schema.item_fields)), np.int32)
    _check_array(fmt.FEATURES, dense, (manifest.items, len(schema.item_dense)), np.float32)
    for column, field in enumerate(schema.item_fields):
        values = fields[:, column]
        if int(values.min()) < 0 or int(values.max()) >= field.size:
            raise BundleRejected(fmt.FEATURES, f"{field.name}: values outside 0..{field.size - 1}")
    return _longer(fields, spare), _longer(dense, spare)


def _popularity(directory: Path, manifest: fmt.Manifest, spare: int) -> npt.NDArray[np.float32]:
    popularity = _array(directory, fmt.POPULARITY)
    _check_array(fmt.POPULARITY, popularity, (manifest.items,), np.float32)
    return _longer(popularity, spare)


def _content(directory: Path, manifest: fmt.Manifest, spare: int) -> Content | None:
    if manifest.content is None:
        return None
    vectors = _vectors(directory, fmt.CONTENT, manifest.items, manifest.content.dim, spare)
    _check_units(fmt.CONTENT, vectors[: manifest.items], or_zero=True)
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


def _neighbours(directory: Path, manifest: fmt.Manifest, spare: int) -> Neighbours:
    if fmt.NEIGHBOURS not in manifest.files:
        return Neighbours.none()
    arrays = _arrays(directory, fmt.NEIGHBOURS, ("rows", "weights"))
    rows, weights = arrays["rows"], arrays["weights"]
    shape = (manifest.items, rows.shape[1] if rows.ndim == 2 else 1)
    _check_array(fmt.NEIGHBOURS, rows, shape, np.int32)
    _check_array(fmt.NEIGHBOURS, weights, shape, np.float32)
    if int(rows.min(initial=0)) < -1 or int(rows.max(initial=0)) >= manifest.items:
        raise BundleRejected(fmt.NEIGHBOURS, f"names rows outside -1..{manifest.items - 1}")
    found = Neighbours(rows, weights)
    return found.with_spare(spare) if spare else found


def _longer(array: npt.NDArray[Any], spare: int) -> npt.NDArray[Any]:
    """The array with ``spare`` rows of zeros behind it, in memory of its own; itself without."""
    if not spare:
        return array
    longer = np.zeros((array.shape[0] + spare, *array.shape[1:]), array.dtype)
    longer[: array.shape[0]] = array
    return longer


def _array(directory: Path, name: str) -> npt.NDArray[Any]:
    try:
        with READING_HEADER:
            array: npt.NDArray[Any] = np.load(directory / name, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BundleRejected(name, str(error)) from None
    return array.view(np.ndarray)  # a plain array over the map: memmap's own slicing is slow


def _mapped(directory: Path, name: str, wanted: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    """Views of the file."""
    try:
        arrays = mapped(directory / name)
    except (OSError, ValueError) as error:
        raise BundleRejected(name, str(error)) from None
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise BundleRejected(name, f"lacks {', '.join(missing)}")
    return arrays


def _arrays(directory: Path, name: str, wanted: tuple[str, ...]) -> Arrays:
    return _copied(_mapped(directory, name, wanted))


def _copied(arrays: Arrays) -> Arrays:
    copies = {name: np.array(array) for name, array in arrays.items()}
    for copy in copies.values():
        copy.flags.writeable = False
    return copies


def _items(directory: Path, rows: int, many_threads: bool) -> pa.Table:
    """Each column in one piece: of several pieces Arrow copies all to take a few rows."""
    return _table(directory, fmt.ITEMS, rows, "item_id", many_threads).combine_chunks()


def _table(directory: Path, name: str, rows: int, key: str, many_threads: bool = False) -> pa.Table:
    """key: the column of ids, which lie in one piece, as ``Ids`` reads them."""
    try:
        table = pq.read_table(directory / name, use_threads=many_threads)
    except (OSError, pa.ArrowException) as error:
        raise BundleRejected(name, str(error)) from None
    if key not in table.column_names:
        raise BundleRejected(name, f"lacks the column {key}")
    place, ids = table.column_names.index(key), in_one_piece(table.column(key))
    if ids.null_count:
        raise BundleRejected(name, f"{ids.null_count} rows have no {key}")
    table = table.set_column(place, key, ids)
    if table.num_rows != rows:
        raise BundleRejected(name, f"{table.num_rows} rows, the manifest says {rows}")
    return table


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
    if dtype is np.float32 and not _is_finite(array):
        raise BundleRejected(name, "holds values that are not finite")


def _check_units(name: str, vectors: npt.NDArray[np.float32], *, or_zero: bool = False) -> None:
    """Of unit vectors the inner product is the cosine, and orders as their distance does."""
    squares = np.einsum("nc,nc->n", vectors, vectors)
    strange = np.abs(squares - 1) > _UNIT
    if or_zero:
        strange &= squares > 0
    if strange.any():
        row, lengths = int(strange.argmax()), "1 or 0" if or_zero else "1"
        raise BundleRejected(name, f"row {row} has length {squares[row] ** 0.5:.4f}, not {lengths}")


def _is_finite(array: npt.NDArray[np.float32]) -> bool:
    """The sum of the squares is finite only where all are, and soon known."""
    return bool(np.isfinite(np.vdot(array, array)) or np.isfinite(array).all())


def _check_attributes(bundle: Bundle) -> None:
    missing = {attribute.name for attribute in bundle.manifest.attributes} - set(
        bundle.items.column_names
    )
    if missing:
        raise BundleRejected(fmt.ITEMS, f"lacks the attributes {', '.join(sorted(missing))}")


def _check_pairing(bundle: Bundle) -> None:
    """Encoder, index and ranker must come from the training run that made the vectors."""
    pairing, tower = bundle.manifest.pairing_id, bundle.item_tower
    for name, actual in (
        (fmt.VECTORS, bundle.manifest.files[fmt.VECTORS].sha256[: fmt.PAIRING_DIGITS]),
        (fmt.ENCODER, str(bundle.encoder["pairing_id"])),
        (fmt.RANKER, str(bundle.ranker["pairing_id"])),
        *(() if tower is None else ((fmt.ITEM_TOWER, str(tower["pairing_id"])),)),
    ):
        if actual != pairing:
            raise BundleRejected(
                name, f"is paired with {actual}, the manifest with {pairing}: not one training run"
            )
