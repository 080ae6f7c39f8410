"""What a user or an item adds to a DeepFM's sums, against the formula in double precision."""

import numpy as np
import pytest

from support.kernel_arrays import LENGTHS, unaligned
from tamis_kernels import DeepFMSide

SLOTS = 30
# fields, embedding width, dense, first layer
SHAPES = [(12, 16, 68, 256), (5, 7, 3, 37), (1, 1, 0, 1), (0, 4, 9, 20)]
Shape = tuple[int, int, int, int]


def arrays_of(rng: np.random.Generator, shape: Shape) -> dict[str, np.ndarray]:
    fields, width, dense, hidden = shape
    inputs = fields * width + dense
    return {
        "embedding": rng.normal(size=(SLOTS, width)).astype(np.float32),
        "linear": rng.normal(size=SLOTS).astype(np.float32),
        "dense_linear": rng.normal(size=dense).astype(np.float32),
        "w1": (rng.normal(size=(inputs, hidden)) / 8).astype(np.float32),
        "b1": rng.normal(size=hidden).astype(np.float32),
    }


def asked(rng: np.random.Generator, shape: Shape, length: int) -> tuple[np.ndarray, np.ndarray]:
    slots = rng.integers(0, SLOTS, (length, shape[0])).astype(np.int32)
    return slots, rng.normal(size=(length, shape[2])).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", LENGTHS)
def test_parts_are_those_of_the_formula(length: int, shape: Shape) -> None:
    rng = np.random.default_rng(length)
    arrays = arrays_of(rng, shape)
    slots, dense = asked(rng, shape, length)
    hidden, factors, bias = DeepFMSide(**arrays, fields=shape[0]).parts(slots, dense)
    a = {name: array.astype(np.float64) for name, array in arrays.items()}
    embedded = a["embedding"][slots]
    flat = np.concatenate([embedded.reshape(length, shape[0] * shape[1]), dense], axis=1)
    np.testing.assert_allclose(hidden, flat @ a["w1"] + a["b1"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(factors, embedded.sum(axis=1), rtol=1e-5, atol=1e-5)
    pairs = [sum(row[i] @ row[j] for i in range(shape[0]) for j in range(i)) for row in embedded]
    first_order = a["linear"][slots].sum(axis=1) + dense @ a["dense_linear"]
    np.testing.assert_allclose(bias, np.array(pairs) + first_order, rtol=1e-4, atol=1e-3)
    assert {part.dtype for part in (hidden, factors, bias)} == {np.dtype(np.float32)}


def test_a_row_has_the_same_parts_whatever_stands_beside_it() -> None:
    rng = np.random.default_rng(1)
    side = DeepFMSide(**arrays_of(rng, SHAPES[0]), fields=12)
    slots, dense = asked(rng, SHAPES[0], 6)
    together = side.parts(slots, dense)
    alone = side.parts(unaligned(slots[2:3]), unaligned(dense[2:3]))
    for all_rows, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(all_rows[2], one[0], rtol=1e-5, atol=1e-5)


def test_wrong_arguments_are_refused_by_name() -> None:
    rng = np.random.default_rng(2)
    arrays = arrays_of(rng, SHAPES[1])
    slots, dense = asked(rng, SHAPES[1], 3)
    side = DeepFMSide(**arrays, fields=5)
    slots[2, 1] = SLOTS
    with pytest.raises(IndexError, match=r"slots\[11\] is 30, allowed are 0 to 29"):
        side.parts(slots, dense)
    with pytest.raises(ValueError, match="slots: axis 1 must have 5 entries, got 4"):
        side.parts(slots[:, :4].copy(), dense)
    with pytest.raises(ValueError, match="dense: axis 0 must have 3 entries, got 2"):
        side.parts(slots, dense[:2])
    with pytest.raises(ValueError, match="w1: axis 0 must have 45 entries, got 38"):
        DeepFMSide(**arrays, fields=6)
    with pytest.raises(ValueError, match="b1: axis 0 must have 37 entries, got 36"):
        DeepFMSide(**{**arrays, "b1": arrays["b1"][1:].copy()}, fields=5)
