"""Diversity: what every method of choosing a slate keeps to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.adapters.embedded.reranking import Diversity
from tamis_server.bundles.loader import Bundle, load
from tamis_server.domain.candidates import Candidates
from tamis_server.domain.context import Deadline, RequestContext

ITEMS = 200
Method = Literal["mmr", "dpp"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Each item is there twice, one beside the other."""
    directory: Path = tmp_path_factory.mktemp("bundles") / "twice"
    parts = random_parts(items=ITEMS, users=2)
    write_bundle(replace(parts, vectors=np.repeat(parts.vectors[::2], 2, axis=0)), directory)
    return load(directory)


@pytest.fixture(params=["mmr", "dpp"])
def method(request: pytest.FixtureRequest) -> Method:
    name: Method = request.param
    return name


def ranked(scores: NDArray[np.float32]) -> Candidates:
    rows = np.arange(ITEMS, dtype=np.int32)
    return Candidates(rows, scores, np.zeros(ITEMS, np.uint32))


def asked(limit: int) -> RequestContext:
    return RequestContext("id", "user", limit, Deadline.after(30), 0.0)


def falling() -> NDArray[np.float32]:
    return np.linspace(1, 0.5, ITEMS).astype(np.float32)


def test_relevance_alone_leaves_the_order_as_it_was(bundle: Bundle, method: Method) -> None:
    diversity = Diversity(bundle, method=method, trade_off=1.0, pool=3)
    assert diversity.select(asked(20), ranked(falling())).tolist() == list(range(20))


def test_what_is_the_same_as_something_shown_comes_after_what_is_not(
    bundle: Bundle, method: Method
) -> None:
    diversity = Diversity(bundle, method=method, trade_off=0.5, pool=10)
    picked = diversity.select(asked(10), ranked(falling()))
    assert picked[0] == 0
    assert len({position // 2 for position in picked.tolist()}) == 10


def test_a_slate_is_chosen_among_the_best_alone(bundle: Bundle, method: Method) -> None:
    diversity = Diversity(bundle, method=method, trade_off=0.0, pool=2)
    assert diversity.select(asked(10), ranked(falling())).max() < 20


@pytest.mark.parametrize("score", [0.0, 7.0])
def test_scores_that_are_all_alike_are_no_reason_to_fail(
    bundle: Bundle, method: Method, score: float
) -> None:
    diversity = Diversity(bundle, method=method, trade_off=0.9, pool=5)
    picked = diversity.select(asked(20), ranked(np.full(ITEMS, score, np.float32)))
    assert len(set(picked.tolist())) == 20


def test_what_the_ranker_could_not_score_comes_last(bundle: Bundle, method: Method) -> None:
    scores = falling()
    scores[:3] = -np.inf
    diversity = Diversity(bundle, method=method, trade_off=0.9, pool=1)
    assert sorted(diversity.select(asked(ITEMS), ranked(scores))[-3:].tolist()) == [0, 1, 2]


def test_nothing_is_chosen_of_nothing(bundle: Bundle, method: Method) -> None:
    diversity = Diversity(bundle, method=method, trade_off=0.9, pool=1)
    assert diversity.select(asked(5), Candidates()).shape == (0,)
