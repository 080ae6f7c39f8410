"""Which rows may be recommended: a bit a row, changed while requests hold the bits of before."""

from __future__ import annotations

import numpy as np

from tamis_server.domain.candidates import Bits, Mask, Rows


class AvailableRows:
    """``bits`` uint64[ceil(rows / 64)] are never written to: a change makes new ones."""

    def __init__(self, available: Mask) -> None:
        padded = np.zeros(-(-available.shape[0] // 64) * 64, np.bool_)
        padded[: available.shape[0]] = available
        self.bits: Bits = np.packbits(padded, bitorder="little").view(np.uint64)
        self.version = 0

    def set(self, rows: Rows, available: Mask) -> None:
        """Of a row given twice the last flag holds."""
        if not rows.shape[0]:
            return
        as_bytes = self.bits.view(np.uint8).copy()
        for row, flag in zip(rows.tolist(), available.tolist(), strict=True):
            if flag:
                as_bytes[row >> 3] |= 1 << (row & 7)
            else:
                as_bytes[row >> 3] &= ~(1 << (row & 7)) & 0xFF
        self.bits = as_bytes.view(np.uint64)
        self.version += 1

    def of(self, rows: Rows) -> Mask:
        words = self.bits[rows >> 6] >> (rows & 63).astype(np.uint64)
        return np.asarray(words & np.uint64(1), np.bool_)
