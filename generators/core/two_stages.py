"""Scheduler for kinds of two stages: requests for lists of candidates, and chains that turn candidates into rows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from windtunnel.generators.core.origin import Origin, Record
from windtunnel.generators.core.outcome import Chain, Dropped, Outcome
from windtunnel.generators.core.session import Session

WINDOW = 256  # chains that run at once: bounds the results that wait in memory
PRIOR_KEPT = 4  # counted as ended and kept before the first: one early loss must not double the work


@dataclass(frozen=True)
class Candidate:
    """An entry of a list that may become rows; `plan` holds what the request was about."""

    text: str
    lineage: dict[str, Any]
    parents: Sequence[Record | Origin]
    plan: dict[str, Any] = field(default_factory=dict)


class Candidates(NamedTuple):
    """The result of a request: candidates that are still to be judged, and entries that were lost."""

    entries: Sequence[Outcome | Candidate]


class TwoStages:
    """Runs requests and chains of candidates side by side, so that neither waits for the slowest of the other.

    `target` is the number of rows wanted, `bound` the most requests, `expected` the candidates accepted per request
    before the first answer, `lag` the most requests in flight. As many candidates are started as rows are missing,
    over the share kept so far. Results arrive in order, so the timing changes nothing.
    """

    stage: ClassVar[str]  # of a candidate, in its outcomes

    def __init__(self, session: Session, target: int, bound: int, expected: int, lag: float = math.inf) -> None:
        self.session, self.target, self.bound = session, target, bound
        self._expected, self._lag = expected, lag
        self._waiting: deque[Candidate] = deque()
        self._answered = self._started = self._ended = 0
        self.requests = self.accepted = self.kept = 0

    def request(self, number: int) -> Chain[Candidates]:
        """Ask for candidates."""
        raise NotImplementedError

    def judged(self, entries: Sequence[Outcome | Candidate]) -> Iterator[Outcome]:
        """Call `accept` for the candidates that pass, and yield the outcomes of the others."""
        raise NotImplementedError

    def develop(self, index: int, candidate: Candidate) -> Chain[Sequence[Outcome]]:
        """Make rows of accepted candidate `index`."""
        raise NotImplementedError

    def counted(self, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
        """Yield the outcomes of a candidate, with rows beyond the target as surplus, and add to `kept`."""
        raise NotImplementedError

    def patient(self) -> bool:
        """Return whether more requests are worth sending."""
        return True

    def accept(self, candidate: Candidate) -> None:
        """Let a candidate wait for its turn."""
        self.accepted += 1
        self._waiting.append(candidate)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield outcomes until there are enough rows or the requests are used up."""
        for result in self.session.drive(self._chains(), lambda: WINDOW if self._next() else 0, WINDOW):
            if isinstance(result, Candidates):
                yield from self.judged(result.entries)
                self._answered += 1
            else:
                yield from self.counted(result)
                self._ended += 1
        for each in self._waiting:
            yield Dropped("surplus", self.stage, each.text, each.lineage, parents=each.parents)

    def _next(self) -> Literal["develop", "request"] | None:
        """Return what to start next, if anything."""
        rate = (self.kept + PRIOR_KEPT) / (self._ended + PRIOR_KEPT)
        missing = math.ceil((self.target - self.kept) / rate) - (self._started - self._ended)
        if missing <= 0:
            return None
        if self._waiting:
            return "develop"
        in_flight = self.requests - self._answered
        if self.requests >= self.bound or in_flight >= self._lag or not self.patient():
            return None
        per_request = (self.accepted + self._expected) / (self._answered + 1)
        return "request" if in_flight * per_request < missing else None

    def _chains(self) -> Iterator[Chain[Candidates | Sequence[Outcome]]]:
        while (what := self._next()) is not None:
            if what == "develop":
                self._started += 1
                yield self.develop(self._started - 1, self._waiting.popleft())
            else:
                self.requests += 1
                yield self.request(self.requests - 1)
