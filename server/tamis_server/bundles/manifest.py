"""The bundle format: which files there are, and what ties them together.

A bundle is a directory:

==================  ================================================================================
manifest.json       this model; written last: a directory without it is no bundle
items.parquet       item_id, title, text, image: string; available: bool; created_at: float64 (Unix
                    seconds, null when unknown); one column per attribute (category: string,
                    tags: list<string>, number: float64, boolean: bool). Row order is row number.
vectors.npy         float32[items, dim], unit length: the item tower's output
features.npz        item_fields int32[items, fields] (0 = unknown), item_dense float32[items, dense]
popularity.npy      float32[items], decayed training count; 0 = never met
encoder.npz         the query encoder's weights (see ``ENCODER_ARRAYS``)
ranker.npz          the DeepFM's weights (see ``RANKER_ARRAYS``)
users.parquet       user_id: string; rows: list<int32>, times: list<float64>, kinds: list<uint8>,
                    oldest first: the histories known at build time, the seed of an empty store.
                    profile: list<int32>, codes of ``features.profile_fields``, where there are any
evaluation.json     what the pipeline measured
==================  ================================================================================

Those are in every bundle. Others are there or not, as the file table says; a file that it does not
name is no part of the bundle and is never read:

==================  ================================================================================
index.hnsw          hnswlib, inner product space, label = row. In bundles whose index is a graph
index.graph         the graph of index.hnsw by row (``tamis_kernels.HnswGraph.save``): what a server
                    reads where it is there, in a fraction of the time
index.ivf.npz       centroids float32[lists, dim], starts int64[lists + 1] and rows int32[items],
                    those of a list together (``tamis_kernels.IvfIndex``). In bundles whose index is
                    inverted lists
content.npy         float32[items, c]: what CLIP makes of each item's text and picture, fused; unit
                    rows, a zero row where there was nothing to encode. With ``manifest.content``.
content.hnsw        as index.hnsw, over content.npy; content.graph and content.ivf.npz likewise
clip/               the towers that made content.npy, for queries and new items (``bundles.clip``)
item_tower.npz      places items that training did not meet (``bundles.item_tower``)
vocabulary.json     what the item tower and the fields know of attributes and words
neighbours.npz      rows int32[items, k], -1 where there are fewer, and weights float32[items, k]:
                    what each item speaks for, by row (``bundles.neighbours``)
report.md           evaluation.json for people, and report.html: the same with plots
models/             ONNX models in the layout of Triton's repository: NAME/VERSION/model.onnx
==================  ================================================================================
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tamis_server.domain.errors import BundleRejected

FORMAT_VERSION: Literal[2] = 2
PAIRING_DIGITS = 16
MANIFEST = "manifest.json"
ITEMS = "items.parquet"
VECTORS = "vectors.npy"
FEATURES = "features.npz"
POPULARITY = "popularity.npy"
ENCODER = "encoder.npz"
RANKER = "ranker.npz"
USERS = "users.parquet"
EVALUATION = "evaluation.json"
REPORT_TEXT = "report.md"
REPORT_PAGE = "report.html"
FILES = (ITEMS, VECTORS, FEATURES, POPULARITY, ENCODER, RANKER, USERS, EVALUATION)


class IndexFiles(NamedTuple):
    """Of an index: hnsw and graph where it is a graph, else lists."""

    hnsw: str
    graph: str
    lists: str


INDEX = IndexFiles("index.hnsw", "index.graph", "index.ivf.npz")
CONTENT = "content.npy"
CONTENT_INDEX = IndexFiles("content.hnsw", "content.graph", "content.ivf.npz")
CLIP = "clip"
ITEM_TOWER = "item_tower.npz"
VOCABULARY = "vocabulary.json"
NEIGHBOURS = "neighbours.npz"
MODELS = "models"
CLIP_FILES = tuple(
    f"{CLIP}/{name}"
    for name in (
        "text.onnx",
        "vision.onnx",
        "tokenizer.json",
        "preprocessor_config.json",
        "clip.json",
    )
)
# What is of use only together: a bundle that has one of a group has all of it.
TOGETHER = (CLIP_FILES, (ITEM_TOWER, VOCABULARY))
_MODEL_FILE = re.compile(rf"{MODELS}(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")
_OPTIONAL = frozenset(
    {
        *(name for group in TOGETHER for name in group),
        *(*INDEX, CONTENT, *CONTENT_INDEX, NEIGHBOURS, REPORT_TEXT, REPORT_PAGE),
    }
)

# With e = the width of events, h heads, l events at most, s slots of context. The function they
# define: bundles.query_tower.
ENCODER_ARRAYS = (
    "history_table",  # [items, e], float16; bundles of before have float32
    "seeds",  # [e, h], what each head's attention looks for
    "kind_bias",  # [9, h], by EventKind, added to the attention's logits
    "recency_bias",  # [l, h], 0 for the latest event, added too
    "kind_weight",  # [9], what an event of a kind counts
    "context_table",  # [s, e], ``query_tower.context_slots``
    "w_context",  # [e, hidden]
    "skip",  # [h * e, d]
    "w1",  # [h * e, hidden]
    "b1",
    "w2",  # [hidden, d]
    "b2",
)

# With e = embedding width: see adapters/embedded/deepfm.py for the function they define.
RANKER_ARRAYS = (
    "user_embedding",  # [sum of user field sizes, e]
    "user_linear",  # [sum of user field sizes]
    "item_embedding",  # [sum of item field sizes, e]
    "item_linear",  # [sum of item field sizes]
    "user_dense_linear",  # [user dense]
    "item_dense_linear",  # [item dense]
    "cross_linear",  # [cross]
    "w1_user",  # [user fields * e + user dense, h1]
    "w1_item",  # [item fields * e + item dense, h1]
    "w1_cross",  # [cross, h1]
    "b1",
    "w2",  # [h1, h2]
    "b2",
    "w3",  # [h2, h3]
    "b3",
    "w_out",  # [objectives, h3]
    "wide",  # [objectives], each one's share of the linear and factorisation terms
    "bias",  # [objectives]
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Strict):
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Attribute(_Strict):
    name: str = Field(min_length=1)
    kind: Literal["category", "tags", "number", "boolean"]


class FieldSpec(_Strict):
    """A categorical input of the ranker; values 0 <= v < size, 0 = unknown."""

    name: str
    size: int = Field(ge=1)


class FeatureSchema(_Strict):
    """The ranker's inputs, in order. Dense user input ends with the query vector, dense item
    input with the item vector (``dim`` each); the names list what comes before. profile_fields:
    what is known of users by themselves; the last of the user_fields."""

    user_fields: tuple[FieldSpec, ...]
    item_fields: tuple[FieldSpec, ...]
    user_dense: tuple[str, ...]
    item_dense: tuple[str, ...]
    cross: tuple[str, ...]
    profile_fields: tuple[FieldSpec, ...] = ()


EventName = Literal["view", "click", "add_to_cart", "purchase", "like", "dislike", "hide"]


class Objective(_Strict):
    """What one head of the rankers predicts: that one of ``events`` happens.

    The score served is the mean of the objectives' probabilities by ``weight``, unless the setting
    ranking.objectives says otherwise.
    """

    name: str = Field(pattern="^[a-z][a-z0-9_]{0,31}$")
    events: tuple[EventName, ...] = Field(min_length=1)
    weight: float = Field(ge=0)


class HnswSpec(_Strict):
    """A graph as hnswlib builds it. ef_search: the beam of a search for 100."""

    kind: Literal["hnsw"] = "hnsw"
    m: int = Field(16, ge=2)
    ef_construction: int = Field(200, ge=1)
    ef_search: int = Field(200, ge=1)


class IvfSpec(_Strict):
    """Inverted lists. scanned: eligible rows that a search for 100 looks at, at most; reach: lists
    further off are not looked into, as `IvfIndex.search` has it, None: all may be."""

    kind: Literal["ivf"]
    lists: int = Field(ge=1)
    scanned: int = Field(ge=1)
    reach: float | None = Field(None, ge=0, allow_inf_nan=False)


IndexSpec = HnswSpec | IvfSpec


class ContentSpec(_Strict):
    """How content vectors came about, and how those of queries and new items do: ``bundles.clip``.

    encoder: as it was named when items were embedded; dim: width of the vectors; weights: of a
    text's and of a picture's unit vector in the sum; image_size: edge in pixels that the vision
    tower sees; max_tokens: longer texts are cut.
    """

    encoder: str = Field(min_length=1)
    dim: int = Field(ge=1)
    text_weight: float = Field(ge=0, allow_inf_nan=False)
    image_weight: float = Field(ge=0, allow_inf_nan=False)
    image_size: int = Field(ge=1)
    max_tokens: int = Field(ge=1)

    @model_validator(mode="after")
    def _weighs_something(self) -> Self:
        if self.text_weight + self.image_weight <= 0:
            raise ValueError("text_weight and image_weight are both 0: one of them must be more")
        return self


class Manifest(_Strict):
    """``bundle_id`` is name-digest, the digest of the file table: equal content, equal id."""

    format_version: Literal[2]
    bundle_id: str
    name: str
    as_of: float
    items: int = Field(ge=1)
    users: int = Field(ge=0)
    dim: int = Field(ge=1)
    metric: Literal["ip"]
    pairing_id: str
    attributes: tuple[Attribute, ...]
    features: FeatureSchema
    objectives: tuple[Objective, ...] = Field(min_length=1)
    index: IndexSpec
    content: ContentSpec | None = None
    seed: int
    files: dict[str, FileEntry]

    @property
    def has_clip(self) -> bool:
        """Whether the bundle can encode texts and pictures."""
        return CLIP_FILES[0] in self.files


def digest(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pairing_id(vectors: Path) -> str:
    """Ties encoder, index and ranker to the item vectors they were trained with."""
    return digest(vectors)[:PAIRING_DIGITS]


def bundle_id(name: str, files: dict[str, FileEntry]) -> str:
    table = "".join(f"{key} {entry.sha256}\n" for key, entry in sorted(files.items()))
    return f"{name}-{hashlib.sha256(table.encode()).hexdigest()[:12]}"


def check_files(manifest: Manifest) -> None:
    """Which files there are, by the manifest alone. Raises BundleRejected."""
    files = manifest.files
    for name in sorted(files.keys() - _OPTIONAL - set(FILES)):
        if not _MODEL_FILE.fullmatch(name):
            raise BundleRejected(MANIFEST, f"files names {name!r}, which no bundle has")
    missing = [name for name in FILES if name not in files]
    missing += _missing_of_indices(manifest)
    for group in TOGETHER:
        lacking = [name for name in group if name not in files]
        missing += lacking if len(lacking) < len(group) else []
    if missing:
        raise BundleRejected(MANIFEST, f"files has no entry for {missing[0]}")
    if (manifest.content is None) != (CONTENT not in files):
        raise BundleRejected(MANIFEST, f"content and {CONTENT} go together, one is missing")
    if manifest.has_clip and manifest.content is None:
        raise BundleRejected(MANIFEST, f"{CLIP}/ is there without {CONTENT}")


def _missing_of_indices(manifest: Manifest) -> list[str]:
    """What there should be of indices and is not. Raises BundleRejected for what should not be."""
    files, kind, missing = manifest.files, manifest.index.kind, []
    for names, wanted in ((INDEX, True), (CONTENT_INDEX, CONTENT in files)):
        own = {"hnsw": (names.hnsw, names.graph), "ivf": (names.lists,)}[kind] if wanted else ()
        foreign = [name for name in names if name in files and name not in own]
        if foreign and wanted:
            raise BundleRejected(MANIFEST, f"files names {foreign[0]}, but index.kind is {kind}")
        if foreign:
            raise BundleRejected(MANIFEST, f"files names {foreign[0]}, but no {CONTENT}")
        missing += [own[0]] if own and own[0] not in files else []
    return missing


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a bundle directory. Raises BundleRejected."""
    try:
        text = (directory / MANIFEST).read_text("utf-8")
    except FileNotFoundError:
        raise BundleRejected(MANIFEST, f"not found in {directory}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleRejected(MANIFEST, str(error)) from None
    try:
        return Manifest.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise BundleRejected(MANIFEST, f"not JSON: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleRejected(MANIFEST, f"{where}: {first['msg']}") from None
