"""A run of one kind: its client, its inputs, its random streams, and the driver that keeps many chains in flight."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, cast

from blake3 import blake3

from windtunnel.generators.client.completion import Completion, Request
from windtunnel.generators.core.attempts import Attempts
from windtunnel.generators.core.material import Table
from windtunnel.generators.core.origin import Record
from windtunnel.generators.core.outcome import Ask, Chain, Outcome, Result
from windtunnel.generators.text.quoted import defused
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.spending import Spending

SEED_BITS = 31  # servers take a signed 32-bit or 64-bit seed


class Answers(Protocol):
    """The part of a client that a session needs."""

    def submit(self, requests: Sequence[Request]) -> Future[list[Completion]]:
        """Start asking and return at once; the result is one completion per request, in order."""
        ...


@dataclass(frozen=True)
class Share:
    """The part of the rows that a shard makes: shard `rank` of `shards`."""

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
    """The surroundings of a kind. `window` is the number of chains that run at once; it only changes the speed."""

    kind: str
    seed: int
    client: Answers | None  # None: a kind that asks no model
    inputs: Mapping[str, Table] = field(default_factory=dict)
    share: Share = Share()
    window: int = 64
    licences: Mapping[str, str] = field(default_factory=dict)  # of models, by the name that completions carry
    special_tokens: Sequence[str] = ()  # of the tokenizers of all models, where they are known
    asked: Counter[str] = field(default_factory=Counter)  # requests by purpose
    tokens: Counter[str] = field(default_factory=Counter)  # prompt and completion tokens
    spending: Spending = field(default_factory=Spending)  # the same by model and purpose
    journal: Counter[str] = field(default_factory=Counter)  # counts of the kind's own, for the report
    attempts: Attempts = field(default_factory=Attempts)

    @property
    def kept(self) -> int:
        """The number of rows kept so far."""
        return self.attempts.kept

    def number(self, *parts: Any) -> int:
        """Return a number of 31 bits that depends only on the recipe's seed, the kind and `parts`."""
        text = canonical_json([self.seed, self.kind, *parts])
        return int.from_bytes(blake3(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> (32 - SEED_BITS)

    def random(self, *parts: Any) -> random.Random:
        """Return a separate random stream for `parts`."""
        return random.Random(self.number(*parts))

    def ask(self, purpose: str, index: int, text: str | Sequence[Mapping[str, str]], **params: Any) -> Ask:
        """Return a request to a model: a string is completed as raw text, messages go through the chat template.

        The seed sent is derived from (recipe seed, kind, row index, purpose).
        """
        params.setdefault("seed", self.number("request", index, purpose))
        if isinstance(text, str):
            return Ask(purpose, Request(prompt=text, **params))
        return Ask(purpose, Request(messages=tuple(text), **params))

    def chat(self, purpose: str, index: int, text: str, **params: Any) -> Ask:
        """Return a request whose only message is a user's."""
        return self.ask(purpose, index, [{"role": "user", "content": text}], **params)

    def greedy(self, purpose: str, index: int, text: str, **params: Any) -> Ask:
        """Return a chat request with temperature 0 and no seed."""
        return self.chat(purpose, index, text, temperature=0.0, seed=None, **params)

    def defused(self, text: str) -> str:
        """Return a text for a prompt, in which no model of the session reads a special token."""
        return defused(text, self.special_tokens)

    def submit(self, asks: Sequence[Ask]) -> Future[list[Completion]]:
        """Send requests and return at once."""
        if self.client is None:
            raise RuntimeError(f"generator {self.kind!r} asks a model but names none in models()")
        return self.client.submit([ask.request for ask in asks])

    def records(self, role: str, total: int | None = None, spread: bool = True) -> Iterator[tuple[int, Record]]:
        """Yield (number, record) of this share of `total` rows of an input (default: all); each is an attempt.

        The rows are spread evenly over the input, or are its first ones.
        """
        table = self.inputs[role]
        numbers = self.share.of(len(table) if total is None else total)
        records = table.spread(numbers, len(table) if total is None else total) if spread else table.rows(numbers)
        for number, record in zip(numbers, records, strict=True):
            yield number, self.attempts.take(role, record, len(table))

    def each(
        self,
        records: Iterable[tuple[int, Record]],
        attempt: Callable[[int, Record], Chain[Outcome] | Chain[Sequence[Outcome]]],
        missing: Callable[[], int] | None = None,
    ) -> Iterator[Outcome]:
        """Run `attempt(number, record)` for every record and yield the outcomes, with the record as their parent."""

        def chain(number: int, record: Record) -> Chain[Sequence[Outcome]]:
            result = yield from attempt(number, record)
            outcomes = [result] if isinstance(result, Outcome) else result
            return [replace(outcome, parents=(record, *(outcome.parents or ()))) for outcome in outcomes]

        for outcomes in self.drive((chain(*each) for each in records), missing):
            yield from outcomes

    def drive(
        self, chains: Iterable[Chain[Result]], missing: Callable[[], int] | None = None, window: int | None = None
    ) -> Iterator[Result]:
        """Run the chains and yield their results, in the order of the chains.

        A chain starts only while fewer than `window` chains (default: the session's) are undecided. So chain k can
        depend on the results up to k - window, whatever the timing. No more chains are started than `missing()`
        returns. A slow chain delays the delivery of later results but not their work.
        """
        waiting = iter(chains)
        running: deque[_Running[Result]] = deque()
        asked: dict[Future[list[Completion]], _Running[Result]] = {}
        limit = window or self.window
        exhausted = False
        try:
            while True:
                while not exhausted and len(running) < min(limit, missing() if missing else limit):
                    chain = next(waiting, None)
                    if chain is None:
                        exhausted = True
                    else:
                        running.append(_Running(chain))
                        self._resume(running[-1], None, asked)
                if not running:
                    return
                if running[0].done:
                    result = cast(Result, running.popleft().result)
                    self.attempts.returned(result)
                    yield result
                    continue
                wait(asked, return_when=FIRST_COMPLETED)
                for future in [future for future in asked if future.done()]:
                    self._resume(asked[future], future, asked)
        finally:
            self.attempts.abandoned += len(running)

    def _resume(
        self,
        slot: _Running[Result],
        future: Future[list[Completion]] | None,
        asked: dict[Future[list[Completion]], _Running[Result]],
    ) -> None:
        """Let a chain continue with its answers until it ends or asks again."""
        try:
            if future is None:
                slot.asks = next(slot.chain)
            else:
                del asked[future]
                slot.asks = slot.chain.send(self._counted(slot.asks, future.result()))
        except StopIteration as stop:
            slot.asks, slot.done, slot.result = (), True, stop.value
        else:
            asked[self.submit(slot.asks)] = slot

    def _counted(self, asks: Sequence[Ask], completions: list[Completion]) -> list[Completion]:
        """Return the answers after counting them. Raises WindtunnelError for a transient failure."""
        for ask, completion in zip(asks, completions, strict=True):
            completion.settled()
            self.asked[ask.purpose] += 1
            self.tokens["prompt"] += completion.prompt_tokens
            self.tokens["completion"] += completion.completion_tokens
            model = ask.request.model or completion.model
            self.spending.add(model, ask.purpose, completion.prompt_tokens, completion.completion_tokens)
        return completions
