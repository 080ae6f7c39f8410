"""Stages are done once: by what they work on, their settings and code; and results come back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rich.console import Console

from tamis_pipeline import packing, provenance, twotower, windows
from tamis_pipeline.config import SplitConfig
from tamis_pipeline.packing import pack, unpack
from tamis_pipeline.progress import Progress
from tamis_pipeline.twotower import Towers
from tamis_pipeline.workspace import Kept, Workspace, WorkspaceBusy, open_workspace
from tamis_server.bundles.manifest import Attribute

PROGRESS = Progress(Console(file=StringIO()))
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary() | hnp.arrays(hnp.integer_dtypes() | hnp.floating_dtypes(), hnp.array_shapes())
)  # fmt: skip
values = st.recursive(
    leaves, lambda v: st.lists(v) | st.dictionaries(st.text(), v) | st.tuples(v, v), max_leaves=8
)


def same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray):
        assert isinstance(right, np.ndarray)
        return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True)
    if isinstance(left, tuple | list):
        assert type(left) is type(right)
        return len(left) == len(right) and all(map(same, left, right))  # type: ignore[arg-type]
    if isinstance(left, dict):
        assert isinstance(right, dict)
        return [*left] == [*right] and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right


@given(values)
def test_what_is_packed_comes_back(value: object) -> None:
    with TemporaryDirectory() as directory:
        pack(value, Path(directory))
        assert same(unpack(Path(directory)), value)


def test_tables_records_and_models_come_back(tmp_path: Path) -> None:
    table = pa.table({"a": [1, None], "b": [["x"], []]})
    towers = Towers(np.eye(2, dtype=np.float32), {"w": np.ones(3, np.float32)})
    attribute = Attribute(name="colour", kind="category")
    pack({"t": table, "r": towers, "m": (attribute,)}, tmp_path)
    back = unpack(tmp_path)
    assert back["t"].equals(table)
    assert back["m"] == (attribute,)
    assert isinstance(back["r"], Towers)
    for field in fields(Towers):
        assert same(getattr(back["r"], field.name), getattr(towers, field.name))


@dataclass
class Foreign:
    value: int


def test_what_can_not_be_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="set can't be kept"):
        pack({1}, tmp_path)
    with pytest.raises(TypeError, match="objects"):
        pack(np.array([object()]), tmp_path)


def test_only_classes_of_the_program_are_made_from_files(tmp_path: Path) -> None:
    pack(Foreign(1), tmp_path)
    with pytest.raises(ValueError, match="no class of this program"):
        unpack(tmp_path)


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, PROGRESS)


def counted(result: object) -> tuple[list[int], Callable[[], Any]]:
    calls: list[int] = []

    def make() -> object:
        calls.append(1)
        return result

    return calls, make


def test_a_stage_is_done_once(work: Workspace) -> None:
    calls, make = counted((1, np.arange(3)))
    first = work.value("a", make, of=["x"], settings=[1], code=[packing])
    again = work.value("a", make, of=["x"], settings=[1], code=[packing])
    assert len(calls) == 1
    assert same(first.value, again.value)
    assert first.digest == again.digest


@pytest.mark.parametrize(
    "other",
    [
        {"of": ["y"]},
        {"of": [Kept(0, "z")]},
        {"settings": [SplitConfig(how="per-user")]},
        {"code": [twotower]},
    ],
)
def test_what_decides_a_stage_makes_it_be_done_again(
    work: Workspace, other: dict[str, Any]
) -> None:
    calls, make = counted(1)
    given: dict[str, Any] = {"of": ["x"], "settings": [SplitConfig()], "code": [packing]}
    work.value("a", make, **given)
    work.value("a", make, **{**given, **other})
    assert len(calls) == 2


def test_a_stage_follows_what_it_works_on_not_how_that_was_made(work: Workspace) -> None:
    calls, make = counted("same whatever the setting")
    later, make_later = counted("later")
    for setting in (1, 2):
        early = work.value("early", make, of=[], settings=[setting], code=[packing])
        work.value("later", make_later, of=[early], settings=[], code=[packing])
    assert (len(calls), len(later)) == (2, 1)


def test_a_stage_that_failed_leaves_nothing(work: Workspace, tmp_path: Path) -> None:
    def fill(out: Path) -> None:
        (out / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        work.files("a", fill, of=[], settings=[], code=[packing])
    assert not list(tmp_path.iterdir())


def test_two_runs_do_not_work_in_one_directory(tmp_path: Path) -> None:
    with (
        open_workspace(tmp_path, PROGRESS),
        pytest.raises(WorkspaceBusy),
        open_workspace(tmp_path, PROGRESS),
    ):
        pass
    with open_workspace(tmp_path, PROGRESS):
        pass


def test_code_counts_with_all_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tamis_probe"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "top.py").write_text("from tamis_probe import middle\n")
    (package / "middle.py").write_text("def f():\n    import tamis_probe.deep\n")
    (package / "deep.py").write_text("x = 1\n")
    (package / "apart.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(provenance, "_OURS", ("tamis_probe",))
    try:
        before = provenance.code("tamis_probe.top")
        (package / "apart.py").write_text("x = 2\n")
        provenance.code.cache_clear()
        assert provenance.code("tamis_probe.top") == before
        (package / "deep.py").write_text("x = 2\n")
        provenance.code.cache_clear()
        assert provenance.code("tamis_probe.top") != before
    finally:
        provenance.code.cache_clear()
        for name in [name for name in sys.modules if name.startswith("tamis_probe")]:
            del sys.modules[name]


def test_a_ranker_s_code_is_none_of_the_retrieval_s() -> None:
    assert provenance.code("tamis_pipeline.rankers.deepfm") != provenance.code(twotower.__name__)
    closure = provenance.code(twotower.__name__)
    assert closure == provenance.code(twotower.__name__, windows.__name__), "it imports windows"
    assert closure != provenance.code(twotower.__name__, "tamis_pipeline.rankers.deepfm")
