"""Arrays of an .npz are read where they lie, and what is no such file is refused."""

from __future__ import annotations

import gc
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tamis_server.bundles.archive import mapped


def test_arrays_are_what_numpy_would_load(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "floats": rng.normal(size=(7, 3)).astype(np.float32),
        "columns": np.asfortranarray(rng.integers(0, 9, (4, 5))),
        "nothing": np.empty((0, 4), np.float32),
        "one": np.array(3.5),
        "words": np.array("pairing"),
    }
    np.savez(tmp_path / "some.npz", **arrays)
    found = mapped(tmp_path / "some.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert not found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)


def test_compressed_arrays_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "small.npz", zeros=np.zeros(1000))
    with pytest.raises(ValueError, match=r"zeros\.npy is compressed"):
        mapped(tmp_path / "small.npz")


def test_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", some=np.array([{}, None], object))
    with pytest.raises(ValueError, match=r"some\.npy holds objects"):
        mapped(tmp_path / "objects.npz")


def test_a_shape_that_the_member_does_not_hold_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", np.zeros((50, 2)))
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive:
        archive.writestr("a.npy", (tmp_path / "whole.npy").read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"a\.npy is not as long as its shape says"):
        mapped(tmp_path / "short.npz")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + b"\0" * 3])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011  whatever is said of it
        mapped(tmp_path / "other.npz")


def test_a_flipped_byte_gives_arrays_or_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    np.savez(path, a=np.arange(6.0).reshape(2, 3), b=np.arange(3))
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            mapped(path)
        except ValueError:
            refused += 1
    assert refused > 50


class Cycle:
    """What the collector finds, and whose end lets other threads run: again and again."""

    goes_on = True

    def __init__(self) -> None:
        self.own = self

    def __del__(self) -> None:
        for _ in range(100):
            pass
        if Cycle.goes_on:
            Cycle()


def test_many_threads_may_read_archives_at_once(tmp_path: Path) -> None:
    path = tmp_path / "many.npz"
    np.savez(path, **{f"array-{n}": np.arange(n) for n in range(20)})

    def read(_: int) -> int:
        Cycle()
        return len(mapped(path))

    usual, often = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(read, range(100)))
    finally:
        Cycle.goes_on = False
        sys.setswitchinterval(usual)
        gc.set_threshold(*often)
    assert found == [20] * 100
