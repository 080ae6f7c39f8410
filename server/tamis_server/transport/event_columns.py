"""Messages of events as columns: each field is read once and looked at for all of them together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tamis.v1 import item_pb2
from tamis_server.domain.candidates import Mask
from tamis_server.domain.events import Events


class EventColumns:
    """Some messages. kinds and positions int32[n]; timed int64[t]: which of them have a time, with
    its seconds and nanos int64[t]."""

    def __init__(self, messages: Sequence[item_pb2.Event]) -> None:
        self.messages = messages
        self.event_ids = [each.event_id for each in messages]
        self.user_ids = [each.user_id for each in messages]
        self.item_ids = [each.item_id for each in messages]
        self.session_ids = [each.session_id for each in messages]
        self.request_ids = [each.request_id for each in messages]
        self.kinds = np.array([each.kind for each in messages], np.int32)
        self.positions = np.array([each.position for each in messages], np.int32)
        times = {at: each.time for at, each in enumerate(messages) if each.HasField("time")}
        self.timed = np.array(list(times), np.int64)
        self.seconds = np.array([time.seconds for time in times.values()], np.int64)
        self.nanos = np.array([time.nanos for time in times.values()], np.int64)

    def events(self, now: float, known: Mask) -> Events:
        """Valid ones, as the rest of the server wants them; one without a time happened now."""
        times: npt.NDArray[np.float64] = np.full(len(self.messages), now)
        times[self.timed] = (self.seconds * 1_000_000_000 + self.nanos) / 1e9
        return Events(
            event_ids=self.event_ids,
            user_ids=self.user_ids,
            item_ids=self.item_ids,
            kinds=self.kinds.astype(np.uint8),
            times=times,
            session_ids=self.session_ids,
            request_ids=self.request_ids,
            positions=self.positions,
            known=known,
        )
