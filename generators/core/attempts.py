"""Accounting of attempts: each one that a session starts must end in exactly one kept, dropped or failed outcome."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import numpy as np

from windtunnel.generators.core.origin import Record
from windtunnel.generators.core.outcome import Kept, Outcome
from windtunnel.schemas.errors import WindtunnelError

TAKEN, REPORTED = 1, 2


class Attempts:
    """Counts attempts where they start, apart from the writer, which counts outcomes where they end.

    Detected, with an error that names the kind: an outcome that a chain returned and the kind did not yield, an
    outcome yielded twice or replaced twice, a chain that was started and abandoned, and a record of
    `Session.records` that no outcome names as a parent. Not detected: a candidate that never became an outcome (an
    entry of a list that the kind skipped), and two outcomes built independently for one candidate. Memory: one byte
    per row of an input whose records are attempts.
    """

    def __init__(self) -> None:
        self.started = 0
        self.kept = 0
        self.abandoned = 0
        self._pending: set[Outcome] = set()
        self._settled: WeakSet[Outcome] = WeakSet()
        self._records: dict[str, np.ndarray] = {}

    def take(self, role: str, record: Record, total: int) -> Record:
        """Start the attempt at a record of the input `role`, which has `total` rows."""
        record.role = role
        self._records.setdefault(role, np.zeros(total, np.uint8))[record.number] |= TAKEN
        return record

    def returned(self, result: Any) -> None:
        """Register the outcomes in what a chain returned, which the kind has to yield."""
        for outcome in _outcomes(result):
            self.started += 1
            self._pending.add(outcome)

    def settle(self, kind: str, outcome: Outcome) -> None:
        """Register an outcome that the kind yielded. Raises WindtunnelError when its attempt has already ended."""
        attempt: Any = outcome
        while attempt.replaces is not None:
            attempt = attempt.replaces
        if attempt in self._settled:
            raise WindtunnelError(f"generator {kind!r} reports one attempt twice: {_brief(outcome)}")
        if attempt in self._pending:
            self._pending.remove(attempt)
        else:
            self.started += 1
        self._settled.add(attempt)
        self.kept += isinstance(outcome, Kept)
        for parent in outcome.parents or ():
            if isinstance(parent, Record) and parent.role in self._records:
                self._records[parent.role][parent.number] |= REPORTED

    def check(self, kind: str) -> None:
        """Raise WindtunnelError when an attempt has no outcome; called when the kind has yielded its last one."""
        problems = []
        if self._pending:
            problems.append(f"{len(self._pending)} outcomes of chains, such as {_brief(next(iter(self._pending)))}")
        if self.abandoned:
            problems.append(f"{self.abandoned} chains that were started and not run to their end")
        for role, marks in self._records.items():
            if (lost := np.flatnonzero(marks == TAKEN)).size:
                problems.append(f"{lost.size} records of the input {role!r}, such as row {lost[0]}")
        if problems:
            raise WindtunnelError(
                f"generator {kind!r} does not report {' and '.join(problems)}: it must yield Kept, Dropped or Failed "
                "for every attempt"
            )


def _outcomes(result: Any) -> Iterator[Outcome]:
    if isinstance(result, Outcome):
        yield result
    elif isinstance(result, (list, tuple)):
        for part in result:
            yield from _outcomes(part)


def _brief(outcome: Outcome) -> str:
    return f"{type(outcome).__name__}({str(dict(outcome.lineage))[:200]})"
