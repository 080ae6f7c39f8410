"""What evaluation.json says of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis_pipeline.config import PipelineConfig
from tamis_pipeline.dataset import HeldOut
from tamis_pipeline.evaluation import given, judgement, retrieval
from tamis_pipeline.evaluation.baselines import BASELINES, fitted
from tamis_pipeline.evaluation.choosing import Scorer, lists
from tamis_pipeline.evaluation.funnel import Answers, Client
from tamis_pipeline.evaluation.judgement import PAGE, Method, Yardstick
from tamis_pipeline.evaluation.protocols import Question, left_out, newcomers, some_questions
from tamis_pipeline.evaluation.segments import segments, within
from tamis_pipeline.preparation import Prepared, prepare
from tamis_pipeline.progress import Progress
from tamis_pipeline.ranking import Ranked
from tamis_pipeline.twotower import Towers
from tamis_server.bundles.features import is_positive
from tamis_server.bundles.neighbours import Neighbours

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
DEPTH = 500  # the longest page that a server gives
FUNNEL = "whole funnel"
BEFORE = "whole funnel of the bundle before"
BY_DEFAULT = "whole funnel with the server's default trade-off"
TOWERS = "two-tower alone"
TOGETHER = "co-occurrence alone"
COLD = "cold items among themselves"
NEW = "new users (of whom nothing is known)"


@dataclass(frozen=True, slots=True)
class Serving:
    """The bundle that a new one is to take the place of. directory: it, with the histories that the
    new one has; bundle_id: under which it is served, with histories of its own."""

    directory: Path
    bundle_id: str


def measure(
    bundle: Path,
    prepared: Prepared,
    towers: Towers,
    neighbours: Neighbours,
    ranker: Ranked,
    config: PipelineConfig,
    progress: Progress,
    serving: Serving | None = None,
) -> dict[str, Any]:
    """Everything measured of ``bundle``: the whole funnel, asked through gRPC, beside baselines, by
    segment, and each stage alone. Raises DatasetRejected where nobody can be asked.

    serving: is asked the same, and what it answers is measured in the same way.
    """
    data, parts = prepared.data, prepared.parts
    asked = some_questions(parts)
    everybody = [*asked, *newcomers(parts)]
    available = _available(prepared)
    item_ids = data.items.column("item_id").to_pylist()
    trade_off = config.evaluation.trade_off

    def client(directory: Path, trade_off: float | None = trade_off) -> Client:
        return Client(directory, data.user_ids, item_ids, progress, trade_off)

    answers = client(bundle).ask(everybody, PAGE, DEPTH)
    asked_too = {FUNNEL: answers}
    if serving is not None:
        progress.note("the same questions to the bundle before")
        asked_too[BEFORE] = client(serving.directory).ask(everybody, PAGE, DEPTH)
    others, chosen = _baselines(prepared, available, config, progress)
    scorers = {
        TOWERS: retrieval.scorer(towers, prepared.profiles, asked),
        TOGETHER: retrieval.together(neighbours, asked, available.shape[0]),
        **others,
    }
    methods = {
        **{
            name: Method(each.pages[: len(asked)], each.ranked[: len(asked)])
            for name, each in asked_too.items()
        },
        **{name: _ranked(each, asked, available) for name, each in scorers.items()},
    }
    relevant = [question.relevant for question in asked]
    yardstick = _yardstick(prepared, towers.vectors)
    judged = judgement.judge(methods, relevant, yardstick, config.seed)
    by_segment = {
        **_segments(asked, methods, yardstick.counts),
        **_new(everybody[len(asked) :], asked_too, scorers["popularity"], available),
    }
    return {
        **({} if serving is None else {"serving": _of(serving, judged["methods"], by_segment)}),
        "data set": data.name,
        "seed": config.seed,
        "split": config.split.model_dump(),
        "trade_off": trade_off,
        "users": len(asked),
        "users_left_out": left_out(parts),
        **judged,
        "baseline settings": chosen,
        "segments": {**by_segment, **_cold(asked, scorers[TOWERS], available, yardstick.counts)},
        "retrieval": retrieval.recalls(
            methods[TOWERS].deep, methods[FUNNEL].deep, answers, relevant
        ),
        "stages": answers.stages,
        "degraded answers": answers.degraded,
        "given negatives": _given(
            data.held_out,
            {
                FUNNEL: client(bundle),
                **({} if trade_off is None else {BY_DEFAULT: client(bundle, None)}),
            },
            scorers,
            asked,
            config,
        ),
        "relevant items not available": float(
            np.mean([1.0 - available[rows].mean() for rows in relevant])
        ),
        "ranker": _ranker(ranker),
        "precision": ranker.precision,
        "left_out": dict(data.problems),
    }


def compare(source: Path, config: PipelineConfig, progress: Progress) -> dict[str, Any]:
    """The baselines alone, on the split that ``config`` says: nothing is trained but them. Raises
    DatasetRejected, too where nobody can be asked."""
    prepared = prepare(source, config)
    asked = some_questions(prepared.parts)
    available = _available(prepared)
    scorers, chosen = _baselines(prepared, available, config, progress)
    methods = {name: _ranked(each, asked, available) for name, each in scorers.items()}
    held_out, is_given = prepared.data.held_out, config.split.how == "given"
    places = {}
    if held_out is not None and is_given:
        places = {name: given.places(each, held_out) for name, each in scorers.items()}
    return {
        "users": len(asked),
        "methods": judgement.means(methods, [question.relevant for question in asked]),
        "given negatives": given.judge(places, config.seed),
        "baseline settings": chosen,
    }


def _available(prepared: Prepared) -> Mask:
    column = prepared.data.items.column("available")
    mask: Mask = column.to_numpy(zero_copy_only=False).astype(np.bool_)
    return mask


def _ranked(scorer: Scorer, asked: Sequence[Question], available: Mask) -> Method:
    own = lists(scorer, asked, available, DEPTH)
    return Method(own[:, :PAGE], own)


def _yardstick(prepared: Prepared, vectors: Float32) -> Yardstick:
    train = prepared.parts.train
    positive = train.items[is_positive(train.kinds)]
    counts = np.bincount(positive, minlength=vectors.shape[0]).astype(np.float32)
    return Yardstick(counts, np.unique(train.users).shape[0], vectors)


def _baselines(
    prepared: Prepared,
    available: Mask,
    config: PipelineConfig,
    progress: Progress,
) -> tuple[dict[str, Scorer], dict[str, Any]]:
    """What scores every item for a user, by name, and the settings that were chosen for it."""
    popularity = prepared.popularity[None, :]
    scorers: dict[str, Scorer] = {
        "popularity": lambda users: np.repeat(popularity, users.shape[0], axis=0),
    }
    chosen: dict[str, Any] = {}
    for baseline in BASELINES:
        if baseline.name in config.evaluation.baselines:
            progress.note(f"baseline {baseline.name}")
            found = fitted(baseline, prepared.parts, available, config.seed)
            if found is not None:
                scorers[baseline.name] = found.scorer
                chosen[baseline.name] = dict(found.settings)
    return scorers, chosen


def _given(
    held_out: HeldOut | None,
    clients: Mapping[str, Client],
    scorers: Mapping[str, Scorer],
    asked: Sequence[Question],
    config: PipelineConfig,
) -> dict[str, Any]:
    """By the negatives that the data set came with, where they are the test."""
    if held_out is None or config.split.how != "given":
        return {}
    time_of = {question.user: question.time for question in asked}
    times = [time_of[user] for user in held_out.users.tolist()]
    places = {name: client.places(held_out, times) for name, client in clients.items()}
    places |= {name: given.places(scorer, held_out) for name, scorer in scorers.items()}
    return given.judge(places, config.seed)


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


def _cold(
    asked: Sequence[Question], towers: Scorer, available: Mask, counts: Float32
) -> dict[str, Any]:
    """Items never met in training, ranked among themselves by the two-tower: what content says."""
    cold = available & (counts == 0)
    theirs = [question for question in asked if cold[question.relevant].any()]
    if not theirs:
        return {}
    found = {TOWERS: _ranked(towers, theirs, cold)}
    relevant = [question.relevant[cold[question.relevant]] for question in theirs]
    return {COLD: {"users": len(theirs), "methods": judgement.means(found, relevant)}}


def _new(
    new: Sequence[Question], answers: Mapping[str, Answers], popularity: Scorer, available: Mask
) -> dict[str, Any]:
    """Users of whom nothing is known, the last of ``answers``: popularity is all there is."""
    if not new:
        return {}
    theirs = {
        **{
            name: Method(each.pages[-len(new) :], each.ranked[-len(new) :])
            for name, each in answers.items()
        },
        "popularity": _ranked(popularity, new, available),
    }
    relevant = [question.relevant for question in new]
    return {NEW: {"users": len(new), "methods": judgement.means(theirs, relevant)}}


def _ranker(ranked: Ranked) -> dict[str, Any]:
    """How well each model tells held-out positives, that retrieval found, from what else would have
    been ranked, by objective."""
    return {
        "requests": ranked.requests,
        "validation gain": ranked.validation_gain,
        **{
            f"{model}, {objective}": found
            for model, quality in ranked.quality.items()
            for objective, found in quality.items()
        },
    }


def _of(
    serving: Serving, methods: Mapping[str, Any], by_segment: Mapping[str, Any]
) -> dict[str, Any]:
    """What was measured of the bundle before, in the form of a report of its own."""
    return {
        "bundle_id": serving.bundle_id,
        "methods": {FUNNEL: methods[BEFORE]},
        "segments": {
            name: {"methods": {FUNNEL: found["methods"][BEFORE]}}
            for name, found in by_segment.items()
        },
    }
