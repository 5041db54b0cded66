"""The number of seeds that an undecided effect needs, estimated from the current effect and its error.

trainer.stats.effects reports it with undecided verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from windtunnel.trainer.stats.interim_analyses import Look
from windtunnel.trainer.stats.intervals import Interval, satterthwaite

POWER = 0.8  # probability of a decision if the effect equals its estimate
MOST = 1000  # seeds


def seeds_needed(
    i: Interval,
    degrees: float,
    seeds: int,
    alpha: float,
    tests: int = 1,
    margin: float | None = None,
    looks: Sequence[Look] = (),
) -> tuple[int | None, str]:
    """Return the total number of seeds needed and an empty note, or None and the reason why seeds are not enough.

    A significant difference requires |effect|, equivalence requires margin - |effect|, to be at least
    t(1 - alpha / tests / 2) + t(POWER) standard errors. The error over seeds decreases with their number, that of
    documents (with `degrees` of freedom) does not. With `looks`, only their numbers of seeds are considered, each at
    its own level. The estimate is rough for few seeds.
    """
    from scipy import special

    if i.seed_error == 0 and i.document_error == 0:
        return None, "the scores are equal to the last digit: these are the same runs"
    ahead = [look for look in looks if look.seeds > seeds]
    choices = np.array([look.seeds for look in ahead]) if looks else np.arange(seeds + 1, MOST + 1)
    levels = np.array([look.level for look in ahead]) if looks else np.full(len(choices), alpha)
    levels = levels / tests
    own = i.seed_error**2 * seeds / np.maximum(choices, 1)
    shared = np.full_like(own, i.document_error**2)
    nu = np.maximum(choices - 1.0, satterthwaite(own + shared, [(own, choices - 1.0), (shared, degrees)]))
    reach = (special.stdtrit(nu, 1 - levels / 2) + special.stdtrit(nu, POWER)) * np.sqrt(own + shared)
    size = max(abs(i.effect), (margin or 0.0) - abs(i.effect))
    enough = choices[reach <= size]
    if len(enough):
        return int(enough[0]), ""
    if i.document_error * (special.ndtri(1 - alpha / tests / 2) + special.ndtri(POWER)) > size:
        return None, "more seeds alone would not do: the held-out set has too few documents for so small a difference"
    if looks:
        return None, "the declared looks would probably not tell so small a difference"
    return None, f"not even {MOST} seeds would probably tell so small a difference"
