"""Which rows every optimiser step trains on, as a pure function of seed, data and step.

Rows of an epoch stand in the order of a hash of (seed, epoch, row id): a row that two data sets share comes at like
places in both, and neither its file nor the number of workers matters. The budget counts learnt tokens and nothing
else, so that data sets of short and of long answers, or of long and short prompts, train on equal amounts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from windtunnel.schemas.errors import InputError


class Part(NamedTuple):
    """A row of a step; `targets` is how many of its learnt tokens count (fewer than all only where the budget ends)."""

    row: int
    targets: int


class RowSchedule:
    """Rows by step for a budget in learnt tokens.

    keys: uint64 [rows]; weights: learnt tokens by row; step_targets: learnt tokens of one step, met to within a row.
    Raises InputError when the budget needs more epochs than `max_epochs`, or a row is larger than a step.
    """

    def __init__(
        self, keys: np.ndarray, weights: np.ndarray, seed: int, step_targets: int, budget: int, max_epochs: float
    ):
        self.keys, self.weights, self.seed = keys, weights.astype(np.int64), seed
        self.total = int(self.weights.sum())
        self.budget, self.step_targets = budget, step_targets
        _check(self.weights, self.total, budget, step_targets, max_epochs)
        # The rest of the division goes to the last step: a step of a few tokens would be a step of noise.
        self.steps = max(1, budget // step_targets)
        self._epoch = lru_cache(maxsize=2)(self._order)

    def parts(self, step: int) -> list[Part]:
        """Return the rows whose first learnt token falls into the step, in training order."""
        begin = step * self.step_targets
        end = self.budget if step == self.steps - 1 else begin + self.step_targets
        out: list[Part] = []
        for epoch in range(begin // self.total, (end - 1) // self.total + 1):
            order, starts = self._epoch(epoch)
            base = epoch * self.total
            first, last = np.searchsorted(starts, [begin - base, end - base])
            for row, start in zip(order[first:last].tolist(), starts[first:last].tolist(), strict=True):
                out.append(Part(row, min(int(self.weights[row]), self.budget - base - start)))
        return out

    def uses(self) -> np.ndarray:
        """Return how often each row is trained on, whole or in part, int64 [rows]."""
        counts = np.full(len(self.keys), self.budget // self.total, np.int64)
        order, starts = self._epoch(self.budget // self.total)
        counts[order[: np.searchsorted(starts, self.budget % self.total)]] += 1
        return counts

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the epoch's rows in order, and the learnt tokens before each."""
        order = np.argsort(mix(self.keys, self.seed, epoch), kind="stable")
        weights = self.weights[order]
        return order, np.cumsum(weights) - weights


def mix(keys: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Return 64 well-mixed bits of (key, seed, epoch) per key: splitmix64's finaliser, applied twice."""
    with np.errstate(over="ignore"):
        salt = np.array([seed % 2**64], np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(epoch)
        salted = keys ^ _finish(salt)
        return _finish(_finish(salted) + np.uint64(epoch))


def _finish(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _check(weights: np.ndarray, total: int, budget: int, step_targets: int, max_epochs: float) -> None:
    if budget > max_epochs * total:
        raise InputError(
            f"a budget of {budget} learnt tokens needs {budget / total:.2f} epochs of the {total} there are, and "
            f"{max_epochs:g} are allowed; lower the budget to {int(max_epochs * total)} or raise max_epochs"
        )
    largest = int(weights.max())
    if largest > step_targets:
        raise InputError(
            f"a row has {largest} learnt tokens and a step only {step_targets}; raise batch_tokens to {largest}"
        )
