"""DeepFM scoring, against the formula in double precision, candidate by candidate."""

import gc

import numpy as np
import pytest

from support.kernel_arrays import LENGTHS, rows_of, unaligned
from tamis_kernels import DeepFM, level, with_level

ITEMS = 60
# h1, h2, h3, factors, crosses, heads: a large one, awkward ones, and the least
SHAPES = [(256, 128, 64, 16, 6, 2), (37, 19, 5, 7, 3, 3), (1, 1, 1, 1, 0, 1), (16, 32, 33, 0, 1, 5)]
Shape = tuple[int, int, int, int, int, int]


class Model:
    def __init__(self, seed: int, shape: Shape) -> None:
        rng = np.random.default_rng(seed)
        h1, h2, h3, factors, crosses, heads = shape

        def draw(*size: int) -> np.ndarray:
            return (rng.normal(size=size) / np.sqrt(size[0] if len(size) > 1 else 4)).astype(
                np.float32
            )

        self.arrays = {
            "item_hidden": draw(ITEMS, h1) * 4,
            "item_factors": draw(ITEMS, factors),
            "item_bias": draw(ITEMS),
            "cross_hidden": draw(crosses, h1) if crosses else np.zeros((0, h1), np.float32),
            "cross_linear": draw(crosses),
            "w2": draw(h1, h2),
            "b2": draw(h2),
            "w3": draw(h2, h3),
            "b3": draw(h3),
            "w_out": draw(heads, h3),
            "wide": draw(heads),
            "bias": draw(heads),
        }
        self.user_hidden, self.user_factors = draw(h1), draw(factors)
        self.rng, self.crosses = rng, crosses

    def halved(self) -> None:
        """The item tables in float16 from now on, for the formula, too."""
        for name in ("item_hidden", "item_factors"):
            self.arrays[name] = self.arrays[name].astype(np.float16)

    def native(self, int8: bool = False) -> DeepFM:
        return DeepFM(**self.arrays, int8=int8)

    def cross(self, length: int) -> np.ndarray:
        return self.rng.normal(size=(length, self.crosses)).astype(np.float32)

    def naive(self, bias: float, rows: np.ndarray, cross: np.ndarray) -> np.ndarray:
        a = {name: array.astype(np.float64) for name, array in self.arrays.items()}
        out = []
        for row, x in zip(rows, cross.astype(np.float64), strict=True):
            h = np.maximum(self.user_hidden + a["item_hidden"][row] + x @ a["cross_hidden"], 0)
            h = np.maximum(h @ a["w2"] + a["b2"], 0)
            h = np.maximum(h @ a["w3"] + a["b3"], 0)
            wide = bias + a["item_bias"][row] + self.user_factors @ a["item_factors"][row]
            wide += x @ a["cross_linear"]
            logit = a["bias"] + a["wide"] * wide + a["w_out"] @ h
            out.append(1 / (1 + np.exp(-logit)))
        return np.array(out).reshape(len(rows), len(self.arrays["bias"]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", LENGTHS)
def test_scores_are_those_of_the_formula(length: int, shape: Shape) -> None:
    model = Model(length, shape)
    rows, cross = rows_of(model.rng, ITEMS, length), model.cross(length)
    scores = model.native().score(model.user_hidden, model.user_factors, -0.3, rows, cross)
    assert scores.dtype == np.float32
    assert scores.shape == (length, shape[-1])
    np.testing.assert_allclose(scores, model.naive(-0.3, rows, cross), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", LENGTHS)
def test_tables_of_float16_score_as_the_same_numbers_in_float32(length: int, shape: Shape) -> None:
    model = Model(length, shape)
    model.halved()
    rows, cross = rows_of(model.rng, ITEMS, length), model.cross(length)
    scores = model.native().score(model.user_hidden, model.user_factors, -0.3, rows, cross)
    np.testing.assert_allclose(scores, model.naive(-0.3, rows, cross), rtol=1e-5, atol=1e-7)


def test_every_float16_is_read_as_what_it_is() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    numbers = np.ascontiguousarray(bits[np.isfinite(bits)][:, None])
    one = np.ones(1, np.float32)
    eye = np.ones((1, 1), np.float32)
    deepfm = DeepFM(
        numbers, np.zeros_like(numbers), np.zeros(len(numbers), np.float32),
        np.zeros((0, 1), np.float32), np.zeros(0, np.float32),
        eye, one * 0, eye, one * 0, eye * np.float32(2**-14), one, one * 0,
    )  # fmt: skip
    rows = np.arange(len(numbers), dtype=np.int32)
    cross = np.zeros((len(rows), 0), np.float32)
    scores = deepfm.score(one * 0, one * 0, 0.0, rows, cross)[:, 0]
    expected = 1 / (1 + np.exp(-np.maximum(numbers[:, 0].astype(np.float64), 0) * 2.0**-14))
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", LENGTHS)
def test_codes_of_8_bits_score_as_the_reference_does_and_near_the_formula(
    length: int, shape: Shape
) -> None:
    model = Model(length, shape)
    model.halved()
    rows, cross = rows_of(model.rng, ITEMS, length), model.cross(length)
    asked = (model.user_hidden, model.user_factors, -0.3, rows, cross)
    scores = model.native(int8=True).score(*asked)
    with with_level("reference"):
        expected = model.native(int8=True).score(*asked)
    # a number half way between two codes may be rounded either way: at most a few codes
    np.testing.assert_allclose(scores, expected, atol=2e-3)
    np.testing.assert_allclose(scores, model.naive(-0.3, rows, cross), atol=2e-2)


def test_codes_stand_for_numbers_of_any_size() -> None:
    model = Model(8, SHAPES[1])
    rows, cross = rows_of(model.rng, ITEMS, 9), np.zeros((9, 3), np.float32)
    none = np.zeros(37, np.float32), np.zeros(7, np.float32), 0.0, rows, cross
    for name in ("b2", "b3", "wide", "bias"):
        model.arrays[name] = model.arrays[name] * 0
    before = model.native(int8=True).score(*none)
    model.arrays["item_hidden"] *= np.float32(2**20)
    model.arrays["w_out"] *= np.float32(2**-20)
    np.testing.assert_array_equal(model.native(int8=True).score(*none), before)
    model.arrays["item_hidden"] *= 0
    scores = model.native(int8=True).score(*none)
    np.testing.assert_array_equal(scores, np.full((9, 3), 0.5, np.float32))


@pytest.mark.parametrize("int8", [False, True])
def test_a_score_does_not_depend_on_the_neighbours(int8: bool) -> None:
    model = Model(1, SHAPES[1])
    deepfm = model.native(int8)
    rows, cross = rows_of(model.rng, ITEMS, 23), model.cross(23)
    together = deepfm.score(model.user_hidden, model.user_factors, 0.0, rows, cross)
    for i in range(23):
        alone = deepfm.score(
            model.user_hidden, model.user_factors, 0.0, rows[i : i + 1], cross[i : i + 1]
        )
        np.testing.assert_allclose(alone, together[i : i + 1], rtol=1e-5)


@pytest.mark.parametrize("half", [False, True])
def test_unaligned_and_read_only_arrays_give_the_same_scores(half: bool) -> None:
    model = Model(2, SHAPES[1])
    if half:
        model.halved()
    rows, cross = rows_of(model.rng, ITEMS, 9), model.cross(9)
    expected = model.native().score(model.user_hidden, model.user_factors, 0.5, rows, cross)
    model.arrays = {name: unaligned(array) for name, array in model.arrays.items()}
    user = unaligned(model.user_hidden), unaligned(model.user_factors)
    scores = model.native().score(*user, 0.5, unaligned(rows), unaligned(cross))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize("int8", [False, True])
def test_nan_stays_with_its_candidate(int8: bool) -> None:
    model = Model(3, SHAPES[1])
    model.arrays["item_hidden"][4, 0] = np.nan
    rows = np.array([3, 4, 5], dtype=np.int32)
    asked = model.user_hidden, model.user_factors, 0.0, rows, model.cross(3)
    scores = model.native(int8).score(*asked)
    assert np.isnan(scores).tolist() == [[False] * 3, [True] * 3, [False] * 3]


def test_extreme_logits_become_0_and_1() -> None:
    model = Model(4, SHAPES[1])
    model.arrays["wide"] = np.ones(3, np.float32)
    rows = np.zeros(1, dtype=np.int32)
    for bias, probability in ((-1000.0, 0.0), (1000.0, 1.0)):
        scores = model.native().score(
            model.user_hidden, model.user_factors, bias, rows, model.cross(1)
        )
        assert scores.tolist() == [[probability] * 3]


def test_a_model_keeps_its_arrays_and_its_level() -> None:
    model = Model(5, SHAPES[0])
    rows, cross = rows_of(model.rng, ITEMS, 17), model.cross(17)
    expected, deepfm = model.naive(0.0, rows, cross), model.native()
    model.arrays.clear()
    gc.collect()
    with with_level("reference"):
        scores = deepfm.score(model.user_hidden, model.user_factors, 0.0, rows, cross)
        assert level() == "reference"
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["item_factors", "item_bias", "cross_linear", "w2", "b2", "w3", "wide", "bias"]
)
def test_weights_that_do_not_fit_are_refused_by_name(name: str) -> None:
    model = Model(6, SHAPES[1])
    model.arrays[name] = model.arrays[name][:-1].copy()
    with pytest.raises(ValueError, match=f"{name}: axis 0 must have"):
        model.native()


def test_wrong_inputs_are_refused_by_name() -> None:
    model = Model(7, SHAPES[1])
    deepfm, rows, cross = model.native(), np.zeros(2, dtype=np.int32), model.cross(2)
    with pytest.raises(ValueError, match="cross: axis 0 must have 2 entries, got 3"):
        deepfm.score(model.user_hidden, model.user_factors, 0.0, rows, model.cross(3))
    with pytest.raises(ValueError, match="user_hidden: axis 0 must have 37 entries, got 36"):
        deepfm.score(model.user_hidden[1:], model.user_factors, 0.0, rows, cross)
    with pytest.raises(TypeError, match="user_factors: dtype float32 is needed"):
        deepfm.score(model.user_hidden, np.zeros(7), 0.0, rows, cross)
    with pytest.raises(IndexError, match=rf"rows\[1\] is {ITEMS}, allowed are 0 to {ITEMS - 1}"):
        deepfm.score(
            model.user_hidden,
            model.user_factors,
            0.0,
            np.array([0, ITEMS], dtype=np.int32),
            cross,
        )


def test_item_tables_of_different_dtypes_are_refused() -> None:
    model = Model(9, SHAPES[1])
    model.arrays["item_hidden"] = model.arrays["item_hidden"].astype(np.float16)
    with pytest.raises(TypeError, match="item_factors: the dtype of item_hidden is needed"):
        model.native()
    model.arrays["item_hidden"] = model.arrays["item_hidden"].astype(np.float64)
    with pytest.raises(TypeError, match="item_hidden: dtype float32 is needed, got float64"):
        model.native()
