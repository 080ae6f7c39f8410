"""What users did, as a bundle knows it: its users.parquet as events."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tamis_pipeline.dataset import Dataset, Interactions
from tamis_pipeline.split import by_user
from tamis_server.bundles.profiles import Profiles


def known_users(data: Dataset, profiles: Profiles, train: Interactions) -> pa.Table:
    """A bundle's users.parquet: what each user of ``data`` did in ``train``, oldest first, and the
    profile, where there are any."""
    own = by_user(train, len(data.user_ids))
    columns = {
        "user_id": pa.array(data.user_ids, pa.string()),
        "rows": pa.array([train.items[each] for each in own], pa.list_(pa.int32())),
        "times": pa.array([train.times[each] for each in own], pa.list_(pa.float64())),
        "kinds": pa.array([train.kinds[each] for each in own], pa.list_(pa.uint8())),
    }
    if profiles.fields:
        columns["profile"] = pa.array(list(profiles.codes), pa.list_(pa.int32()))
    return pa.table(columns)


def profiles_of(users: pa.Table) -> npt.NDArray[np.int32]:
    """int32[users, p] of users.parquet; p is 0 where it has none."""
    if "profile" not in users.column_names:
        return np.zeros((users.num_rows, 0), np.int32)
    lists = users.column("profile").combine_chunks()
    codes: npt.NDArray[np.int32] = lists.flatten().to_numpy().astype(np.int32)
    return codes.reshape(users.num_rows, -1)


def histories(users: pa.Table, number_of: Mapping[str, int] | None = None) -> Interactions:
    """All events of users.parquet, by user and time.

    number_of: a number for each user id, -1 where it has none; without it users are numbered by
    their rows.
    """
    if number_of is None:
        numbers = np.arange(users.num_rows, dtype=np.int32)
    else:
        ids = users.column("user_id").to_pylist()
        numbers = np.array([number_of.get(each, -1) for each in ids], np.int32)
    lengths = users.column("rows").combine_chunks().value_lengths().to_numpy()

    def flat(name: str) -> npt.NDArray[np.generic]:
        found: npt.NDArray[np.generic] = users.column(name).combine_chunks().flatten().to_numpy()
        return found

    return Interactions(
        np.repeat(numbers, lengths),
        flat("rows").astype(np.int32),
        flat("times").astype(np.float64),
        flat("kinds").astype(np.uint8),
    )
