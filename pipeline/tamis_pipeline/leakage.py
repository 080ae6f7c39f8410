"""That nothing of the test part is in what a bundle knows: checked on the bundle as written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tamis_pipeline.dataset import Interactions
from tamis_pipeline.histories import histories
from tamis_pipeline.split import Split
from tamis_server.bundles import features
from tamis_server.bundles import manifest as fmt
from tamis_server.domain.errors import ContractViolation


class Leaked(ContractViolation):
    """What is to be measured was learned from: figures would mean nothing. Names where."""


def require_no_leak(bundle: Path, parts: Split, user_ids: tuple[str, ...]) -> None:
    """Raises Leaked where the bundle knows an event of ``parts.test``."""
    number_of = {user_id: user for user, user_id in enumerate(user_ids)}
    known = histories(pq.read_table(bundle / fmt.USERS), number_of)
    both = {
        "the training part": shared(parts.train, parts.test),
        "users.parquet": shared(known, parts.test),
    }
    popularity = np.load(bundle / fmt.POPULARITY)
    met = np.zeros(popularity.shape[0], np.bool_)
    met[parts.train.items[features.is_positive(parts.train.kinds)]] = True
    both["popularity.npy"] = int((popularity[~met] > 0).sum())
    found = [f"{where} ({count})" for where, count in both.items() if count]
    if found:
        raise Leaked(f"events of the test part are in {', '.join(found)}")


def shared(known: Interactions, test: Interactions) -> int:
    """How many events of ``test`` are among ``known``."""
    return int(np.isin(_events(test), _events(known)).sum())


def _events(events: Interactions) -> npt.NDArray[np.void]:
    columns = [("user", np.int32), ("item", np.int32), ("time", np.float64), ("kind", np.uint8)]
    rows = np.zeros(len(events), columns)
    rows["user"], rows["item"] = events.users, events.items
    rows["time"], rows["kind"] = events.times, events.kinds
    return rows.view(np.dtype((np.void, rows.dtype.itemsize)))
