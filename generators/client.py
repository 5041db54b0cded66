"""Talks to OpenAI-compatible servers: bounded concurrency, retries by kind of error, every completion kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from generators.completion import Completion, Request, TokenLogprob, Usage, key_of
from generators.endpoint import Endpoint

__all__ = ["Client", "Completion", "Endpoint", "Progress", "Request", "TokenLogprob", "Usage", "key_of"]

Progress = Callable[[int, int, Usage], None]  # done, total, use so far; called from the caller's thread


class Client:
    """Sends requests to one or several endpoints; `store` (a file path) keeps every completion."""

    def __init__(self, endpoints: Endpoint | Sequence[Endpoint], store: Path | None = None, concurrency: int = 64):
        self.endpoints = [endpoints] if isinstance(endpoints, Endpoint) else list(endpoints)
        self.store = store
        self.concurrency = concurrency
        self.usage = Usage()

    def complete(self, requests: Sequence[Request], progress: Progress | None = None) -> list[Completion]:
        """Return one completion per request, in order; a failed request is a completion with an `error` code."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connections and the store."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
