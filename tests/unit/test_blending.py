"""Search results by similarity and taste."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from support.engines import request
from tamis_server.adapters.embedded.blending import SimilarityAndTaste
from tamis_server.domain.candidates import Candidates, Scores
from tamis_server.domain.context import RequestContext

QUERY = np.ones(4, np.float32)
finite = arrays(np.float32, 6, elements=st.floats(-1, 1, width=32))


@dataclass
class Says:
    """A ranker whose answer is given."""

    scores: Scores

    async def score(self, ctx: RequestContext, candidates: Candidates) -> Scores:
        return self.scores


def batch(similarity: Scores) -> Candidates:
    rows = np.arange(similarity.shape[0], dtype=np.int32)
    return Candidates(rows, similarity, np.ones(rows.shape[0], np.uint32))


async def blended(similarity: Scores, taste: Scores, share: float) -> Scores:
    blend = SimilarityAndTaste(Says(taste), taste=share)
    return await blend.score(request(query=QUERY), batch(similarity))


@given(finite, finite, st.floats(0.01, 1))
async def test_the_blend_lies_between_0_and_1_and_agrees_where_both_do(
    similarity: Scores, taste: Scores, share: float
) -> None:
    scores = await blended(similarity, taste, share)
    assert ((scores >= 0) & (scores <= 1 + 1e-6)).all()
    for first in range(6):
        for second in range(6):
            if similarity[first] >= similarity[second] and taste[first] >= taste[second]:
                assert scores[first] >= scores[second] - 1e-6


@pytest.mark.parametrize(("share", "order"), [(0.0, [0, 1, 2]), (1.0, [2, 1, 0])])
async def test_at_its_ends_the_blend_is_one_of_both(share: float, order: list[int]) -> None:
    similarity = np.array([0.9, 0.5, 0.1], np.float32)
    scores = await blended(similarity, similarity[::-1].copy(), share)
    assert np.argsort(-scores).tolist() == order


async def test_of_somebody_unknown_similarity_is_left_as_it_came() -> None:
    similarity = np.array([0.9, 0.5], np.float32)
    blend = SimilarityAndTaste(Says(np.full(2, np.nan, np.float32)), taste=0.5)
    scores = await blend.score(request(query=None), batch(similarity))
    assert (scores == similarity).all()


async def test_what_the_ranker_can_not_score_is_nan_and_harms_no_other() -> None:
    similarity = np.array([0.9, 0.5, 0.1], np.float32)
    taste = np.array([0.2, np.nan, 0.8], np.float32)
    scores = await blended(similarity, taste, 0.5)
    assert np.isnan(scores).tolist() == [False, True, False]
    np.testing.assert_allclose(scores[[0, 2]], [0.5, 0.5])
