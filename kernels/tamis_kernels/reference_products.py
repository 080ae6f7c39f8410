"""Inner products in NumPy, as all the reference kernels take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def inner_products(rows: Float32, queries: Float32) -> Float32:
    """float32[m, d] and float32[q, d] to float32[m, q].

    einsum rather than a BLAS product: equal rows then give equal sums wherever they stand. But
    einsum (NumPy 2.4) reads one number of an array that has none, and multiplies the empty sum
    by it: NaN, where that number is.
    """
    if not rows.shape[1]:
        return np.zeros((len(rows), len(queries)), np.float32)
    products: Float32 = np.einsum("md,qd->mq", rows, queries)
    return products
