"""What retrieval finds: its models alone, exactly, and each source of a server's answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tamis_pipeline.evaluation import metrics
from tamis_pipeline.evaluation.choosing import Scorer
from tamis_pipeline.evaluation.funnel import Answers
from tamis_pipeline.evaluation.protocols import Question
from tamis_pipeline.twotower import Towers
from tamis_server.bundles.features import is_positive
from tamis_server.bundles.neighbours import Neighbours
from tamis_server.bundles.profiles import Profiles
from tamis_server.bundles.query_tower import context, encode

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


def scorer(towers: Towers, profiles: Profiles, asked: Sequence[Question]) -> Scorer:
    """The two-tower alone: of users in ``asked``, the product of the query with every item."""
    by_user = {question.user: question for question in asked}

    def score(users: npt.NDArray[np.intp]) -> Float32:
        queries = [_query(towers, profiles, by_user[user]) for user in users.tolist()]
        return np.asarray(np.concatenate(queries) @ towers.vectors.T, np.float32)

    return score


def together(neighbours: Neighbours, asked: Sequence[Question], items: int) -> Scorer:
    """What goes with the histories of users in ``asked``, alone."""
    by_user = {question.user: question for question in asked}
    everything = np.arange(items, dtype=np.int32)

    def score(users: npt.NDArray[np.intp]) -> Float32:
        own = [by_user[user] for user in users.tolist()]
        return np.stack(
            [neighbours.towards(each.history[is_positive(each.kinds)], everything) for each in own]
        )

    return score


def recalls(
    found: Int32, served: Int32, answers: Answers, relevant: Sequence[Int32]
) -> dict[str, dict[str, float]]:
    """Recall@100 and @500 of the two-tower's exact lists, ``found``, and the share of the relevant
    items that a server ranked (Recall@500), by the source that had found them; several may have.
    served: the first of ``answers.ranked``, about ``relevant``."""
    sizes = np.array([rows.shape[0] for rows in relevant], np.int64)
    exact = metrics.found(found, relevant)
    ranked = metrics.found(served, relevant)
    by_source = {
        f"server: {name}": float(
            metrics.recall(ranked & theirs[: len(relevant)], sizes, ranked.shape[1]).mean()
        )
        for name, theirs in answers.sources.items()
    }
    whole = float(metrics.recall(ranked, sizes, ranked.shape[1]).mean())
    return {
        "two-tower, exact": {
            "Recall@100": float(metrics.recall(exact, sizes, 100).mean()),
            "Recall@500": float(metrics.recall(exact, sizes, 500).mean()),
        },
        "server: all sources": {"Recall@500": whole},
        **{name: {"Recall@500": value} for name, value in by_source.items()},
    }


def _query(towers: Towers, profiles: Profiles, question: Question) -> Float32:
    length = towers.encoder["recency_bias"].shape[0]
    rows = np.full((1, length), -1, np.int32)
    kinds = np.zeros((1, length), np.uint8)
    count = min(length, question.history.shape[0])
    rows[0, :count] = question.history[::-1][:count]
    kinds[0, :count] = question.kinds[::-1][:count]
    known = profiles.of(np.array([question.user]))
    about = context(np.array([question.time]), known, towers.profile)
    return encode(towers.encoder, rows, kinds, about)
