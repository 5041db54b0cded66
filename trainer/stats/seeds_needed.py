"""What an undecided effect needs: seeds, with their range, documents, and the smallest effect that was in sight.

trainer.stats.effects reports it. All figures are plans from the present effect and errors, for a decision with the
probability POWER; with few seeds the spread is known so badly that the range of the seeds matters more than the number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from windtunnel.trainer.stats.interim_analyses import Level
from windtunnel.trainer.stats.intervals import Errors, reach

POWER = 0.8  # probability of a decision if effect and errors are as estimated
MOST = 1000  # seeds
MOST_TIMES = 1e4  # as many documents as there are
STEPS = 15  # quantiles of the variance, and of the effect, that the range is computed from
RANGE = (0.1, 0.9)


@dataclass(frozen=True)
class Needed:
    """Seeds in total, their 10 to 90 % range (None: more than MOST), documents in total, and the smallest effect."""

    seeds: int | None
    low: int | None
    high: int | None
    documents: int | None
    visible: float | None
    note: str = ""


def needed(
    errors: Errors, level: Level, documents: int, tests: int = 1, margin: float | None = None, spent: bool = True
) -> Needed:
    """Return what an undecided effect needs; `errors` are those of one effect, `tests` the number of mixes.

    Without a margin an effect is decided when zero is excluded, with one when it lies beyond or within the margin. With
    declared looks only their numbers of seeds are considered, each at its own level. Otherwise this is a look that was
    not declared, and a later one has the level that it leaves (`spent`; False if this look decided nothing).
    """
    seeds, effect, limit = errors.seeds, float(errors.effect), margin or 0.0
    visible = limit + float(_needed_reach(errors, level.alpha / tests))
    ahead = [look for look in level.plan if look.seeds > seeds or look.seeds == level.waiting]
    choices = np.array([look.seeds for look in ahead]) if level.plan else _choices(seeds)
    later = level.next_alpha if spent else level.alpha
    levels = np.array([look.level for look in ahead]) if level.plan else np.full(len(choices), later)
    size = abs(abs(effect) - limit)
    own = float(errors.seed) ** 2 * seeds
    enough = _first(_needed_reach(_with(errors, own, choices), levels / tests), choices, size)
    low, high = _range(errors, choices, levels / tests, limit)
    if math.isfinite(enough):
        return Needed(int(enough), low, high, None, visible)
    if not level.plan and _documents_limit(errors, later / tests, size):
        total, note = _documents(errors, choices, levels / tests, size, documents)
        return Needed(None, low, high, total, visible, note)
    if level.plan:
        note = "the declared looks would probably not decide so small a difference"
    elif limit and size < 0.25 * limit:
        note = f"not even {MOST} seeds would probably decide: the difference is about as large as the margin"
    else:
        note = f"not even {MOST} seeds would probably decide so small a difference"
    return Needed(None, low, high, None, visible, note)


def _choices(seeds: int) -> np.ndarray:
    """Return the numbers of seeds to try: every one up to 100, then in steps of about 2 %."""
    tried = np.r_[np.arange(2, 100), np.geomspace(100, MOST, 120).round().astype(int)]
    return tried[tried > seeds]


def _needed_reach(errors: Errors, alpha: Any) -> Any:
    """Return the size of an effect that is found at a level with the probability POWER."""
    return reach(errors, alpha) + reach(errors, 2 * (1 - POWER))


def _with(errors: Errors, own: Any, choices: np.ndarray) -> Errors:
    """Return the errors at other numbers of seeds; `own` is the variance over seeds."""
    seed = np.sqrt(np.asarray(own)[..., None] / np.maximum(choices, 1)) if np.ndim(own) else np.sqrt(own / choices)
    return replace(errors, seed=seed, document=np.full(np.shape(seed), errors.document), seeds=choices)


def _first(reaches: np.ndarray, choices: np.ndarray, size: Any) -> Any:
    """Return the first number of seeds whose reach is within `size`, or infinity; over the last axis."""
    within = reaches <= np.asarray(size)[..., None] if np.ndim(size) else reaches <= size
    if not len(choices):
        return np.full(np.shape(size), math.inf)
    return np.where(within.any(axis=-1), choices[within.argmax(axis=-1)], math.inf)


def _range(errors: Errors, choices: np.ndarray, levels: np.ndarray, limit: float) -> tuple[int | None, int | None]:
    """Return the 10 and 90 % quantiles of the seeds needed, given what is known of the variance and the effect.

    The variance is (S - 1) s^2 / chi^2 with S - 1 degrees of freedom, the effect normal about the estimate.
    """
    from scipy import special

    at = (np.arange(STEPS) + 0.5) / STEPS
    free = errors.seeds - 1
    own = float(errors.seed) ** 2 * errors.seeds * free / special.chdtri(free, at)
    spread = np.sqrt(own / errors.seeds + float(errors.document) ** 2)
    effect = float(errors.effect) + spread[:, None] * special.ndtri(at)
    reaches = _needed_reach(_with(errors, own, choices), levels)
    size = np.abs(np.abs(effect) - limit)
    found = np.sort(np.concatenate([_first(reaches[k], choices, size[k]) for k in range(STEPS)]))
    low, high = (found[math.ceil(q * len(found)) - 1] for q in RANGE)
    return (int(low) if math.isfinite(low) else None), (int(high) if math.isfinite(high) else None)


def _documents_limit(errors: Errors, alpha: float, size: float) -> bool:
    return float(errors.document) * _normal(alpha) > size


def _normal(alpha: float) -> float:
    from scipy import special

    return -float(special.ndtri(alpha / 2)) + float(special.ndtri(POWER))


def _documents(
    errors: Errors, choices: np.ndarray, levels: np.ndarray, size: float, documents: int
) -> tuple[int | None, str]:
    """Return how many documents leave half of the allowed variance to the seeds, and a phrase with both numbers."""
    few = "more seeds alone would not do: the held-out set has too few documents for so small a difference"
    factor = 2 * (float(errors.document) * _normal(float(levels[0])) / size) ** 2 if size else math.inf
    if not factor < MOST_TIMES:
        return None, few
    more = replace(errors, document=float(errors.document) / math.sqrt(factor), degrees=errors.degrees * factor)
    seeds = _first(_needed_reach(_with(more, float(errors.seed) ** 2 * errors.seeds, choices), levels), choices, size)
    total = math.ceil(documents * factor)
    unit = 10 ** max(0, len(str(total)) - 2)
    total = math.ceil(total / unit) * unit  # two digits: it is a plan
    seeds_too = f"{int(seeds)} seeds" if math.isfinite(seeds) else f"more than {MOST:,} seeds"
    return total, f"{few} ({documents:,}); it would take about {total:,} documents and {seeds_too}"
