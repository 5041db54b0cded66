"""What makes a mixing law less than it seems: too few mixes, runs that stand apart, errors no smaller than the spread.

trainer.stats.law shows the phrases with every fit, prediction and proposal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from windtunnel.schemas.errors import InputError

APART = 20.0  # times the median error of a left-out run


def cautions(
    target: np.ndarray, left_out: np.ndarray, weights: np.ndarray, coordinates: int, what: str, rank: float
) -> list[str]:
    """Return phrases for people, most serious first; empty where there is nothing to say.

    `target` and its prediction without the run, `left_out`, are (mixes,); `weights` is (mixes, domains); `coordinates`
    is their number, `what` their name; `rank` is the rank correlation of `left_out` with the target.
    """
    if not np.ptp(target):
        return ["every mix has the same target: the law predicts that value"]
    found = []
    errors = np.abs(target - left_out)
    far = np.flatnonzero(errors > APART * max(float(np.median(errors)), 1e-12))
    if len(far):
        worst = int(far[np.argmax(errors[far])])
        found.append(
            f"the mix with target {target[worst]:.6g} is missed by {errors[worst]:.3g}, the median mix by "
            f"{np.median(errors):.3g}: see whether that run diverged, since one such run moves the law"
        )
    if rank <= 0 or float(np.square(errors).mean()) >= float(np.var(target)) * len(target) / (len(target) - 1):
        found.append(
            "left-out mixes are predicted no better than by the mean of all: the law has learned nothing to predict or "
            "propose by"
        )
    if len(target) <= coordinates:
        found.append(
            f"{len(target)} different mixes for {coordinates} {what}: the runs alone do not determine a law, priors "
            f"that shrink the effects of {what} complete it; run more mixes than {what}"
        )
    if alone := _alone(weights):
        found.append(
            f"{alone} mixes are almost one domain alone: what domains do together is hardly seen, and intervals of "
            "mixes far from the runs do not hold"
        )
    return found


def check_total(total: float, of_runs: float, origin: str) -> None:
    """Raise InputError where the weights of mixes sum to something near that of the runs, and not the same, to 2 %.

    A sum that is twice as large or more, or half as large or less, is another unit (percent, tokens), which is divided
    out. One in between has lost or gained a domain, and dividing by it would give the others its share.
    """
    if 0.5 < total / of_runs < 2 and abs(total - of_runs) > 0.02 * of_runs:
        raise InputError(
            f"{origin}: the weights of most rows sum to {total:.4g}, those of the runs to {of_runs:.4g}: name all "
            "domains of every mix, or give weights that sum to one"
        )


def sums_alike(sums: np.ndarray) -> int | None:
    """Return the first row whose weights do not sum like those of the others, to 2 %; None where all do."""
    usual = float(np.median(sums))
    odd = np.flatnonzero(np.abs(sums - usual) > 0.02 * usual)
    return int(odd[0]) if len(odd) else None


def _alone(weights: np.ndarray, most: float = 0.95, share: float = 0.5) -> int:
    """Return the number of mixes with one domain above `most`, if they are more than a `share` of all; else 0."""
    count = int((weights.max(axis=1) > most).sum())
    return count if count > share * len(weights) else 0


def joined(phrases: Sequence[str]) -> str | None:
    """Return phrases as one, None without any."""
    return "; ".join(phrases) or None
