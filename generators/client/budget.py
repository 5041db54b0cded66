"""The dollars that a recipe may spend on answers, over all of its runs.

What was spent is read off the completion store, which every process of a run writes into. Before a request is sent, the
most that it may cost is set aside; it waits while other requests hold too much, and is refused when none is in flight.
So what is in flight is answered and kept before a run stops, and one client never spends more than the budget.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from windtunnel.generators.client.completion import Request
from windtunnel.generators.client.endpoint import Endpoint
from windtunnel.generators.client.store import CompletionStore
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.spending import Price, cost

BYTES_PER_TOKEN = 2  # fewer than tokenizers reach on text, so that the most is not underestimated
MOST_TOKENS = 8192  # assumed of an answer without a limit


class BudgetSpent(WindtunnelError):
    """The next request may cost more than what is left."""


class Budget(BaseModel):
    """`dollars` for the models in `prices`, by `model@revision` of their endpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    dollars: float = Field(gt=0)
    prices: dict[str, Price] = Field(default_factory=dict)

    def spent(self, tokens: dict[str, tuple[int, int]]) -> float:
        """Return the dollars that tokens (prompt, completion) by `model@revision` cost."""
        return sum(cost(self.prices.get(name, (0.0, 0.0)), *both) for name, both in tokens.items())


class Purse:
    """What is left of a budget for one client; without a budget, everything. Used on the loop's thread only."""

    def __init__(self, budget: Budget | None, store: CompletionStore | None) -> None:
        self._budget, self._store = budget, store
        self._tokens: dict[str, tuple[int, int]] = {}
        self._seen: dict[str, int] = {}  # rows of the store's tables that are counted in `_tokens`
        self._held = 0.0
        self._in_flight = 0
        self._freed = asyncio.Event()
        self._over: BudgetSpent | None = None

    async def hold(self, endpoint: Endpoint, request: Request) -> float:
        """Return the dollars set aside for a request. Raises BudgetSpent when nothing else is in flight."""
        if self._budget is None:
            return 0.0
        most = most_dollars(endpoint, request)
        while self._over is None and most and (spent := self._spent()) + self._held + most > self._budget.dollars:
            if not self._in_flight:
                self._over = BudgetSpent(
                    f"the budget of ${self._budget.dollars:g} does not last: ${spent:.4f} are spent, and the next "
                    f"request to {endpoint.name!r} may cost ${most:.4f}. Every answer so far is kept: raise "
                    "`budget: {dollars: ...}` and run again, nothing is paid twice."
                )
                break
            self._freed.clear()
            await self._freed.wait()
        if self._over is not None and most:
            while self._in_flight:
                self._freed.clear()
                await self._freed.wait()
            raise BudgetSpent(str(self._over))
        self._held += most
        self._in_flight += 1
        return most

    def release(self, held: float) -> None:
        """Give back what was set aside, when the request has ended."""
        if self._budget is not None:
            self._held -= held
            self._in_flight -= 1
            self._freed.set()

    def paid(self, endpoint: Endpoint, prompt_tokens: int, completion_tokens: int) -> None:
        """Count a reply where no store does."""
        if self._store is None:
            name = f"{endpoint.model}@{endpoint.revision}"
            before = self._tokens.get(name, (0, 0))
            self._tokens[name] = (before[0] + prompt_tokens, before[1] + completion_tokens)

    def discarded(self, endpoint: Endpoint, prompt_tokens: int, completion_tokens: int) -> None:
        """Keep the tokens of a reply that is not stored, because it is asked for again."""
        if self._store is not None:
            self._store.discard(endpoint.model, endpoint.revision, prompt_tokens, completion_tokens)

    def _spent(self) -> float:
        assert self._budget is not None
        if self._store is not None:
            self._store.add_tokens(self._tokens, self._seen)
        return self._budget.spent(self._tokens)


def most_dollars(endpoint: Endpoint, request: Request) -> float:
    """Return the most that a request with its answer may cost."""
    if not any(endpoint.price):
        return 0.0
    given: Any = request.extra
    limit = given.get("max_completion_tokens") or given.get("max_tokens") or request.max_tokens or MOST_TOKENS
    asked = request.prompt if request.prompt is not None else "".join(str(dict(m)) for m in request.messages)
    told = str(dict(request.schema)) if request.schema is not None else ""
    size = len(asked) if isinstance(asked, tuple) else len(asked.encode("utf-8", "replace")) / BYTES_PER_TOKEN
    return cost(endpoint.price, size + len(told) / BYTES_PER_TOKEN, float(limit))
