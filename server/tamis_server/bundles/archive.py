"""The arrays of an .npz file where they lie: mapped, so that each is copied at most once."""

from __future__ import annotations

import mmap
import struct
import threading
import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

_LOCAL_HEADER = 30  # bytes, behind which come the name and the extra field (APPNOTE.TXT, 4.3.7)
_LENGTHS = struct.Struct("<26xHH")
# NumPy parses a header as Python, which two threads at once may not before CPython 3.11.8 and
# 3.12.2 (python/cpython#106905: SystemError)
READING_HEADER = threading.Lock()


def mapped(path: Path) -> dict[str, npt.NDArray[Any]]:
    """By name, as ``numpy.savez`` wrote them; read only, and not aligned.

    The sums that the file has of its members are not checked. Raises OSError, and ValueError where
    it is no such file.
    """
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise ValueError(str(error)) from None
    return {member.filename.removesuffix(".npy"): _array(memory, member) for member in members}


def _array(memory: mmap.mmap, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    header = memory[member.header_offset : member.header_offset + _LOCAL_HEADER]
    if len(header) < _LOCAL_HEADER:
        raise ValueError(f"{member.filename} is cut off")
    start = member.header_offset + _LOCAL_HEADER + sum(_LENGTHS.unpack(header))
    memory.seek(start)
    version = np.lib.format.read_magic(memory)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"{member.filename} is written in version {version}")
    try:
        with READING_HEADER:
            shape, is_fortran, dtype = read_header(memory)
    except (SyntaxError, TokenError) as error:  # it is read as Python
        raise ValueError(f"{member.filename} has a header that says nothing: {error}") from None
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds objects")
    count = int(np.prod(shape, dtype=np.int64))
    if memory.tell() - start + count * dtype.itemsize != member.file_size:
        raise ValueError(f"{member.filename} is not as long as its shape says")
    flat = np.frombuffer(memory, dtype, count, memory.tell())
    return flat.reshape(shape, order="F" if is_fortran else "C")
