"""What ranking models are given, by name: the contract of docs/ranking.md.

b users are scored in one run, c candidates each; users with fewer are filled up, and what comes out
there is thrown away. A model declares the inputs that it reads and is sent no others:

===============  =======================  =========================================================
user_fields      int32[b, user fields]    ``features.user_features``, of which the fields
user_dense       float32[b, dense + dim]  the same, the dense ones, then the query vector (0: none)
rows             int32[b, c]              the candidates' rows in the bundle; -1 where filled up
cross            float32[b, c, cross]     ``features.cross_features``
item_fields      int32[b, c, fields]      the bundle's item_fields of the candidates
item_dense       float32[b, c, d + dim]   its item_dense, then the item vectors
history_rows     int32[b, h]              rows of the last events, the latest first; -1: no more
history_fields   int32[b, h, fields]      item_fields of these
history_dense    float32[b, h, d + dim]   item_dense of these, then their vectors
history_kinds    int32[b, h]              ``EventKind``; 0: no more events
history_ages     float32[b, h]            ``features.ages``
===============  =======================  =========================================================

It gives ``probabilities`` float32[b, c, objectives], in the manifest's order; one that knows items
by their rows also gives ``pairing`` int64[b, 1]: ``pairing_number`` of the bundle it was made with.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tamis_server.bundles.manifest import Manifest

PROBABILITIES, PAIRING = "probabilities", "pairing"
PER_CANDIDATE = ("rows", "cross", "item_fields", "item_dense")
BY_ROW = {"rows", "history_rows"}  # a model that reads one of them knows the bundle's items


def pairing_number(pairing_id: str) -> int:
    """A pairing id (hexadecimal) as a positive int64."""
    return int(pairing_id, 16) & 0x7FFF_FFFF_FFFF_FFFF


def shapes(manifest: Manifest) -> dict[str, tuple[type[np.generic], tuple[int, ...]]]:
    """Of each input without the users' dimension; -1: any length."""
    schema, dim = manifest.features, manifest.dim
    fields, dense = len(schema.item_fields), len(schema.item_dense) + dim
    return {
        "user_fields": (np.int32, (len(schema.user_fields),)),
        "user_dense": (np.float32, (len(schema.user_dense) + dim,)),
        "rows": (np.int32, (-1,)),
        "cross": (np.float32, (-1, len(schema.cross))),
        "item_fields": (np.int32, (-1, fields)),
        "item_dense": (np.float32, (-1, dense)),
        "history_rows": (np.int32, (-1,)),
        "history_fields": (np.int32, (-1, fields)),
        "history_dense": (np.float32, (-1, dense)),
        "history_kinds": (np.int32, (-1,)),
        "history_ages": (np.float32, (-1,)),
    }


def violations(
    manifest: Manifest,
    inputs: Mapping[str, tuple[str, tuple[int, ...]]],
    outputs: Mapping[str, tuple[str, tuple[int, ...]]],
) -> list[str]:
    """How a model breaks the contract for this bundle; empty where it keeps it.

    inputs, outputs: NumPy's name of the type, and the shape without the users' dimension, -1: any.
    """
    found = []
    known = shapes(manifest)
    for name, (kind, dims) in inputs.items():
        if name not in known:
            found.append(f"input {name}: no such input; there are {', '.join(known)}")
            continue
        wanted = np.dtype(known[name][0]).name, known[name][1]
        found += _misfit(f"input {name}", (kind, dims), wanted)
    given = {canonical(name): tensor for name, tensor in outputs.items()}
    heads = len(manifest.objectives)
    if PROBABILITIES not in given:
        found.append(f"output {PROBABILITIES}: missing")
    else:
        found += _misfit(f"output {PROBABILITIES}", given[PROBABILITIES], ("float32", (-1, heads)))
    if BY_ROW & set(inputs):
        if PAIRING not in given:
            found.append(f"output {PAIRING}: missing; what knows items by their rows has to say it")
        else:
            found += _misfit(f"output {PAIRING}", given[PAIRING], ("int64", (1,)))
    return found


def canonical(output: str) -> str:
    """An output's name without the number that PyTorch's backend wants (``name__0``)."""
    name, separator, number = output.rpartition("__")
    return name if separator and number.isdigit() else output


def _misfit(
    what: str, given: tuple[str, tuple[int, ...]], wanted: tuple[str, tuple[int, ...]]
) -> list[str]:
    (kind, dims), (wanted_kind, wanted_dims) = given, wanted
    fits = len(dims) == len(wanted_dims) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(dims, wanted_dims, strict=True)
    )
    if kind == wanted_kind and fits:
        return []
    return [f"{what}: {kind}{list(dims)} where {wanted_kind}{list(wanted_dims)} fits"]
