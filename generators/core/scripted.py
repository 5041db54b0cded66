"""Sessions whose answers come from a script: to run the examples of a kind, and to try a new kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from windtunnel.generators.client.completion import Completion, Request
from windtunnel.generators.core.generator import Ask, Dropped, Example, Failed, Generator, Kept, Outcome
from windtunnel.generators.core.material import Table
from windtunnel.generators.core.session import Session

Reply = str | Completion


class _NoClient:
    def submit(self, requests: Sequence[Request]) -> Future[list[Completion]]:
        """Raise: a script answers before any client is asked."""
        raise AssertionError("a scripted session sends nothing")


@dataclass
class ScriptedSession(Session):
    """A session whose answers come from `replies`, by purpose and in order; the last one is repeated.

    A `Completion` is returned as it is, which plays errors and truncated replies. `heard` lists the requests.
    """

    replies: Mapping[str, Sequence[Reply]] = field(default_factory=dict)
    heard: list[Ask] = field(default_factory=list)

    def submit(self, asks: Sequence[Ask]) -> Future[list[Completion]]:
        """Answer each request with the next line of the script."""
        future: Future[list[Completion]] = Future()
        future.set_result([self._reply(ask) for ask in asks])
        return future

    def _reply(self, ask: Ask) -> Completion:
        nth = sum(a.purpose == ask.purpose for a in self.heard)
        self.heard.append(ask)
        if not (lines := self.replies.get(ask.purpose)):
            raise KeyError(f"the script has no reply for {ask.purpose!r}")
        reply = lines[min(nth, len(lines) - 1)]
        return Completion(reply, "stop", model="scripted") if isinstance(reply, str) else reply


def session(
    name: str,
    kind: Generator,
    replies: Mapping[str, Sequence[Reply]],
    inputs: Mapping[str, Iterable[dict[str, Any]]] | None = None,
    window: int = 64,
) -> ScriptedSession:
    """Return a session for `kind` with a script and small inputs in memory."""
    tables = {role: Table(memory=tuple(rows)) for role, rows in (inputs or {}).items()}
    return ScriptedSession(name, kind.seed, _NoClient(), tables, window=window, replies=replies)


def play(name: str, cls: type[Generator], example: Example) -> tuple[list[list[str]], dict[str, int]]:
    """Run an example and return (contents of the rows, number of refusals by reason)."""
    kind = cls(**example.params)
    outcomes = list(kind.generate(session(name, kind, example.replies, example.inputs)))
    kept = [contents(outcome.row) for outcome in outcomes if isinstance(outcome, Kept)]
    return kept, reasons(outcomes)


def contents(row: Mapping[str, Any]) -> list[str]:
    """Return the contents of a row's messages; of a preference: prompt, chosen, rejected."""
    fields = ("messages",) if "messages" in row else ("prompt", "chosen", "rejected")
    return [message["content"] for name in fields for message in row[name]]


def reasons(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Return the number of dropped and failed outcomes by reason."""
    refused = (o for o in outcomes if isinstance(o, Dropped | Failed))
    return dict(Counter(o.reason if isinstance(o, Dropped) else o.error for o in refused))
