"""Runs that stand apart from those of other seeds, such as a run that diverged and ended with finite scores.

trainer.stats.effects names them in the note of an effect; they stay in the interval.
"""

from __future__ import annotations

import numpy as np

from windtunnel.trainer.stats.paired import BITS_PER_BYTE, Panel

UNIFORM = 8.0  # bits per byte of a guess that knows nothing

# By number of seeds: how many times the median distance from the median the furthest seed may lie away. Simulated for
# normal differences, 200,000 tables each: 1 % of tables without an outlier have a seed beyond it, at most 2 %.
LIMITS = ((24, 7.5), (16, 8.5), (12, 9.5), (10, 10.5), (8, 12.5), (6, 16.0), (4, 28.0), (3, 163.0))


def outliers(differences: np.ndarray, resolution: float = 0.0) -> list[int]:
    """Return the seeds whose difference stands apart; `differences` is (seeds,), `resolution` that of a score."""
    limit = next((limit for seeds, limit in LIMITS if len(differences) >= seeds), None)
    if limit is None:
        return []
    distance = np.abs(differences - np.median(differences))
    return np.flatnonzero(distance > limit * max(float(np.median(distance)), resolution)).tolist()


def diverged(scores: Panel, mix: int) -> str:
    """Return the runs of a mix or of the baseline that are worse than a uniform guess of every byte; empty without."""
    if scores.metric.name != BITS_PER_BYTE.name:
        return ""
    values = scores.by_run()
    bad = [(k, s) for k in dict.fromkeys((mix, 0)) for s in np.flatnonzero(values[k] > UNIFORM).tolist()]
    names = [f"seed {scores.seeds[s]} of {scores.mixes[k]} ({values[k, s]:.4g} bits per byte)" for k, s in bad[:3]]
    return ", ".join(names) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")


def outlier_note(scores: Panel, mix: int, resolution: float = 0.0) -> str:
    """Return a phrase that names the runs of a mix, or of the baseline, that stand apart; empty without any."""
    values = scores.by_run()
    found = []
    for seed in outliers(values[mix] - values[0], resolution):
        far = {k: abs(values[k, seed] - np.median(values[k])) for k in (mix, 0)}
        k = max(far, key=lambda k: far[k])
        found.append(
            f"seed {scores.seeds[seed]} of {scores.mixes[k]} stands apart ({values[k, seed]:.4g}, the median is "
            f"{np.median(values[k]):.4g}) and counts all the same: see whether that run diverged"
        )
    return "; ".join(found)
