"""The stateless sampler of pretraining windows from a mix of tokenized corpora.

It computes batch k of a run from (mix, seed, k) alone, so that runs resume without replay and runs with the same seed
share as many draws as possible (common random numbers): their difference is then due to the data.

- A mix comes down to the streams of its corpora's sources (trainer.data.domain), each with its share of the windows.
  The k-th draw of a stream is its k-th window of context + 1 tokens, a function of seed, stream and k. Windows overlap
  by one token, so that each token but the first is predicted once per epoch.
- The order of streams depends on names and shares alone. The k-th of a stream's n windows is due at (k + offset) / n,
  where the offset is a hash of the source's name, and windows are ordered by due time. The share of a stream is
  therefore right to one window at every moment.
- Phases follow one another: each has its own shares, constant or changing in a straight line, which are right to one
  window at every moment within it, and goes on drawing from the streams where the one before ended.
- Neither which corpora the sources are declared in nor the names and order of shards matter: five sources as one corpus
  and as five corpora with the same shares give the same batches.

What it does to the spread over seeds is measured by tests/benchmarks/sampling.py.

Memory: 10 bytes per window, beside that of the domains.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from windtunnel.schemas.artifact import Artifact
from windtunnel.trainer.data.domain import Domain, Order, Stream
from windtunnel.trainer.data.stratified import digest


class Stretch(NamedTuple):
    """What a corpus has of a phase: where the phase ends, as a share of the run, and its first and last share of it."""

    until: float
    first: float
    last: float


@dataclass(frozen=True)
class Share:
    """A corpus of a mix, its share of the tokens, and those of its sources, by default in proportion to their sizes.

    `course`: its shares phase by phase, in a mix with phases. `order`: the values that its documents are ordered by.
    """

    name: str
    weight: float
    sources: Mapping[str, float] | None = None
    course: tuple[Stretch, ...] = ()
    order: Order | None = None


def read_mix(artifact: Artifact) -> tuple[list[Share], int]:
    """Return the domains and the token budget of a mix artifact."""
    mix = json.loads((artifact.path / "mix.json").read_text(encoding="utf-8"))
    phases, order = mix.get("phases", []), mix.get("order")
    shares = []
    for domain in mix["domains"]:
        name = domain["name"]
        course = tuple(Stretch(p["until"], p["first"].get(name, 0.0), p["last"].get(name, 0.0)) for p in phases)
        by = None if order is None else Order(artifact.path / order_file(name), order["direction"] == "descending")
        shares.append(Share(name, domain["weight"], domain.get("sources"), course, by))
    return shares, mix["token_budget"]


def order_file(corpus: str) -> Path:
    """Return where in a mix artifact the values lie that a corpus's documents are ordered by."""
    return Path("order") / f"{corpus}.parquet"


class Windows:
    """The windows of a run: their order over streams, and the tokens of each."""

    def __init__(self, shares: Sequence[Share], domains: Mapping[str, Domain], context: int, number: int) -> None:
        self.context, self.number = context, number
        phases = _phases(shares, number)
        of_all = [domains[share.name] for share in shares]
        # [phases][corpora], windows by stream
        counts = [
            [apportion(_weights(d, s.sources), int(n)) for d, s, n in zip(of_all, shares, phase.windows, strict=True)]
            for phase in phases
        ]
        for k, share in enumerate(shares):
            total = np.sum([by_corpus[k] for by_corpus in counts], axis=0)
            if share.order is not None and total.any():
                drawn = total * context
                drawn[np.argmax(total)] += 1  # windows overlap by one token, and the last one ends with it
                of_all[k] = of_all[k].arranged(share.order, drawn.tolist())
                for by_corpus in counts:
                    by_corpus[k] = by_corpus[k].sum(keepdims=True)
        self.streams: list[tuple[Domain, int]] = [(d, k) for d in of_all for k in range(len(d.streams))]
        self.by_phase = np.array([np.concatenate(by_corpus) for by_corpus in counts])  # windows [phases, streams]
        self.counts = self.by_phase.sum(axis=0)
        self._owner, self._draw = self._order(phases, [len(d.streams) for d in of_all])

    def _order(self, phases: list[_Phase], streams: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the stream of each window, and which draw of the stream it is."""
        offsets = [_offset(domain.streams[k]) for domain, k in self.streams]
        owners, draws, before = [], [], np.zeros_like(self.counts)
        for phase, counts in zip(phases, self.by_phase, strict=True):
            ends = zip(counts.tolist(), offsets, *np.repeat(phase.ends, streams, axis=1), strict=True)
            due = [_moments((np.arange(n) + offset) / n, *shares) for n, offset, *shares in ends if n]
            order = np.argsort(np.concatenate([*due, np.empty(0)]), kind="stable")
            owners.append(np.repeat(np.arange(len(counts), dtype=np.uint16), counts)[order])
            draws.append(np.concatenate([np.arange(b, b + n) for b, n in zip(before, counts, strict=True)])[order])
            before = before + counts
        return np.concatenate(owners), np.concatenate(draws)

    def where(self, window: int) -> tuple[Stream, int, int]:
        """Return (stream, start, stop) of a window, in tokens of the stream."""
        start = int(self._draw[window]) * self.context
        domain, number = self.streams[self._owner[window]]
        return domain.streams[number], start, start + self.context + 1

    def tokens(self, first: int, last: int) -> np.ndarray:
        """Return windows [first, last) as int64 [last - first, context + 1]."""
        rows = [self.where(window) for window in range(first, last)]
        return np.stack([stream.read(start, stop) for stream, start, stop in rows])

    def separate(self, first: int, last: int, end_of_text: int) -> Separate:
        """Return windows [first, last) as parts of documents that do not see one another.

        The predicted tokens are those of `tokens`. The first token of a document is predicted from end-of-text, that of
        a later part of a document from the token before it.
        """
        shape = (last - first, self.context)
        ids, targets, parts = np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape, np.int32)
        for row, (stream, start, stop) in enumerate(map(self.where, range(first, last))):
            at = 0
            for number, (tokens, before) in enumerate(stream.parts(start + 1, stop)):
                end = at + len(tokens)
                targets[row, at:end], parts[row, at:end] = tokens, number
                ids[row, at] = end_of_text if before is None else before[0]
                ids[row, at + 1 : end] = tokens[:-1]
                at = end
        return Separate(ids, targets, parts)

    def documents(self, first: int, last: int) -> dict[Domain, list[int]]:
        """Return the numbers of the documents in windows [first, last) by domain, each once."""
        numbers: dict[Domain, dict[int, None]] = {}
        for stream, start, stop in map(self.where, range(first, last)):
            numbers.setdefault(stream.domain, {}).update(dict.fromkeys(stream.documents(start, stop)))
        return {domain: list(found) for domain, found in numbers.items()}

    def realised(self) -> list[dict[str, Any]]:
        """Return tokens, bytes, documents and epochs by domain and source, over all predicted tokens.

        In a mix with phases there is a row a phase, numbered from 1 in `phase`, domain and source.
        """
        rows, before = [], np.zeros_like(self.counts)
        for number, counts in enumerate(self.by_phase, start=1):
            drawn: dict[Domain, dict[int, tuple[int, int]]] = {}
            ends = (before + counts) * self.context
            for (domain, k), *span in zip(self.streams, (before * self.context).tolist(), ends.tolist(), strict=True):
                if span[1] > span[0]:
                    drawn.setdefault(domain, {})[k] = (span[0], span[1])
            found = [row for domain, spans in drawn.items() for row in domain.realised(spans)]
            rows += [{"phase": number, **row} for row in found] if len(self.by_phase) > 1 else found
            before = before + counts
        return rows


class Separate(NamedTuple):
    """Windows in which documents do not see one another, each [windows, context]."""

    ids: np.ndarray  # int64, what goes into the model
    targets: np.ndarray  # int64, the token that each position predicts
    parts: np.ndarray  # int32, number of the part of a document within its window


class _Phase(NamedTuple):
    windows: np.ndarray  # int64 [corpora]
    ends: np.ndarray  # first and last share of each corpus, [2, corpora]


def _phases(shares: Sequence[Share], number: int) -> list[_Phase]:
    """Return the phases of a run of `number` windows; a mix without phases is one."""
    courses = [share.course or (Stretch(1.0, share.weight, share.weight),) for share in shares]
    phases, before = [], 0
    for stretches in zip(*courses, strict=True):
        stop = round(stretches[0].until * number)
        ends = np.array([[s.first for s in stretches], [s.last for s in stretches]])
        phases.append(_Phase(apportion(ends.sum(axis=0) / 2, stop - before), ends))
        before = stop
    return phases


def _moments(drawn: np.ndarray, first: float, last: float) -> np.ndarray:
    """Return when, from 0 to 1, a corpus has given these shares of its windows of a phase.

    Its share of the phase goes from `first` to `last` in a straight line.
    """
    if first == last:
        return drawn
    return (first + last) * drawn / (first + np.sqrt(first**2 + (last**2 - first**2) * drawn))


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


def _offset(stream: Stream) -> float:
    """Return when in its interval a window of the stream is due, from 0 to 1; it differs between sources."""
    return digest(stream.name) / 2**64
