"""Ids by position and their keys, however the table has them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tamis_server.bundles.ids import Ids, item_keys

NAMES = st.text(max_size=12)


@given(st.lists(st.lists(NAMES, max_size=5), max_size=4), st.data())
def test_ids_come_back_by_position_with_the_keys_of_their_bytes(
    chunks: list[list[str]], data: st.DataObject
) -> None:
    names = [name for chunk in chunks for name in chunk]
    ids = Ids(pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks], pa.string()))
    assert len(ids) == len(names)
    assert ids.keys().tolist() == item_keys(names).tolist()
    wanted = data.draw(st.lists(st.sampled_from(range(len(names))), max_size=8)) if names else []
    assert ids.of(np.array(wanted, np.int32)) == [names[place] for place in wanted]
    assert [ids.at(place) for place in wanted] == [names[place] for place in wanted]


def test_a_part_of_a_column_has_its_own_ids() -> None:
    column = pa.chunked_array([pa.array(["a", "bb", "ccc"]), pa.array(["dd"])]).slice(1)
    ids = Ids(column)
    assert ids.of(np.arange(3, dtype=np.int32)) == ["bb", "ccc", "dd"]
    assert ids.keys().tolist() == item_keys(["bb", "ccc", "dd"]).tolist()
