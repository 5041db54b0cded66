"""The finaliser of SplitMix64 (Steele, Lea and Flood 2014), which orders pieces and rows by hash."""

from __future__ import annotations

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def finalise(x: np.ndarray) -> np.ndarray:
    """Return well-mixed u64 values, one per value of `x`."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
