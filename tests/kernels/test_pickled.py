"""What a kernel keeps is pickled as what it was made of, and does the same made anew."""

from __future__ import annotations

import pickle

import numpy as np

from tamis_kernels import IvfIndex, KeyIndex


def test_a_key_index_and_inverted_lists_find_the_same_and_keep_their_arrays_shared() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**63, 200).astype(np.uint64)
    vectors = rng.normal(size=(200, 20)).astype(np.float32)
    starts, rows = np.array([0, 90, 200]), rng.permutation(200).astype(np.int32)
    lists = IvfIndex(vectors[:2].copy(), starts, rows, vectors)
    made = {"keys": keys, "index": KeyIndex(keys), "vectors": vectors, "lists": lists}
    found = pickle.loads(pickle.dumps(made))  # noqa: S301 our own
    wanted = rng.permutation(np.concatenate([keys[::2], keys[::2] + np.uint64(1)]))
    np.testing.assert_array_equal(found["index"].find(wanted), made["index"].find(wanted))
    queries = rng.normal(size=(3, 20)).astype(np.float32)
    for one, other in zip(
        found["lists"].search(queries, 10, 50), lists.search(queries, 10, 50), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    found["vectors"][:] = 0
    assert not found["lists"].search(queries, 10, 200)[1].any(), "the same vectors"
