"""What evaluation.json says of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_pipeline.config import PipelineConfig
from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.evaluation import funnel, judgement, retrieval
from tamis_pipeline.evaluation.baselines import BASELINES, fitted
from tamis_pipeline.evaluation.funnel import Answers
from tamis_pipeline.evaluation.judgement import PAGE, Method, Yardstick
from tamis_pipeline.evaluation.protocols import Question, best, left_out, newcomers, questions
from tamis_pipeline.evaluation.segments import segments, within
from tamis_pipeline.preparation import Prepared
from tamis_pipeline.progress import Progress
from tamis_pipeline.ranking import Ranked
from tamis_pipeline.twotower import Towers
from tamis_server.bundles.features import is_positive

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
DEPTH = 500  # the longest page that a server gives
FUNNEL = "whole funnel"
TOWERS = "two-tower alone"
NEW = "new users (of whom nothing is known)"


def measure(
    bundle: Path,
    prepared: Prepared,
    towers: Towers,
    ranker: Ranked,
    config: PipelineConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Everything measured of ``bundle``: the whole funnel, asked through gRPC, beside baselines, by
    segment, and each stage alone. Raises DatasetRejected where nobody can be asked."""
    data, parts = prepared.data, prepared.parts
    asked = questions(parts)
    if not asked:
        raise DatasetRejected(f"split: nobody of the test part can be asked: {left_out(parts)}")
    everybody = [*asked, *newcomers(parts)]
    available = data.items.column("available").to_numpy(zero_copy_only=False).astype(np.bool_)
    with progress.count("requests", len(everybody)) as advance:
        item_ids = data.items.column("item_id").to_pylist()
        answers = funnel.ask(bundle, everybody, data.user_ids, item_ids, PAGE, DEPTH, advance)
    exact = retrieval.nearest(towers, asked, available, DEPTH)
    methods = {
        FUNNEL: Method(answers.pages[: len(asked)], answers.ranked[: len(asked)]),
        TOWERS: _same(exact),
    }
    chosen: dict[str, Any] = {}
    popular = np.tile(prepared.popularity, (len(everybody), 1))
    histories = [question.history for question in everybody]
    by_popularity = _same(best(popular, histories, available, 100))
    methods["popularity"] = by_popularity.take(np.arange(len(asked)))
    for baseline in BASELINES:
        if baseline.name in config.evaluation.baselines:
            progress.note(f"baseline {baseline.name}")
            found = fitted(baseline, asked, parts, available, 100, config.seed)
            if found is not None:
                methods[baseline.name] = _same(found.lists)
                chosen[baseline.name] = dict(found.settings)
    relevant = [question.relevant for question in asked]
    counts = np.bincount(
        parts.train.items[is_positive(parts.train.kinds)], minlength=len(item_ids)
    ).astype(np.float32)
    yardstick = Yardstick(counts, np.unique(parts.train.users).shape[0], towers.vectors)
    return {
        "data set": data.name,
        "seed": config.seed,
        "split": config.split.model_dump(),
        "users": len(asked),
        "users_left_out": left_out(parts),
        **judgement.judge(methods, relevant, yardstick, config.seed),
        "baseline settings": chosen,
        "segments": {
            **_segments(asked, methods, counts),
            **_new(everybody[len(asked) :], len(asked), answers, by_popularity),
        },
        "retrieval": retrieval.recalls(exact, methods[FUNNEL].deep, answers, relevant),
        "stages": answers.stages,
        "relevant items not available": float(
            np.mean([1.0 - available[rows].mean() for rows in relevant])
        ),
        "ranker": _ranker(ranker),
        "left_out": dict(data.problems),
    }


def _same(lists: Int32) -> Method:
    return Method(lists[:, :PAGE], lists)


def _segments(
    asked: Sequence[Question], methods: Mapping[str, Method], counts: Float32
) -> dict[str, Any]:
    found = {}
    for segment in segments(asked, counts):
        theirs = {name: method.take(segment.users) for name, method in methods.items()}
        found[segment.name] = {
            "users": int(segment.users.sum()),
            "methods": judgement.means(theirs, within(asked, segment)),
        }
    return found


def _new(
    new: Sequence[Question], first: int, answers: Answers, by_popularity: Method
) -> dict[str, Any]:
    """Users of whom nothing is known, who stand from ``first`` on: popularity is all there is."""
    if not new:
        return {}
    theirs = {
        FUNNEL: Method(answers.pages[first:], answers.ranked[first:]),
        "popularity": by_popularity.take(np.arange(first, first + len(new))),
    }
    relevant = [question.relevant for question in new]
    return {NEW: {"users": len(new), "methods": judgement.means(theirs, relevant)}}


def _ranker(ranked: Ranked) -> dict[str, Any]:
    """How well each model tells held-out positives, that retrieval found, from what else would have
    been ranked, by objective."""
    return {
        "requests": ranked.requests,
        "validation AUC": ranked.validation_auc,
        **{
            f"{model}, {objective}": found
            for model, quality in ranked.quality.items()
            for objective, found in quality.items()
        },
    }
