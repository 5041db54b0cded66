"""The outcomes of a comparison, in one place: what an interval and its p values allow to be said.

With a margin, differences of at most the margin do not matter:

    better, worse   the difference is beyond the margin: the hypothesis |difference| <= margin is rejected
    equivalent      the interval lies within the margin, whether or not it includes zero
    direction       zero is excluded and the margin is not: better or worse, perhaps by less than matters
    undecided       none of these

Without a margin, `better` and `worse` reject a difference of zero, and there is no `equivalent` and no `direction`.
Rejections are those of p values after Holm's correction over the mixes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from windtunnel.schemas.results import Outcome
from windtunnel.trainer.stats.intervals import Interval


def outcome_of(
    i: Interval, p_holm: float, p_margin: float, alpha: float, margin: float | None, direction: str
) -> Outcome:
    """Return the outcome; the p values are corrected, `direction` says whether lower or higher values are better."""
    if margin and -margin <= i.low and i.high <= margin:
        return "equivalent"
    if p_margin < alpha:
        return "better" if (i.effect < 0) == (direction == "lower") else "worse"
    return "direction" if p_holm < alpha else "undecided"


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected by Holm's step-down procedure (1979), in the same order."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected.tolist()
