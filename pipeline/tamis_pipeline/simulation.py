"""Synthetic behaviour at any catalogue, to try the pipeline before there are users.

Each user has a taste: a liking of every value of every attribute and of every frequent word, and a
budget along each number. A session has one value of the catalogue's leading category in mind; what
is looked at is drawn by taste (Gumbel top-k: without replacement), some of it by common appeal, and
what pleases more than the rest of the session is clicked, carted, bought and liked more often.
Figures measured on it say that the machinery works, not how well people would be served.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_matrix

from tamis_pipeline.dataset import OWN_COLUMNS
from tamis_pipeline.readers import read_catalogue
from tamis_server.bundles.directory import replacing

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

DAY = 86_400.0
END = 1_767_225_600.0  # 2026-01-01: a catalogue says nothing of when it is used
DAYS = 90.0
_NOISE = 0.12  # share of views by common appeal
_INTENT = 2.5  # logits of the value in mind
_STRENGTH = 1.0  # standard deviation of a liking, in logits
_WORDS = 400  # frequent words that one may like
_LEADING = (3, 200)  # how many values the attribute has that a session is about


@dataclass(frozen=True, slots=True)
class _Shelf:
    """codes int64[items] of each category, -1 where there is none; words [items, _WORDS]: each
    item's frequent words, a row of unit length; numbers float64[items] in standard deviations, 0
    where there is none; leading: the category that a session is about."""

    codes: list[Int64]
    words: csr_matrix
    numbers: list[Float64]
    appeal: Float64
    leading: Int64


def simulate(items: pl.DataFrame, users: int, seed: int) -> pl.DataFrame:
    """user_id, item_id, timestamp, event_type of the last ``DAYS`` days before ``END``, by time.

    items: as in docs/own-data.md. A user has random numbers of his own: more users leave what the
    others did as it was.
    """
    items = items.unique("item_id", keep="first", maintain_order=True)
    shelf = _shelf(items, np.random.default_rng([seed, 0]))
    events: list[tuple[str, int, float, str]] = []
    for number in range(users):
        rng = np.random.default_rng([seed, 1, number])
        events += [(f"user-{number:05d}", *event) for event in _live(shelf, rng)]
    frame = pl.DataFrame(events, schema=["user_id", "row", "timestamp", "event_type"], orient="row")
    named = items.select(pl.col("item_id").cast(pl.String), row=pl.int_range(pl.len()))
    joined = frame.join(named, on="row").sort("timestamp", "user_id", "row")
    return joined.select("user_id", "item_id", "timestamp", "event_type")


def write(kind: str, source: Path, out: Path, users: int, seed: int) -> int:
    """A data set at ``out`` of the catalogue in ``source``, its pictures copied, and ``simulate``'s
    behaviour; the number of events. ``kind`` is one of ``READERS``. Raises DatasetRejected."""
    items = read_catalogue(kind, source)
    events = simulate(items, users, seed)
    with replacing(out) as temporary:
        items.write_parquet(temporary / "items.parquet")
        events.write_parquet(temporary / "interactions.parquet")
        images = items["image"].drop_nulls().to_list() if "image" in items.columns else []
        for image in images:
            outside = Path(image).is_absolute() or ".." in Path(image).parts
            if not outside and (source / image).is_file():
                (temporary / image).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / image, temporary / image)
    return len(events)


def _shelf(items: pl.DataFrame, rng: np.random.Generator) -> _Shelf:
    attributes = [items[name] for name in items.columns if name not in OWN_COLUMNS]
    codes = [_codes(column) for column in attributes if column.dtype == pl.String]
    leading = [
        column for column in codes if _LEADING[0] <= np.unique(column).shape[0] <= _LEADING[1]
    ]
    return _Shelf(
        codes=codes,
        words=_words(items["title"].to_list() if "title" in items.columns else [""] * len(items)),
        numbers=[_standard(column) for column in attributes if column.dtype.is_numeric()],
        appeal=rng.normal(size=len(items)),
        leading=leading[0] if leading else np.zeros(len(items), np.int64),
    )


def _codes(column: pl.Series) -> Int64:
    values = column.cast(pl.String)
    ranked = values.rank("dense").fill_null(0)
    return ranked.to_numpy().astype(np.int64) - 1


def _words(titles: list[str | None]) -> csr_matrix:
    split = [sorted(set(re.findall(r"\w+", (title or "").lower()))) for title in titles]
    counts = Counter(word for words in split for word in words)
    known = {word: number for number, (word, _) in enumerate(counts.most_common(_WORDS))}
    own = [[known[word] for word in words if word in known] for words in split]
    lengths = np.array([len(words) for words in own], np.int64)
    rows = np.repeat(np.arange(len(own)), lengths)
    columns = np.array([word for words in own for word in words], np.int64)
    weights = 1.0 / np.sqrt(lengths[rows])
    return csr_matrix((weights, (rows, columns)), shape=(len(own), _WORDS))


def _standard(column: pl.Series) -> Float64:
    values = column.cast(pl.Float64).to_numpy().astype(np.float64)
    there = np.isfinite(values)
    if not there.any():
        return np.zeros(values.shape[0])
    spread = float(values[there].std()) or 1.0
    return np.where(there, (values - values[there].mean()) / spread, 0.0)


def _live(shelf: _Shelf, rng: np.random.Generator) -> list[tuple[int, float, str]]:
    utilities, likings = _taste(shelf, rng)
    seen = np.zeros(utilities.shape[0], np.bool_)
    count = max(1, int(rng.lognormal(np.log(5.5), 0.6)))
    starts = np.sort(END - DAYS * DAY + rng.random(count) * (DAYS - 0.5) * DAY)
    events: list[tuple[int, float, str]] = []
    for start in starts.tolist():
        intent = int(rng.choice(likings.shape[0], p=_softmax(likings)))
        logits = np.where(seen, -np.inf, utilities + _INTENT * (shelf.leading == intent))
        chosen = _views(logits, np.where(seen, -np.inf, 1.3 * shelf.appeal), rng)
        seen[chosen] = True
        events += _session(chosen, utilities, start, rng)
    return events


def _taste(shelf: _Shelf, rng: np.random.Generator) -> tuple[Float64, Float64]:
    """Logits of each item being looked at, float64[items], and of each value in mind."""
    utilities = 0.7 * shelf.appeal
    for codes in shelf.codes:
        liking = rng.normal(0.0, _STRENGTH, int(codes.max(initial=-1)) + 2)
        utilities = utilities + liking[codes]  # code -1 is the last of them
    words = rng.normal(0.0, _STRENGTH, _WORDS)
    utilities = utilities + shelf.words @ words
    for numbers in shelf.numbers:
        utilities = utilities - 0.5 * (numbers - rng.normal(0.0, 0.8)) ** 2
    return utilities, rng.normal(0.0, 1.2, int(shelf.leading.max(initial=0)) + 1)


def _views(own: Float64, common: Float64, rng: np.random.Generator) -> Int64:
    """Rows of what is looked at, in order."""
    count = min(1 + int(rng.geometric(1.0 / 5.0)), 30, int(np.isfinite(own).sum()))
    by_taste = np.argsort(-(own + rng.gumbel(size=own.shape[0])), kind="stable")[:count]
    by_appeal = np.argsort(-(common + rng.gumbel(size=own.shape[0])), kind="stable")[:count]
    mixed = np.where(rng.random(count) < _NOISE, by_appeal, by_taste)
    # an item may come both ways: its first view stands
    return mixed[np.sort(np.unique(mixed, return_index=True)[1])].astype(np.int64)


def _session(
    chosen: Int64, utilities: Float64, start: float, rng: np.random.Generator
) -> list[tuple[int, float, str]]:
    events: list[tuple[int, float, str]] = []
    usual = float(utilities[chosen].mean()) if chosen.shape[0] else 0.0
    now = float(np.floor(start))
    for row in chosen.tolist():
        pleasure = float(utilities[row]) - usual + float(rng.normal(0.0, 0.8))
        done = ["view"]
        if rng.random() < _chance(pleasure - 0.7):
            done.append("click")
            done += ["like"] if rng.random() < _chance(pleasure - 2.2) else []
            done += ["add_to_cart"] if rng.random() < _chance(pleasure - 1.6) else []
            done += ["purchase"] if "add_to_cart" in done and rng.random() < 0.5 else []
        elif rng.random() < _chance(-pleasure - 4.5):
            done.append("dislike")
        for kind in done:
            events.append((row, now, kind))
            now += float(rng.integers(5, 60))
    return events


def _softmax(logits: Float64) -> Float64:
    weights: Float64 = np.exp(logits - logits.max())
    total: Float64 = weights / weights.sum()
    return total


def _chance(logit: float) -> float:
    return float(1.0 / (1.0 + np.exp(-logit)))
