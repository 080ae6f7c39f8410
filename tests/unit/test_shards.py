"""Work in shards is all of the work, once, wherever it is done."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tamis_pipeline.shards import here, write_shards


@pytest.mark.parametrize(("rows", "shards"), [(0, 3), (1, 3), (7, 3), (9, 3), (5, 1), (4, 9)])
def test_shards_are_the_whole_table_in_as_many_parts_as_asked_for(
    tmp_path: Path, rows: int, shards: int
) -> None:
    paths = write_shards(pa.table({"row": list(range(rows))}), tmp_path / "shards", shards)
    made: list[None] = []
    parts = [table["row"].to_pylist() for table in here(paths, lambda: made.append(None) or read)]
    assert [row for part in parts for row in part] == list(range(rows))
    assert len(parts) <= shards
    assert all(parts)
    assert len(made) == 1


def read(path: Path) -> pa.Table:
    return pq.read_table(path)
