"""Any data set in one simple format; what can't be used is counted, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis_pipeline.dataset import DatasetRejected
from tamis_pipeline.readers import read_dataset
from tamis_server.domain.context import EventKind

ITEMS = """item_id,title,text,image,colour,price,organic,available
a,Hat,A warm hat,a.png,red,10.5,true,true
b,Coat,,b.png,blue,,false,false
a,Hat again,,,,1,true,true
,Nameless,,,,1,true,true
"""
INTERACTIONS = """user_id,item_id,timestamp,event_type,value
u2,a,200,purchase,1
u1,b,100,view,
u1,ghost,100,view,
,a,100,view,
u1,a,,view,
u1,a,300,stare,
u1,a,300,like,
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "items.csv").write_text(ITEMS)
    (tmp_path / "interactions.csv").write_text(INTERACTIONS)
    return tmp_path


def test_items_get_rows_and_attributes_their_kinds(directory: Path) -> None:
    data = read_dataset("own", directory)
    assert data.items.column("item_id").to_pylist() == ["a", "b"]
    assert data.items.column("available").to_pylist() == [True, False]
    kinds = {attribute.name: attribute.kind for attribute in data.attributes}
    assert kinds == {"colour": "category", "price": "number", "organic": "boolean"}


def test_events_come_in_order_of_time(directory: Path) -> None:
    data = read_dataset("own", directory)
    assert data.user_ids == ("u1", "u2")
    assert data.interactions.times.tolist() == [100, 200, 300]
    assert data.interactions.items.tolist() == [1, 0, 0]
    kinds = [EventKind.VIEW, EventKind.PURCHASE, EventKind.LIKE]
    assert data.interactions.kinds.tolist() == kinds


def test_what_can_not_be_used_is_counted_by_its_reason(directory: Path) -> None:
    problems = read_dataset("own", directory).problems
    assert set(problems.values()) == {1}
    assert len(problems) == 6


def test_a_missing_column_is_refused_by_name(directory: Path) -> None:
    (directory / "items.csv").write_text("name\nhat\n")
    with pytest.raises(DatasetRejected, match="no column item_id"):
        read_dataset("own", directory)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match=r"neither items\.parquet nor items\.csv"):
        read_dataset("own", tmp_path)
