"""A run of one kind: its client, its inputs, its random streams, and the driver that keeps many chains in flight."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from blake3 import blake3

from generators.completion import Completion, Request
from generators.generator import Ask, Chain, Outcome
from generators.material import Table
from schemas.artifact import canonical_json

SEED_BITS = 31  # servers take a signed 32-bit or 64-bit seed


class Answers(Protocol):
    """The part of a client that a session needs."""

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion per request, in order."""
        ...


@dataclass(frozen=True)
class Share:
    """Which part of the rows a shard makes: shard `rank` of `shards`."""

    rank: int = 0
    shards: int = 1

    def of(self, total: int) -> range:
        """Return this shard's indices of `total` rows: contiguous, sizes differing by one at most."""
        size, rest = divmod(total, self.shards)
        start = self.rank * size + min(self.rank, rest)
        return range(start, start + size + (self.rank < rest))


@dataclass
class _Running:
    chain: Chain
    asks: Sequence[Ask] = ()
    outcomes: list[Outcome] | None = None


@dataclass
class Session:
    """What a kind has to work with. `window` is how many chains run at once; it changes nothing but the speed."""

    kind: str
    seed: int
    client: Answers
    inputs: Mapping[str, Table] = field(default_factory=dict)
    share: Share = Share()
    window: int = 64
    asked: Counter[str] = field(default_factory=Counter)  # requests by purpose
    tokens: Counter[str] = field(default_factory=Counter)  # prompt and completion tokens
    journal: Counter[str] = field(default_factory=Counter)  # facts that a kind counts for the report

    def number(self, *parts: Any) -> int:
        """Return a number of 31 bits that depends on the recipe's seed, the kind and `parts`, and on nothing else."""
        text = canonical_json([self.seed, self.kind, *parts])
        return int.from_bytes(blake3(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> (32 - SEED_BITS)

    def random(self, *parts: Any) -> random.Random:
        """Return a random stream of its own for `parts`."""
        return random.Random(self.number(*parts))

    def ask(self, purpose: str, index: int, text: str | Sequence[Mapping[str, str]], **params: Any) -> Ask:
        """Return a question to a model: a string is completed as it is, messages go through the chat template.

        The seed sent is derived from (recipe seed, kind, row index, purpose).
        """
        params.setdefault("seed", self.number("request", index, purpose))
        if isinstance(text, str):
            return Ask(purpose, Request(prompt=text, **params))
        return Ask(purpose, Request(messages=tuple(text), **params))

    def send(self, asks: Sequence[Ask]) -> list[Completion]:
        """Return the answers, in order, and keep the books."""
        completions = self.answer(asks)
        for ask, completion in zip(asks, completions, strict=True):
            self.asked[ask.purpose] += 1
            self.tokens["prompt"] += completion.prompt_tokens
            self.tokens["completion"] += completion.completion_tokens
        return completions

    def answer(self, asks: Sequence[Ask]) -> list[Completion]:
        """Return what the client answers."""
        return self.client.complete([ask.request for ask in asks])

    def drive(
        self, chains: Iterable[Chain], wanted: Callable[[], int] | None = None, window: int | None = None
    ) -> Iterator[list[Outcome]]:
        """Run the chains and yield the outcomes of each, in the order of the chains.

        A chain is started only when fewer than `window` chains are undecided (default: the session's), so what chain k
        can know of earlier results is the results up to k - window, whatever the timing. No more chains are
        started than `wanted()` says are still wanted, so none is started in vain.
        """
        waiting = iter(chains)
        running: deque[_Running] = deque()
        limit = window or self.window
        exhausted = False
        while True:
            while not exhausted and len(running) < min(limit, wanted() if wanted else limit):
                chain = next(waiting, None)
                if chain is None:
                    exhausted = True
                else:
                    running.append(_resume(_Running(chain), None))
            if not running:
                return
            if running[0].outcomes is not None:
                yield running.popleft().outcomes or []
                continue
            self._round([slot for slot in running if slot.outcomes is None])

    def _round(self, slots: list[_Running]) -> None:
        """Send all that the chains have to ask, and hand the answers back."""
        answers = iter(self.send([ask for slot in slots for ask in slot.asks]))
        for slot in slots:
            _resume(slot, [next(answers) for _ in slot.asks])


def _resume(slot: _Running, answers: list[Completion] | None) -> _Running:
    try:
        slot.asks = next(slot.chain) if answers is None else slot.chain.send(answers)
    except StopIteration as stop:
        slot.asks, slot.outcomes = (), stop.value or []
    return slot
