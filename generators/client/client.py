"""Client of OpenAI-compatible servers: bounded concurrency, retries by kind of error, a store of every completion.

The content of a request is its key. A stored completion is not requested again, equal requests in flight are sent once,
and completions are returned in the order of the requests. Requests that a server refuses in one form are sent again in
the form that it was learnt to accept, which is part of their key. So results depend neither on concurrency nor on
timing, and a run that was killed continues where it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Any

from windtunnel.generators.client.background import Background
from windtunnel.generators.client.budget import Budget, Purse
from windtunnel.generators.client.completion import Completion, Request, TokenLogprob, Usage, key_of, question
from windtunnel.generators.client.endpoint import Endpoint
from windtunnel.generators.client.endpoint_client import EndpointClient
from windtunnel.generators.client.faults import POLICIES
from windtunnel.generators.client.form import Form
from windtunnel.generators.client.store import CompletionStore
from windtunnel.schemas.errors import RecipeError, nearest
from windtunnel.schemas.interrupts import interrupt_waits

__all__ = ["Client", "Completion", "Endpoint", "Progress", "Request", "TokenLogprob", "Usage", "key_of"]

log = logging.getLogger(__name__)
Progress = Callable[[int, int, Usage], None]  # done, total, usage so far; called from the caller's thread
WAITING_PER_SLOT = 4  # requests taken up per slot: those between two attempts need no slot


class Client:
    """Sends requests to one or several endpoints; `store` (a file path) keeps every completion.

    `concurrency` is the number of requests in flight per endpoint. `timeout` is in seconds per attempt, `deadline` in
    seconds per request with all its attempts (None: no limit besides the retry policies). `backoff` is the first pause
    in seconds before a retry; pauses double. `budget` ends the work with BudgetSpent before more dollars are spent, of
    which those in the store count. A client belongs to one process; threads may share it.
    """

    def __init__(
        self,
        endpoints: Endpoint | Sequence[Endpoint],
        store: Path | str | None = None,
        concurrency: int = 64,
        timeout: float = 600.0,
        deadline: float | None = None,
        backoff: float = 0.5,
        budget: Budget | None = None,
    ):
        self.endpoints = [endpoints] if isinstance(endpoints, Endpoint) else list(endpoints)
        self.concurrency = concurrency
        self.usage = Usage()
        self._by_name = {endpoint.name: endpoint for endpoint in self.endpoints}
        if len(self._by_name) != len(self.endpoints) or not self.endpoints:
            raise RecipeError("a client needs at least one endpoint, and their names must differ")
        self._timeout, self._deadline, self._backoff = timeout, deadline, backoff
        self._store = CompletionStore(Path(store)) if store is not None else None
        known = self._store.form if self._store is not None else lambda model, revision: Form()
        self._forms = {endpoint.name: known(endpoint.model, endpoint.revision) for endpoint in self.endpoints}
        self._purse = Purse(budget, self._store)
        self._background = Background()
        self._clients: dict[str, EndpointClient] = {}
        self._in_flight: dict[str, asyncio.Future[Completion | None]] = {}
        self._batches = 0
        self._busy_since = 0.0

    def complete(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Completion]:
        """Return one completion per request, in order; a failed request is a completion with an `error` code.

        Raises WindtunnelError when an endpoint is lost (its server died too often, or nothing answers there), and
        RecipeError for a model without an endpoint or a key that is not set.
        """
        batch = _Batch(self, requests)
        completions = self._background.run(batch.run(), batch.tick(progress))
        if progress:
            progress(len(requests), len(requests), self.usage)
        return completions

    def submit(self, requests: Sequence[Request]) -> Future[list[Completion]]:
        """Start what `complete` does and return at once; thousands of small batches need no further threads."""
        return self._background.submit(_Batch(self, requests).run())

    def stream(self, requests: Iterable[Request], window: int = 1024) -> Iterator[Completion]:
        """Yield completions in order, with at most `window` requests in memory."""
        waiting = iter(requests)
        while part := list(islice(waiting, window)):
            yield from self.complete(part)

    def endpoint_of(self, request: Request) -> Endpoint:
        """Return the endpoint that a request names; a request without a name goes to the only one."""
        if not request.model and len(self.endpoints) == 1:
            return self.endpoints[0]
        if request.model not in self._by_name:
            raise RecipeError(f"no endpoint is called {request.model!r}: {nearest(request.model, self._by_name)}")
        return self._by_name[request.model]

    def client_of(self, endpoint: Endpoint) -> EndpointClient:
        """Return the endpoint's client; called on the loop's thread, which owns the connections."""
        if endpoint.name not in self._clients:
            self._clients[endpoint.name] = EndpointClient(
                endpoint, self.concurrency, self._timeout, self._backoff, self.usage, self._purse
            )
        return self._clients[endpoint.name]

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count the seconds in which at least one batch is in flight; used on the loop's thread only."""
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
        """Return the stored completions by key."""
        return self._store.read(keys) if self._store else {}

    def form_of(self, endpoint: Endpoint) -> Form:
        """Return what the endpoint was learnt to refuse so far."""
        return self._forms[endpoint.name]

    def refused(self) -> str:
        """Return in words what endpoints were learnt to refuse, which changes what is asked; empty for nothing."""
        learnt = {name: sorted(form.refused) for name, form in sorted(self._forms.items()) if form.refused}
        said = [f"the server of {name} refuses {', '.join(facts)}" for name, facts in learnt.items()]
        return "; ".join(said) + ": requests are sent in another form" if said else ""

    async def answer(self, client: EndpointClient, request: Request, missing: str) -> Completion:
        """Return the completion of a request; joins an equal one in flight. Nothing is stored by the key `missing`."""
        while True:
            form = self.form_of(client.endpoint)
            key = client.key_of(request, form)
            if key != missing and (stored := self.stored([key])):
                self.usage.cached += 1
                return stored[key]
            if (completion := await self._joined(client, request, key, form)) is not None:
                return completion

    async def _joined(self, client: EndpointClient, request: Request, key: str, form: Form) -> Completion | None:
        """Return what `_ask` does, once for all equal requests in flight."""
        while (other := self._in_flight.get(key)) is not None:
            await asyncio.wait([other])
            if not other.cancelled() and other.exception() is None:
                self.usage.shared += 1
                return other.result()
        own = self._in_flight[key] = asyncio.get_running_loop().create_future()
        try:
            completion = await self._in_time(client, request, key, form)
            own.set_result(completion)
            return completion
        finally:
            del self._in_flight[key]
            own.cancel()  # no effect after a result; otherwise the requests that wait for it are sent themselves

    async def _in_time(self, client: EndpointClient, request: Request, key: str, form: Form) -> Completion | None:
        try:
            async with asyncio.timeout(self._deadline):
                return await self._ask(client, request, key, form)
        except TimeoutError:
            where = client.endpoint.public_url
            detail = f"no usable reply within {self._deadline:g} s, all attempts together (at {where})"
            model, revision = client.endpoint.model, client.endpoint.revision
            return Completion(model=model, revision=revision, key=key, error="deadline", detail=detail)

    async def _ask(self, client: EndpointClient, request: Request, key: str, form: Form) -> Completion | None:
        """Return the completion; None when the form of the request was learnt to be another one meanwhile."""
        completion, refusal = await client.answer(request, key, form)
        if refusal:
            async with client.learning:
                now = self.form_of(client.endpoint)
                if now.changes(request) != form.changes(request):
                    return None
                if (learnt := await self._learnt(client, request, now, refusal)) is not None:
                    return learnt
        return self._kept(completion, request, form)

    async def _learnt(self, client: EndpointClient, request: Request, form: Form, refusal: str) -> Completion | None:
        """Try the forms that refusals suggest; return what the server makes of the first that it does not refuse.

        None when it refuses the request in all of them. A form is remembered once a reply to it has arrived.
        """
        endpoint = client.endpoint
        while (tried := form.after(refusal, request)) is not None:
            form = tried
            completion, refusal = await client.answer(request, client.key_of(request, form), form)
            if completion.ok or POLICIES[str(completion.error)].reask:
                if self._store is not None:
                    self._store.learn(endpoint.model, endpoint.revision, form)
                self._forms[endpoint.name] = form
                log.warning("%s", self.refused())
                return self._kept(completion, request, form)
            if not refusal:
                return completion
        return None

    def _kept(self, completion: Completion, request: Request, form: Form) -> Completion:
        if self._store is None or not completion.worth_keeping:
            return completion
        asked = question(request, completion.model, completion.revision, form.changes(request))
        return self._store.write(completion, asked)

    def close(self) -> None:
        """Close the connections and the store."""
        clients, self._clients = list(self._clients.values()), {}
        if clients:
            self._background.run(_close(clients))
        self._background.close()
        if self._store is not None:
            self._store.close()

    def __enter__(self) -> Client:
        interrupt_waits()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Batch:
    """The requests of one call: their keys, and the completions by key."""

    def __init__(self, client: Client, requests: Sequence[Request]):
        self.client = client
        endpoints = [client.endpoint_of(request) for request in requests]
        requests = [endpoint.asked(request) for endpoint, request in zip(endpoints, requests, strict=True)]
        self.keys = [
            key_of(r, e.model, e.revision, client.form_of(e).changes(r))
            for r, e in zip(requests, endpoints, strict=True)
        ]
        self.unique = {key: (e, r) for key, e, r in zip(self.keys, endpoints, requests, strict=True)}
        self.completions: dict[str, Completion] = {}

    async def run(self) -> list[Completion]:
        """Return the completions in the order of the requests, from the store or else from the endpoints."""
        with self.client.busy():
            await self._fill()
        return [self.completions[key] for key in self.keys]

    async def _fill(self) -> None:
        usage = self.client.usage
        self.completions = self.client.stored(self.unique)
        usage.requests += len(self.keys)
        usage.cached += len(self.completions)
        usage.shared += len(self.keys) - len(self.unique)
        usage.errors.update(c.error for c in self.completions.values() if c.error is not None)
        waiting: dict[str, list[tuple[str, Request]]] = {}
        for key, (endpoint, request) in self.unique.items():
            if key not in self.completions:
                waiting.setdefault(endpoint.name, []).append((key, request))
        try:
            async with asyncio.TaskGroup() as group:
                for part in waiting.values():
                    client = self.client.client_of(self.unique[part[0][0]][0])
                    queue = iter(part)
                    for _ in range(min(len(part), WAITING_PER_SLOT * client.concurrency)):
                        group.create_task(self._work(client, queue))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _work(self, client: EndpointClient, queue: Iterator[tuple[str, Request]]) -> None:
        for key, request in queue:
            completion = self.completions[key] = await self.client.answer(client, request, key)
            if completion.error is not None:
                self.client.usage.errors[completion.error] += 1

    def tick(self, progress: Progress | None) -> Callable[[], Any] | None:
        """Return what to call from time to time while the batch runs."""
        return progress and (lambda: progress(len(self.completions), len(self.unique), self.client.usage))


async def _close(clients: list[EndpointClient]) -> None:
    await asyncio.gather(*(client.close() for client in clients))
