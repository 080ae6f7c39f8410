"""Baselines learn what is plain to see, and their settings are chosen by the validation part."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tamis_pipeline.config import PipelineConfig
from tamis_pipeline.dataset import DatasetRejected, HeldOut, Interactions
from tamis_pipeline.evaluation import given, report
from tamis_pipeline.evaluation.baselines import BASELINES, Baseline, fitted
from tamis_pipeline.evaluation.choosing import Scorer, lists
from tamis_pipeline.evaluation.protocols import Question, questions
from tamis_pipeline.evaluation.segments import segments, within
from tamis_pipeline.progress import Progress
from tamis_pipeline.split import Split, split
from tamis_server.domain.context import EventKind

ITEMS = 40


@pytest.fixture(scope="module")
def parts() -> Split:
    """Two crowds: each takes to its own half of the items, but for an event in ten."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(60), 15).astype(np.int32)
    own = rng.integers(0, ITEMS // 2, users.shape[0]) + (users % 2) * (ITEMS // 2)
    items = np.where(rng.random(users.shape[0]) < 0.1, rng.integers(0, ITEMS, users.shape[0]), own)
    order = rng.permutation(users.shape[0])
    events = Interactions(
        users[order],
        items[order].astype(np.int32),
        np.arange(users.shape[0], dtype=np.float64),
        np.full(users.shape[0], EventKind.VIEW, np.uint8),
    )
    return split(events, "per-user", 0.2, 0.2)


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda each: each.name)
def test_a_baseline_tells_two_crowds_apart(baseline: Baseline, parts: Split) -> None:
    available = np.ones(ITEMS, np.bool_)
    found = fitted(baseline, parts, available, seed=1)
    assert found is not None
    assert found.settings in baseline.grid
    asked = questions(parts)
    shown = lists(found.scorer, asked, available, 5)
    crowd = np.array([question.user % 2 for question in asked])[:, None]
    assert ((shown >= ITEMS // 2) == crowd).mean() > 0.8
    again = fitted(baseline, parts, available, seed=1)
    assert again is not None
    assert (lists(again.scorer, asked, available, 5) == shown).all()


def test_the_setting_that_is_best_on_the_validation_part_is_chosen(parts: Split) -> None:
    def fit(_: object, settings: dict[str, float], __: int) -> Scorer:
        useful = np.bincount(parts.validation.items, minlength=ITEMS).astype(np.float32)
        scores = useful * settings["sign"]
        return lambda users: np.repeat(scores[None], users.shape[0], axis=0)

    baseline = Baseline("made up", fit, ({"sign": -1.0}, {"sign": 1.0}))
    found = fitted(baseline, parts, np.ones(ITEMS, np.bool_), seed=0)
    assert found is not None
    assert found.settings == {"sign": 1.0}


def test_what_was_seen_or_is_not_available_is_not_shown(parts: Split) -> None:
    asked = questions(parts)
    available = np.arange(ITEMS) % 2 == 0
    shown = lists(lambda users: np.ones((users.shape[0], ITEMS), np.float32), asked, available, 40)
    for question, row in zip(asked, shown, strict=True):
        there = row[row >= 0]
        assert (there % 2 == 0).all()
        assert not np.isin(there, question.history).any()


def test_places_come_from_scores_and_what_a_scorer_leaves_out_is_last() -> None:
    held_out = HeldOut(np.array([0, 1]), np.array([2, 3]), np.array([[0, 1], [0, 1]]))
    scores = np.array([[1, 3, 2, -np.inf]], np.float32)
    places = given.places(lambda users: np.repeat(scores, users.shape[0], axis=0), held_out)
    assert places.tolist() == [1, 2]
    judged = given.judge({"made up": places}, seed=0)["made up"]
    assert judged["HR@10"][0] == 1
    assert judged["NDCG@10"][0] == pytest.approx((1 / np.log2(3) + 1 / np.log2(4)) / 2)


def test_segments_part_users_by_what_is_known_and_items_by_whether_they_were_met() -> None:
    def question(user: int, events: int, *relevant: int) -> Question:
        history, kinds = np.zeros(events, np.int32), np.ones(events, np.uint8)
        return Question(user, np.array(relevant, np.int32), history, kinds, 0.0)

    asked = [question(0, 3, 1), question(1, 20, 1, 2), question(2, 90, 2)]
    found = {each.name.partition(" (")[0]: each for each in segments(asked, np.array([5, 4, 0]))}
    assert found["cold users"].users.tolist() == [True, False, False]
    assert found["heavy users"].users.tolist() == [False, False, True]
    assert found["cold items"].users.tolist() == [False, True, True]
    assert [rows.tolist() for rows in within(asked, found["cold items"])] == [[2], [2]]
    assert [rows.tolist() for rows in within(asked, found["items met in training"])] == [[1], [1]]


def test_without_anybody_to_ask_baselines_are_not_compared(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id\na\nb\n")
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nu,a,1\n")
    with pytest.raises(DatasetRejected, match="nobody can be asked"):
        report.compare(tmp_path, PipelineConfig(), Progress(Console(file=StringIO())))
