"""Talks to OpenAI-compatible servers: bounded concurrency, retries by kind of error, every completion kept.

A request's content is its key. What the store holds is not asked again; equal requests under way are asked once; the
answers come back in the order of the requests. So results depend neither on concurrency nor on timing, and a run that
was killed goes on where it stood.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from windtunnel.generators.client.background import Background
from windtunnel.generators.client.completion import Completion, Request, TokenLogprob, Usage, key_of, question
from windtunnel.generators.client.endpoint import Endpoint
from windtunnel.generators.client.endpoint_client import EndpointClient
from windtunnel.generators.client.store import CompletionStore
from windtunnel.schemas.errors import RecipeError, nearest

__all__ = ["Client", "Completion", "Endpoint", "Progress", "Request", "TokenLogprob", "Usage", "key_of"]

Progress = Callable[[int, int, Usage], None]  # done, total, use so far; called from the caller's thread
WAITING_PER_SLOT = 4  # requests taken up per slot: those between two attempts need no slot


class Client:
    """Sends requests to one or several endpoints; `store` (a file path) keeps every completion.

    `concurrency` is the number of requests under way per endpoint. `timeout` is seconds per attempt, `deadline`
    seconds per request with all its attempts (None: as long as the retry policies last). `backoff` is the first pause
    in seconds before a retry; pauses double. A client is used by one process; threads may share it.
    """

    def __init__(
        self,
        endpoints: Endpoint | Sequence[Endpoint],
        store: Path | str | None = None,
        concurrency: int = 64,
        timeout: float = 600.0,
        deadline: float | None = None,
        backoff: float = 0.5,
    ):
        self.endpoints = [endpoints] if isinstance(endpoints, Endpoint) else list(endpoints)
        self.concurrency = concurrency
        self.usage = Usage()
        self._by_name = {endpoint.name: endpoint for endpoint in self.endpoints}
        if len(self._by_name) != len(self.endpoints) or not self.endpoints:
            raise RecipeError("a client needs endpoints, each with a name of its own")
        self._timeout, self._deadline, self._backoff = timeout, deadline, backoff
        self._store = CompletionStore(Path(store)) if store is not None else None
        self._background = Background()
        self._lanes: dict[str, EndpointClient] = {}
        self._flights: dict[str, asyncio.Future[Completion]] = {}
        self._batches = 0
        self._busy_since = 0.0

    def complete(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Completion]:
        """Return one completion per request, in order; a failed request is a completion with an `error` code.

        Raises WindtunnelError when an endpoint is lost for good (its server died more often than it may, or nothing
        answers there), and RecipeError for a model that no endpoint has or a key that is not set.
        """
        batch = _Batch(self, requests)
        found = self._background.run(batch.run(), batch.tick(progress))
        if progress:
            progress(len(requests), len(requests), self.usage)
        return found

    def submit(self, requests: Sequence[Request]) -> Future[list[Completion]]:
        """Start what `complete` does and return at once: thousands of small batches under way need no threads."""
        return self._background.submit(_Batch(self, requests).run())

    def stream(self, requests: Iterable[Request], window: int = 1024) -> Iterator[Completion]:
        """Yield completions in order, for more requests than memory holds; `window` are in memory at a time."""
        waiting = iter(requests)
        while part := list(islice(waiting, window)):
            yield from self.complete(part)

    def endpoint_of(self, request: Request) -> Endpoint:
        """Return the endpoint that a request names; no name means the only one there is."""
        if not request.model and len(self.endpoints) == 1:
            return self.endpoints[0]
        if request.model not in self._by_name:
            raise RecipeError(f"no endpoint is called {request.model!r}: {nearest(request.model, self._by_name)}")
        return self._by_name[request.model]

    def lane(self, endpoint: Endpoint) -> EndpointClient:
        """Return the endpoint's lane; called on the loop's thread only, where its connections belong."""
        if endpoint.name not in self._lanes:
            self._lanes[endpoint.name] = EndpointClient(
                endpoint, self.concurrency, self._timeout, self._backoff, self.usage
            )
        return self._lanes[endpoint.name]

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count the seconds in which at least one batch is under way; used on the loop's thread only."""
        if not self._batches:
            self._busy_since = time.monotonic()
        self._batches += 1
        try:
            yield
        finally:
            self._batches -= 1
            if not self._batches:
                self.usage.seconds += time.monotonic() - self._busy_since

    def stored(self, keys: Iterable[str]) -> dict[str, Completion]:
        """Return the completions that the store has, by key."""
        return self._store.read(keys) if self._store else {}

    async def answer(self, lane: EndpointClient, request: Request, key: str) -> Completion:
        """Return the completion of a request that the store does not have; joins an equal one under way."""
        while (flight := self._flights.get(key)) is not None:
            await asyncio.wait([flight])
            if not flight.cancelled() and flight.exception() is None:
                self.usage.shared += 1
                return flight.result()
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            found = await self._ask(lane, request, key)
            flight.set_result(found)
            return found
        finally:
            del self._flights[key]
            flight.cancel()  # no effect on a result; sends those who wait on their own way otherwise

    async def _ask(self, lane: EndpointClient, request: Request, key: str) -> Completion:
        try:
            async with asyncio.timeout(self._deadline):
                found = await lane.answer(request, key)
        except TimeoutError:
            endpoint = lane.endpoint
            found = Completion(model=endpoint.model, revision=endpoint.revision, key=key, error="deadline")
            found = replace(found, detail=f"no usable reply within {self._deadline:g} s, all attempts together")
        if self._store is not None and found.worth_keeping:
            return self._store.write(found, question(request, found.model, found.revision))
        return found

    def close(self) -> None:
        """Close the connections and the store."""
        lanes, self._lanes = list(self._lanes.values()), {}
        if lanes:
            self._background.run(_close(lanes))
        self._background.close()
        if self._store is not None:
            self._store.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Batch:
    """The requests of one call: their keys, and the completions by key."""

    def __init__(self, client: Client, requests: Sequence[Request]):
        self.client = client
        endpoints = [client.endpoint_of(request) for request in requests]
        self.keys = [key_of(r, e.model, e.revision) for r, e in zip(requests, endpoints, strict=True)]
        self.unique = {key: (e, r) for key, e, r in zip(self.keys, endpoints, requests, strict=True)}
        self.found: dict[str, Completion] = {}

    async def run(self) -> list[Completion]:
        """Return the completions in the order of the requests: from the store what it has, the rest from endpoints."""
        with self.client.busy():
            await self._fill()
        return [self.found[key] for key in self.keys]

    async def _fill(self) -> None:
        usage = self.client.usage
        self.found = self.client.stored(self.unique)
        usage.requests += len(self.keys)
        usage.cached += len(self.found)
        usage.shared += len(self.keys) - len(self.unique)
        waiting: dict[str, list[tuple[str, Request]]] = {}
        for key, (endpoint, request) in self.unique.items():
            if key not in self.found:
                waiting.setdefault(endpoint.name, []).append((key, request))
            elif (error := self.found[key].error) is not None:
                usage.errors[error] += 1
        try:
            async with asyncio.TaskGroup() as group:
                for part in waiting.values():
                    lane = self.client.lane(self.unique[part[0][0]][0])
                    queue = iter(part)
                    for _ in range(min(len(part), WAITING_PER_SLOT * lane.concurrency)):
                        group.create_task(self._work(lane, queue))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _work(self, lane: EndpointClient, queue: Iterator[tuple[str, Request]]) -> None:
        for key, request in queue:
            found = self.found[key] = await self.client.answer(lane, request, key)
            if found.error is not None:
                self.client.usage.errors[found.error] += 1

    def tick(self, progress: Progress | None) -> Callable[[], Any] | None:
        """Return what to call now and then while the batch runs."""
        return progress and (lambda: progress(len(self.found), len(self.unique), self.client.usage))


async def _close(lanes: list[EndpointClient]) -> None:
    await asyncio.gather(*(lane.close() for lane in lanes))
