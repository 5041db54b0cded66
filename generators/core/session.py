"""A run of one kind: its client, its inputs, its random streams, and the driver that keeps many chains in flight."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, cast

from blake3 import blake3

from windtunnel.generators.client.completion import Completion, Request
from windtunnel.generators.core.generator import Ask, Chain, Result
from windtunnel.generators.core.material import Table
from windtunnel.schemas.artifact import canonical_json

SEED_BITS = 31  # servers take a signed 32-bit or 64-bit seed


class Answers(Protocol):
    """The part of a client that a session needs."""

    def submit(self, requests: Sequence[Request]) -> Future[list[Completion]]:
        """Start asking and return at once; the result is one completion per request, in order."""
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
class _Running(Generic[Result]):
    chain: Chain[Result]
    asks: Sequence[Ask] = ()
    done: bool = False
    result: Result | None = None


@dataclass
class Session:
    """What a kind has to work with. `window` is how many chains run at once; it changes nothing but the speed."""

    kind: str
    seed: int
    client: Answers | None  # None: a kind that asks no model
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

    def submit(self, asks: Sequence[Ask]) -> Future[list[Completion]]:
        """Send questions and return at once."""
        if self.client is None:
            raise RuntimeError(f"{self.kind} asks a model and names none in models()")
        return self.client.submit([ask.request for ask in asks])

    def drive(
        self, chains: Iterable[Chain[Result]], wanted: Callable[[], int] | None = None, window: int | None = None
    ) -> Iterator[Result]:
        """Run the chains and yield what each ends in, in the order of the chains.

        A chain is started only when fewer than `window` chains are undecided (default: the session's), so what chain k
        can know of earlier results is the results up to k - window, whatever the timing. No more chains are
        started than `wanted()` says are still wanted, so none is started in vain. A slow chain holds up the delivery
        of later ones, never their work.
        """
        waiting = iter(chains)
        running: deque[_Running[Result]] = deque()
        asked: dict[Future[list[Completion]], _Running[Result]] = {}
        limit = window or self.window
        exhausted = False
        while True:
            while not exhausted and len(running) < min(limit, wanted() if wanted else limit):
                chain = next(waiting, None)
                if chain is None:
                    exhausted = True
                else:
                    running.append(_Running(chain))
                    self._resume(running[-1], None, asked)
            if not running:
                return
            if running[0].done:
                yield cast(Result, running.popleft().result)
                continue
            wait(asked, return_when=FIRST_COMPLETED)
            for future in [future for future in asked if future.done()]:
                self._resume(asked[future], future, asked)

    def _resume(
        self,
        slot: _Running[Result],
        future: Future[list[Completion]] | None,
        asked: dict[Future[list[Completion]], _Running[Result]],
    ) -> None:
        """Let a chain go on with its answers until it ends or asks again."""
        try:
            if future is None:
                slot.asks = next(slot.chain)
            else:
                del asked[future]
                slot.asks = slot.chain.send(self._booked(slot.asks, future.result()))
        except StopIteration as stop:
            slot.asks, slot.done, slot.result = (), True, stop.value
        else:
            asked[self.submit(slot.asks)] = slot

    def _booked(self, asks: Sequence[Ask], completions: list[Completion]) -> list[Completion]:
        """Return the answers after they are in the books; what is no answer but a broken line ends the step."""
        for ask, completion in zip(asks, completions, strict=True):
            completion.settled()
            self.asked[ask.purpose] += 1
            self.tokens["prompt"] += completion.prompt_tokens
            self.tokens["completion"] += completion.completion_tokens
        return completions
