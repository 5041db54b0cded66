"""The rows of every optimiser step, as a pure function of seed, data and step.

The rows of an epoch are in stratified order by a hash of (seed, epoch, row id): every stretch holds each source, and
its short and long rows, in proportion. A row shared by two data sets appears at a similar point in both, and neither
files nor the number of workers matter. The budget counts target tokens only, so that data sets with different answer or
prompt lengths train on equal amounts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.splitmix import GOLDEN, finalise
from windtunnel.trainer.data.stratified import Strata, stratified_order


class Part(NamedTuple):
    """A row of a step and the number of its target tokens that count, which only the end of the budget reduces."""

    row: int
    targets: int


class RowSchedule:
    """Rows by step for a budget in target tokens.

    keys: uint64 [rows]; weights: target tokens per row; step_targets: target tokens per step, met to within one row.
    strata: those of the rows. Raises InputError if the budget needs more than `max_epochs` epochs, or if a row exceeds
    a step.
    """

    def __init__(
        self,
        keys: np.ndarray,
        weights: np.ndarray,
        strata: Strata,
        seed: int,
        step_targets: int,
        budget: int,
        max_epochs: float,
    ):
        self.keys, self.weights, self.strata, self.seed = keys, weights.astype(np.int64), strata, seed
        self.total = int(self.weights.sum())
        self.budget, self.step_targets = budget, step_targets
        _check(self.weights, self.total, budget, step_targets, max_epochs)
        # The remainder is added to the last step, because a step of a few tokens would be noisy.
        self.steps = max(1, budget // step_targets)
        self._epoch = lru_cache(maxsize=2)(self._order)

    def parts(self, step: int) -> list[Part]:
        """Return the rows whose first target token falls into the step, in training order."""
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
        """Return how often each row is used, completely or in part, int64 [rows]."""
        counts = np.full(len(self.keys), self.budget // self.total, np.int64)
        order, starts = self._epoch(self.budget // self.total)
        counts[order[: np.searchsorted(starts, self.budget % self.total)]] += 1
        return counts

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of an epoch in order, and the number of target tokens before each."""
        phases = mix(self.strata.keys, self.seed, epoch) / 2.0**64
        hashes = mix(self.keys, self.seed, epoch)
        order = stratified_order(hashes, self.strata.of, np.maximum(self.weights, 1), phases)
        weights = self.weights[order]
        return order, np.cumsum(weights) - weights


def mix(keys: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Return a 64-bit hash of (key, seed, epoch) per key: the finaliser of SplitMix64, applied twice."""
    with np.errstate(over="ignore"):
        salt = np.array([seed % 2**64], np.uint64) * GOLDEN + np.uint64(epoch)
        salted = keys ^ finalise(salt)
        return finalise(finalise(salted) + np.uint64(epoch))


def _check(weights: np.ndarray, total: int, budget: int, step_targets: int, max_epochs: float) -> None:
    if budget > max_epochs * total:
        raise InputError(
            f"a budget of {budget} target tokens needs {budget / total:.2f} epochs of the {total} available, and "
            f"{max_epochs:g} are allowed; lower the budget to {int(max_epochs * total)} or raise max_epochs"
        )
    largest = int(weights.max())
    if largest > step_targets:
        raise InputError(
            f"a row has {largest} target tokens and a step only {step_targets}; raise batch_tokens to {largest}"
        )
