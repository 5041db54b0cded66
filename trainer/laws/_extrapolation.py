"""Folds that a law must extrapolate to: corners of the mixes that were run, and the lowest losses.

Left-out runs that lie among others only tell which form interpolates. These folds tell which one ranks what lies
outside, as the mixes that one wants to know of do.
"""

from __future__ import annotations

import numpy as np

CORNERS = 5
LOWEST = 0.2  # share of the runs
FEWEST = 15  # below this number of runs a fold without a corner leaves too few


def extrapolating(weights: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
    """Return masks [runs] of the runs that each fold leaves out: a partition into corners, then the lowest targets.

    Corners are the runs nearest, by the Hellinger distance, to each of CORNERS mixes that lie far apart (farthest-point
    sampling, Gonzalez 1985); no corner holds more than twice its even share. With few runs there are no folds.
    """
    n = len(target)
    if n < FEWEST:
        return []
    roots = np.sqrt(weights)
    chosen = [int(np.argmax(np.square(roots - roots.mean(axis=0)).sum(axis=1)))]
    distance = np.square(roots - roots[chosen[0]]).sum(axis=1)[:, None]
    while len(chosen) < CORNERS:
        chosen.append(int(np.argmax(distance.min(axis=1))))
        distance = np.column_stack([distance, np.square(roots - roots[chosen[-1]]).sum(axis=1)])
    corner = np.empty(n, int)
    room = np.full(CORNERS, -(-2 * n // CORNERS))
    for run in np.argsort(distance.min(axis=1), kind="stable"):
        corner[run] = next(c for c in np.argsort(distance[run], kind="stable") if room[c])
        room[corner[run]] -= 1
    lowest = np.zeros(n, bool)
    lowest[np.argsort(target, kind="stable")[: max(3, round(LOWEST * n))]] = True
    return [mask for mask in (*(corner == c for c in range(CORNERS)), lowest) if mask.any()]


def spread(n: int, folds: int) -> list[np.ndarray]:
    """Return masks [runs] of folds drawn at random, the same ones each time."""
    fold = np.random.default_rng(0).permutation(n) % folds
    return [fold == k for k in range(min(folds, n))]
