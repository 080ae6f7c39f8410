"""The mean of parameters over their latest steps, which a model is measured and kept by.

A single step's parameters are where the last batches pushed them; the mean is nearer to where they
all would (Polyak, Juditsky, SIAM J. Control Optim. 1992). Older steps fade, as learning goes on.
"""

from __future__ import annotations


def newest(step: int, span: int) -> float:
    """What the parameters after ``step``, from 0, count in the mean: all alike during the first
    ``span`` steps, then ``1 / span``. For ``optax.incremental_update``."""
    return 1 / min(step + 1, span)
