"""Simulates what the demo shop's shoppers do: sessions with an intent, tastes that drift.

A session has a category in mind; its views are drawn by taste (Gumbel top-k: without replacement)
from what is in the shop at that moment, some of them by common appeal alone. What a shopper likes
more than his usual view he clicks, carts, buys and likes more often; the rest he may dislike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tamis_pipeline.shop.catalogue import DAY, END, Product
from tamis_pipeline.shop.tastes import Float64, Int64, Shelf, Taste, softmax

EVENT_TYPES = ("view", "click", "add_to_cart", "purchase", "like", "dislike")
VIEW, CLICK, ADD_TO_CART, PURCHASE, LIKE, DISLIKE = range(6)
DAYS = 90
PERIOD = 15  # days between two steps of taste
SESSIONS = 5.5  # median per shopper
VIEWS = 6.0  # mean per session
_NOISE = 0.12  # share of views that follow common appeal, not taste
_SAME_INTENT = 0.45
_INTENT = 3.0  # logits of the category in mind
_LONGEST = 7200.0  # seconds; bounds a session, so that nothing is bought once it is sold out
# shares of a day's visits by hour, UTC: most at eight in the evening
_HOURS = softmax(-0.5 * ((np.arange(24) - 20.0) / 4.0) ** 2)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Events sorted by time: shoppers int64[n], products int64[n] (positions in the list
    given to ``simulate``), times float64[n] (Unix seconds), types int64[n] (positions in
    ``EVENT_TYPES``)."""

    shoppers: Int64
    products: Int64
    times: Float64
    types: Int64


def simulate(products: list[Product], shoppers: int, seed: int) -> Behaviour:
    """The last ``DAYS`` days of ``shoppers`` shoppers; each has a stream of random numbers of his
    own, so more shoppers leave the others' behaviour as it was."""
    shelf = Shelf.of(products)
    columns: list[Float64] = []
    for number in range(shoppers):
        events = _Shopper(shelf, np.random.default_rng([seed, 2, number])).live()
        columns.append(np.array([(number, *event) for event in events], np.float64).reshape(-1, 4))
    table = np.concatenate([np.empty((0, 4)), *columns])
    table = table[table[:, 2] < END]
    table = table[np.lexsort((table[:, 3], table[:, 0], table[:, 2]))]
    return Behaviour(
        shoppers=table[:, 0].astype(np.int64),
        products=table[:, 1].astype(np.int64),
        times=table[:, 2],
        types=table[:, 3].astype(np.int64),
    )


Event = tuple[int, float, int]  # product, time, type
Mask = npt.NDArray[np.bool_]


class _Shopper:
    def __init__(self, shelf: Shelf, rng: np.random.Generator) -> None:
        self._shelf = shelf
        self._rng = rng
        self._taste = Taste.draw(rng)
        self._intent: int | None = None
        self._seen = np.zeros(shelf.appeal.shape[0], np.bool_)

    def live(self) -> list[Event]:
        events: list[Event] = []
        period = 0
        utilities = self._taste.utilities(self._shelf)
        for start in self._session_starts().tolist():
            while period < (start - (END - DAYS * DAY)) // (PERIOD * DAY):
                self._taste.drift(self._rng)
                utilities = self._taste.utilities(self._shelf)
                period += 1
            events += self._session(start, utilities)
        return events

    def _session_starts(self) -> Float64:
        rng = self._rng
        # a quarter of all shoppers come to know the shop within the time told
        first = rng.uniform(0.0, DAYS - 5.0) if rng.random() < 0.25 else 0.0
        count = max(1, int(rng.lognormal(np.log(SESSIONS * (DAYS - first) / DAYS), 0.6)))
        days = np.floor(rng.uniform(first, DAYS, count))
        hours = rng.choice(24, count, p=_HOURS) + rng.random(count)
        starts: Float64 = np.sort(np.floor(END - (DAYS - days) * DAY + hours * 3600.0))
        return starts

    def _session(self, start: float, utilities: Float64) -> list[Event]:
        rng, shelf = self._rng, self._shelf
        on_offer = (shelf.created_at <= start) & (start + _LONGEST < shelf.sold_out_at)
        chosen = self._choose(utilities, on_offer & ~self._seen)
        events: list[Event] = []
        now = start
        usual = float(utilities[chosen].mean()) if chosen.shape[0] else 0.0
        basket: list[int] = []
        for product in chosen.tolist():
            self._seen[product] = True
            pleasure = float(utilities[product]) - usual + float(rng.normal(0.0, 0.8))
            events.append((product, now, VIEW))
            now += float(rng.integers(8, 40))
            if rng.random() < _chance(pleasure - 0.7):
                events.append((product, now, CLICK))
                now += float(rng.integers(15, 120))
                if rng.random() < _chance(pleasure - 2.2):
                    events.append((product, now, LIKE))
                    now += float(rng.integers(1, 6))
                if rng.random() < _chance(pleasure - 1.6):
                    events.append((product, now, ADD_TO_CART))
                    basket.append(product)
                    now += float(rng.integers(2, 10))
            elif rng.random() < _chance(-pleasure - 4.5):
                events.append((product, now, DISLIKE))
                now += float(rng.integers(1, 4))
        if basket and rng.random() < 0.55:
            now += float(rng.integers(30, 180))
            events += [(product, now, PURCHASE) for product in basket]
            self._intent = None  # who has bought boots looks for something else
        return events

    def _choose(self, utilities: Float64, on_offer: Mask) -> Int64:
        """Positions of the products viewed, in order."""
        rng, shelf = self._rng, self._shelf
        likings = self._taste.likings["category"]
        if self._intent is None or rng.random() > _SAME_INTENT:
            self._intent = int(rng.choice(likings.shape[0], p=softmax(1.2 * likings)))
        count = min(1 + int(rng.geometric(1.0 / (VIEWS - 1.0))), 30, int(on_offer.sum()))
        logits = utilities + _INTENT * (shelf.codes["category"] == self._intent)
        scores = _hide(logits, on_offer) + rng.gumbel(size=logits.shape[0])
        popular = _hide(1.3 * shelf.appeal, on_offer) + rng.gumbel(size=logits.shape[0])
        own = np.argsort(-scores, kind="stable")[:count]
        common = np.argsort(-popular, kind="stable")[:count]
        mixed = np.where(rng.random(count) < _NOISE, common, own)
        # one product may come both ways: its first view stands
        return mixed[np.sort(np.unique(mixed, return_index=True)[1])].astype(np.int64)


def _hide(logits: Float64, on_offer: Mask) -> Float64:
    return np.where(on_offer, logits, -np.inf)


def _chance(logit: float) -> float:
    return float(1.0 / (1.0 + np.exp(-logit)))
