"""The stateless sampler of pretraining windows from a mix of tokenized corpora.

It computes batch k of a run from (mix, seed, k) alone, so that runs resume without replay and runs with the same seed
share as many draws as possible (common random numbers): their difference is then due to the data.

- A mix comes down to the streams of its corpora's sources (trainer.data.domain), each with its share of the windows.
  The k-th draw of a stream is its k-th window of context + 1 tokens, a function of seed, stream and k. Windows overlap
  by one token, so that each token but the first is predicted once per epoch.
- The order of streams depends on names and shares alone. The k-th of a stream's n windows is due at (k + phase) / n,
  where the phase is a hash of the source's name, and windows are ordered by due time. The share of a stream is
  therefore right to one window at every moment.
- Neither which corpora the sources are declared in nor the names and order of shards matter: five sources as one corpus
  and as five corpora with the same shares give the same batches.

What it does to the spread over seeds is measured by tests/benchmarks/sampling.py.

Memory: 10 bytes per window, beside that of the domains.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from windtunnel.schemas.artifact import Artifact
from windtunnel.trainer.data.domain import Domain, Stream
from windtunnel.trainer.data.stratified import digest


@dataclass(frozen=True)
class Share:
    """A corpus of a mix, its share of the tokens, and those of its sources, by default in proportion to their sizes."""

    name: str
    weight: float
    sources: Mapping[str, float] | None = None


def read_mix(artifact: Artifact) -> tuple[list[Share], int]:
    """Return the domains and the token budget of a mix artifact."""
    mix = json.loads((artifact.path / "mix.json").read_text(encoding="utf-8"))
    return [Share(d["name"], d["weight"], d.get("sources")) for d in mix["domains"]], mix["token_budget"]


class Windows:
    """The windows of a run: their order over streams, and the tokens of each."""

    def __init__(self, shares: Sequence[Share], domains: Mapping[str, Domain], context: int, number: int) -> None:
        self.context, self.number = context, number
        self.streams: list[tuple[Domain, int]] = []  # domain, number of the stream in it
        counts: list[int] = []
        for share, windows in zip(shares, apportion(np.array([s.weight for s in shares]), number), strict=True):
            domain = domains[share.name]
            self.streams += [(domain, k) for k in range(len(domain.streams))]
            counts += apportion(_weights(domain, share.sources), int(windows)).tolist()
        self.counts = np.array(counts)
        phases = [_phase(domain.streams[k]) for domain, k in self.streams]
        due = np.concatenate([(np.arange(n) + phase) / n for n, phase in zip(counts, phases, strict=True) if n])
        owner = np.repeat(np.arange(len(counts), dtype=np.uint16), self.counts)
        order = np.argsort(due, kind="stable")
        draw = np.concatenate([np.arange(n) for n in counts])
        self._owner, self._draw = owner[order], draw[order]

    def where(self, window: int) -> tuple[Stream, int, int]:
        """Return (stream, start, stop) of a window, in tokens of the stream."""
        start = int(self._draw[window]) * self.context
        domain, number = self.streams[self._owner[window]]
        return domain.streams[number], start, start + self.context + 1

    def tokens(self, first: int, last: int) -> np.ndarray:
        """Return windows [first, last) as int64 [last - first, context + 1]."""
        rows = [self.where(window) for window in range(first, last)]
        return np.stack([stream.read(start, stop) for stream, start, stop in rows])

    def documents(self, first: int, last: int) -> dict[Domain, list[int]]:
        """Return the numbers of the documents in windows [first, last) by domain, each once."""
        numbers: dict[Domain, dict[int, None]] = {}
        for stream, start, stop in map(self.where, range(first, last)):
            numbers.setdefault(stream.domain, {}).update(dict.fromkeys(stream.documents(start, stop)))
        return {domain: list(found) for domain, found in numbers.items()}

    def realised(self) -> list[dict[str, Any]]:
        """Return tokens, bytes, documents and epochs by domain and source, over all predicted tokens."""
        drawn: dict[Domain, dict[int, int]] = {}
        for (domain, number), windows in zip(self.streams, self.counts.tolist(), strict=True):
            if windows:
                drawn.setdefault(domain, {})[number] = windows * self.context
        return [row for domain, streams in drawn.items() for row in domain.realised(streams)]


class DocumentIds(Sequence[str]):
    """The ids of the documents in windows [first, last); only their number needs no look into the sidecar."""

    def __init__(self, windows: Windows, first: int, last: int) -> None:
        self._windows, self._range = windows, (first, last)

    def _ids(self) -> list[str]:
        numbers = self._windows.documents(*self._range)
        return [name for domain, found in numbers.items() for name in domain.ids(found)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids())  # one look, where the iterator of Sequence would take one for each id

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._ids()[index]

    def __len__(self) -> int:
        return sum(map(len, self._windows.documents(*self._range).values()))


def apportion(weights: np.ndarray, number: int) -> np.ndarray:
    """Return integers proportional to `weights` that sum to `number`, by largest remainders; ties go to the first."""
    exact = weights / weights.sum() * number
    counts = np.floor(exact + 1e-9).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: number - int(counts.sum())]] += 1
    return counts


def _weights(domain: Domain, sources: Mapping[str, float] | None) -> np.ndarray:
    """Return the shares of a domain's streams, up to a common factor."""
    if sources is None:
        return np.array([stream.tokens for stream in domain.streams], float)
    return np.array([sum(sources.get(name, 0.0) for name in stream.sources) for stream in domain.streams])


def _phase(stream: Stream) -> float:
    """Return when in its interval a window of the stream is due, from 0 to 1; it differs between sources."""
    return digest(stream.name) / 2**64
