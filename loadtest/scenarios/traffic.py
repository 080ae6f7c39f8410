"""Requests as a shop's front end and its back office send them, drawn from a bundle.

Users come by Zipf's law (the r-th most active of the bundle with probability proportional to
1 / r^s; s = 0.99 as in Gray et al., "Quickly generating billion-record synthetic databases",
SIGMOD 1994, and YCSB), items by their popularity, predicates with values that items of the bundle
have. Nothing drawn changes what others are served: availability is set to what it is, and the only
items that are added or taken out are ``load-test-…``. Events are recorded for the users drawn.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf.message import Message

from tamis.v1 import admin_service_pb2, catalog_service_pb2, event_service_pb2, item_pb2
from tamis.v1 import recommend_service_pb2 as pb
from tamis_server.bundles.manifest import ITEMS, POPULARITY, USERS, VECTORS, read_manifest

ADDED_ITEMS = 200  # load-test-0 …: few, so that the live catalogue stays small
_EXPONENT = 0.99
_BLOCK = 4096
_SURFACES = ("home", "home", "home", "cart", "mail")
_DEVICES = ("phone", "phone", "desktop")
_KINDS = ("VIEW",) * 6 + ("CLICK",) * 2 + ("ADD_TO_CART", "PURCHASE")
# of a hundred requests; what a shop asks for while people look around
MIX = {
    "Recommend": 68,
    "RelatedItems": 14,
    "RecordEvents": 10,
    "GetItems": 5,
    "BatchRecommend": 1,
    "SetAvailability": 1,
    "UpsertItems": 1,
}


class _Draws:
    """Indices drawn with given weights, a block at a time."""

    def __init__(self, weights: npt.NDArray[np.floating], rng: np.random.Generator) -> None:
        self._edges = np.cumsum(weights / weights.sum())
        self._rng = rng
        self._block: list[int] = []

    def __call__(self) -> int:
        if not self._block:
            found = np.searchsorted(self._edges, self._rng.random(_BLOCK))
            self._block = np.minimum(found, len(self._edges) - 1).tolist()
        return self._block.pop()


class Traffic:
    """Draws requests for the bundle in ``directory``; equal seeds draw equal ones but for the ids
    of events, which are new each time or what ``event_id`` gives."""

    def __init__(
        self,
        directory: Path,
        seed: int = 0,
        event_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.manifest = read_manifest(directory)
        self._rng = rng = np.random.default_rng(seed)
        self._event_id = event_id
        users = pq.read_table(directory / USERS, columns=["user_id", "rows"])
        active = np.argsort(-pa.compute.list_value_length(users["rows"]).to_numpy(), kind="stable")
        self.users: list[str] = users["user_id"].take(pa.array(active)).to_pylist()
        self._user = _Draws(np.arange(1.0, len(self.users) + 1) ** -_EXPONENT, rng)
        self._items = pq.read_table(directory / ITEMS)
        self._ids: list[str] = self._items["item_id"].to_pylist()
        popularity = np.load(directory / POPULARITY).astype(np.float64)
        self._item = _Draws(popularity + popularity.mean() + 1e-9, rng)
        self._vectors = np.load(directory / VECTORS, mmap_mode="r")
        names, weights = list(MIX), np.array(list(MIX.values()), np.float64)
        self._names, self._rpc = names, _Draws(weights, rng)
        self._draw: dict[str, Callable[[], Message]] = {
            "Recommend": self.recommend,
            "BatchRecommend": self.batch_recommend,
            "RelatedItems": self.related_items,
            "Search": self.search,
            "RecordEvents": self.record_events,
            "StreamEvents": self.stream_events,
            "GetItems": self.get_items,
            "SetAvailability": self.set_availability,
            "StreamAvailability": self.stream_availability,
            "UpsertItems": self.upsert_items,
            "DeleteItems": self.delete_items,
            "GetStatus": admin_service_pb2.GetStatusRequest,
        }

    def mixed(self) -> tuple[str, Message]:
        """The next request of ``MIX``, with the name of its RPC."""
        name = self._names[self._rpc()]
        return name, self._draw[name]()

    def draw(self, rpc: str) -> Message:
        """A request of this RPC; of a streaming one, one message of the stream."""
        return self._draw[rpc]()

    def recommend(self) -> pb.RecommendRequest:
        rng = self._rng
        request = pb.RecommendRequest(
            user_id=self.user(),
            page_size=20,
            context=self._context(),
            predicates=self._predicates(),
        )
        if rng.random() < 0.2:
            request.excluded_item_ids.extend(self._distinct(5))
        if rng.random() < 0.3:
            request.attributes.extend(each.name for each in self.manifest.attributes[:4])
        return request

    def batch_recommend(self) -> pb.BatchRecommendRequest:
        return pb.BatchRecommendRequest(requests=[self.recommend() for _ in range(10)])

    def related_items(self) -> pb.RelatedItemsRequest:
        user = self.user() if self._rng.random() < 0.7 else ""
        return pb.RelatedItemsRequest(
            item_ids=[self.item()], user_id=user, page_size=12, context=self._context()
        )

    def search(self) -> pb.SearchRequest:
        """Words as people type them: the last two of a title."""
        title = self._items["title"][self._item()].as_py() or ""
        words = " ".join(title.replace(",", " ").split()[-2:]) or "new"
        return pb.SearchRequest(text=words, user_id=self.user(), page_size=20)

    def record_events(self) -> event_service_pb2.RecordEventsRequest:
        return event_service_pb2.RecordEventsRequest(events=self._events(5))

    def stream_events(self) -> event_service_pb2.StreamEventsRequest:
        return event_service_pb2.StreamEventsRequest(events=self._events(5))

    def get_items(self) -> catalog_service_pb2.GetItemsRequest:
        return catalog_service_pb2.GetItemsRequest(item_ids=self._distinct(20), activity=True)

    def set_availability(self) -> catalog_service_pb2.SetAvailabilityRequest:
        return catalog_service_pb2.SetAvailabilityRequest(changes=self._changes(5))

    def stream_availability(self) -> catalog_service_pb2.StreamAvailabilityRequest:
        return catalog_service_pb2.StreamAvailabilityRequest(changes=self._changes(5))

    def upsert_items(self) -> catalog_service_pb2.UpsertItemsRequest:
        """A new item like one of the bundle, near it."""
        row = self._item()
        like = self._items.slice(row, 1).to_pylist()[0]
        vector = self._vectors[row] + self._rng.normal(0, 0.02, self.manifest.dim)
        item = item_pb2.Item(
            item_id=f"load-test-{self._rng.integers(ADDED_ITEMS)}",
            title=like["title"] or "",
            text=like["text"] or "",
            available=True,
        )
        for attribute in self.manifest.attributes:
            if (value := like[attribute.name]) is not None:
                _set(item.attributes[attribute.name], attribute.kind, value)
        new = catalog_service_pb2.NewItem(item=item, vector=vector.astype(np.float32).tolist())
        return catalog_service_pb2.UpsertItemsRequest(items=[new])

    def delete_items(self) -> catalog_service_pb2.DeleteItemsRequest:
        name = f"load-test-{self._rng.integers(ADDED_ITEMS)}"
        return catalog_service_pb2.DeleteItemsRequest(item_ids=[name])

    def user(self) -> str:
        return self.users[self._user()]

    def item(self) -> str:
        return self._ids[self._item()]

    def _distinct(self, count: int) -> list[str]:
        return sorted({self.item() for _ in range(count)})

    def _context(self) -> pb.Context:
        rng = self._rng
        return pb.Context(
            surface=_SURFACES[rng.integers(len(_SURFACES))],
            device=_DEVICES[rng.integers(len(_DEVICES))],
            locale="en-GB",
        )

    def _predicates(self) -> list[pb.Predicate]:
        """None mostly; else the value of some item for some category, or its price's class."""
        if self._rng.random() > 0.35 or not self.manifest.attributes:
            return []
        attribute = self.manifest.attributes[self._rng.integers(len(self.manifest.attributes))]
        value = self._items[attribute.name][self._item()].as_py()
        if value is None or value == []:
            return []
        if attribute.kind == "number":
            return [pb.Predicate(attribute=attribute.name, range=pb.Range(maximum=2 * value + 1))]
        first = value[0] if attribute.kind == "tags" else value
        one = pb.Value(boolean=first) if attribute.kind == "boolean" else pb.Value(text=first)
        found = pb.Predicate(attribute=attribute.name)
        getattr(found, "in").values.append(one)  # a keyword of Python's
        return [found]

    def _events(self, count: int) -> list[item_pb2.Event]:
        """Of one visit: what a page sends when it is left."""
        user, session = self.user(), f"visit-{self._rng.integers(1 << 31)}"
        return [
            item_pb2.Event(
                event_id=self._event_id(),
                user_id=user,
                item_id=self.item(),
                kind=item_pb2.EventKind.Value(
                    f"EVENT_KIND_{_KINDS[self._rng.integers(len(_KINDS))]}"
                ),
                session_id=session,
            )
            for _ in range(count)
        ]

    def _changes(self, count: int) -> list[catalog_service_pb2.Availability]:
        return [
            catalog_service_pb2.Availability(
                item_id=self._ids[row], available=self._items["available"][row].as_py()
            )
            for row in (self._item() for _ in range(count))
        ]


def _set(target: item_pb2.AttributeValue, kind: str, value: object) -> None:
    if kind == "tags":
        target.tags.values.extend(value)  # type: ignore[arg-type]
        target.tags.SetInParent()
    else:
        name = {"category": "text", "number": "number", "boolean": "boolean"}[kind]
        setattr(target, name, value)
