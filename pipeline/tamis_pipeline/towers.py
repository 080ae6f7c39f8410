"""The two towers in JAX, as trained. What is served of them is NumPy (``bundles.query_tower``,
``bundles.item_tower``), held to these functions by tests.

Parameters are a flat dict. ``item.*`` are the item tower's: an id embedding and those of fields,
words and content, summed and normalised; or ``item.vectors``, its output, where that is to stay.
``history.*`` make the query tower's table of events; the rest is its attention (learnt seeds, as
Set Transformer pools: Lee et al., ICML 2019) and its MLP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from tamis_pipeline.vocabulary import ItemFields
from tamis_server.bundles.manifest import FieldSpec
from tamis_server.bundles.query_tower import HEARD, context_slots

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Params = dict[str, jax.Array]
_UNHEARD = -1e9


@dataclass(frozen=True, slots=True)
class TowerSizes:
    """dim: of items, events and queries; heads: pools of the history; hidden: of the query's MLP;
    history: events looked at."""

    dim: int
    heads: int
    hidden: int
    history: int


class ItemInputs(NamedTuple):
    """slots int32[items, fields] into all fields' embeddings; words int32[items, words], -1: no
    more; content float32[items, c]; met float32[items, 1]: 1 where the id was met in training."""

    slots: jax.Array
    words: jax.Array
    content: jax.Array
    met: jax.Array


def item_inputs(
    fields: ItemFields, content: Float32 | None, met: npt.NDArray[np.bool_]
) -> ItemInputs:
    """On the device. content: float32[items, c] or None, which is c = 0; met: bool[items]."""
    sizes = [spec.size for spec in fields.specs]
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    if content is None:
        content = np.zeros((met.shape[0], 0), np.float32)
    return ItemInputs(
        jnp.asarray((fields.values + offsets).astype(np.int32)),
        jnp.asarray(fields.words),
        jnp.asarray(content),
        jnp.asarray(met[:, None], jnp.float32),
    )


def initial(
    sizes: TowerSizes,
    fields: ItemFields,
    items: int,
    content: int,
    seed: int,
    ordered: bool = True,
    profile: Sequence[FieldSpec] = (),
) -> Params:
    """ordered: what came last counts most, to begin with; otherwise all events alike."""
    rng = np.random.default_rng(seed)
    d, h, heads = sizes.dim, sizes.hidden, sizes.heads
    slots = sum(spec.size for spec in fields.specs)

    def normal(*shape: int, scale: float) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape, scale=scale), jnp.float32)

    # the first head looks far back, the last at what came just now
    fading = np.log(np.linspace(0.99, 0.8, heads))[None, :] * np.arange(sizes.history)[:, None]
    return {
        "item.id": normal(items, d, scale=0.1),
        "item.field": normal(slots, d, scale=0.05),
        "item.word": normal(fields.vocabulary.word_buckets, d, scale=0.05),
        "item.content": normal(content, d, scale=0.3 * max(content, 1) ** -0.5),
        "history.id": normal(items, d, scale=0.1),
        "history.field": normal(slots, d, scale=0.05),
        "history.content": normal(content, d, scale=0.3 * max(content, 1) ** -0.5),
        "seeds": normal(d, heads, scale=0.05),
        "kind_bias": jnp.zeros((HEARD.shape[0], heads)),
        "recency_bias": jnp.asarray(fading * ordered, jnp.float32),
        # by EventKind: nothing, view, click, cart, purchase, like, dislike, impression, hide
        "kind_weight": jnp.asarray([0, 0.5, 0.6, 1, 1.5, 1.2, -0.3, 0, -0.5], jnp.float32),
        "context_table": normal(context_slots(profile), d, scale=0.01),
        "w_context": normal(d, h, scale=d**-0.5),
        "skip": jnp.concatenate([jnp.eye(d)] * heads) / heads + normal(heads * d, d, scale=0.02),
        "w1": normal(heads * d, h, scale=(heads * d) ** -0.5),
        "b1": jnp.zeros(h),
        "w2": normal(h, d, scale=0.1 * h**-0.5),
        "b2": jnp.zeros(d),
    }


def resumed(
    vectors: Float32,
    encoder: Mapping[str, Float32],
    item_tower: Mapping[str, Float32],
    inputs: ItemInputs,
) -> Params:
    """Parameters to go on from, of what is served (``bundles.query_tower``, ``.item_tower``), with
    a row for each item of ``inputs``: they give the same vectors and table."""
    params = {name: jnp.asarray(value) for name, value in encoder.items()}
    table = params.pop("history_table").astype(jnp.float32)
    params |= {
        "item.vectors": jnp.asarray(vectors),
        "item.field": jnp.asarray(item_tower["field"]),
        "item.word": jnp.asarray(item_tower["word"]),
        "item.content": jnp.asarray(item_tower["content"]),
        "history.id": jnp.zeros_like(table),
        "history.field": jnp.asarray(item_tower["history_field"]),
        "history.content": jnp.asarray(item_tower["history_content"]),
    }
    # of an event's row, what is not known by fields and content is known by id
    return {**params, "history.id": table - history_table(params, inputs)}


def item_vectors(
    params: Params, inputs: ItemInputs, rows: jax.Array | None = None, kept: jax.Array | None = None
) -> jax.Array:
    """float32[n, d], unit length, of ``rows`` or of all items.

    kept float32[items, 1]: 0 where the id embedding is to be left out.
    """
    if "item.vectors" in params:
        return params["item.vectors"] if rows is None else params["item.vectors"][rows]
    ids = params["item.id"] * (inputs.met if kept is None else inputs.met * kept)
    slots, words, content = inputs.slots, inputs.words, inputs.content
    if rows is not None:
        ids, slots, words, content = ids[rows], slots[rows], words[rows], content[rows]
    present = (words >= 0)[..., None]
    of_words = (params["item.word"][jnp.maximum(words, 0)] * present).sum(-2)
    of_words = of_words / jnp.maximum(present.sum(-2), 1)
    about = params["item.field"][slots].mean(-2) + of_words + content @ params["item.content"]
    return normalised(ids + about)


def history_table(params: Params, inputs: ItemInputs, kept: jax.Array | None = None) -> jax.Array:
    """float32[items, d]: what an event with each item tells."""
    ids = params["history.id"] * (inputs.met if kept is None else inputs.met * kept)
    about = params["history.field"][inputs.slots].mean(-2)
    return ids + about + inputs.content @ params["history.content"]


def queries(
    params: Params, table: jax.Array, rows: jax.Array, kinds: jax.Array, context: jax.Array
) -> jax.Array:
    """float32[n, d], as ``bundles.query_tower.encode`` of the same arrays."""
    heard = (rows >= 0) & jnp.asarray(HEARD)[kinds]
    rows = jnp.maximum(rows, 0)
    events = table[rows]
    # by item, then gathered: a third of the time of a product by event
    logits = (table @ params["seeds"])[rows] + params["kind_bias"][kinds]
    logits = logits + params["recency_bias"][: rows.shape[1]]
    attention = jax.nn.softmax(jnp.where(heard[..., None], logits, _UNHEARD), axis=1)
    attention = attention * heard[..., None] * params["kind_weight"][kinds][..., None]
    pooled = jnp.einsum("nlh,nle->nhe", attention, events).reshape(rows.shape[0], -1)
    about = params["context_table"][context].sum(1)
    hidden = jax.nn.relu(pooled @ params["w1"] + about @ params["w_context"] + params["b1"])
    return normalised(pooled @ params["skip"] + hidden @ params["w2"] + params["b2"])


def normalised(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))
