"""What goes to a model and what comes back: requests, completions, token use. The request's content is its key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
from blake3 import blake3

from windtunnel.generators.client.faults import POLICIES, TRANSIENT
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import WindtunnelError

REFUSED = "bad_request"  # by the server, for good: it knows no JSON schema, for instance
KEY_VERSION = 1  # part of every key: change it when the same request means another question


@dataclass(frozen=True)
class Request:
    """One question to a model: chat `messages`, or a raw `prompt` (text or token ids) without a chat template.

    `model` names one of the client's endpoints; empty is its only one. `draw` tells repeated samples of one question
    apart. `seed` makes sampling repeatable: the number sent is derived from the whole request, so that different
    questions with one seed do not share a random stream; None sends no seed. `schema` is a JSON schema that the reply
    must conform to. `logprobs` is the number of alternatives per token to report. `extra` holds parameters of the
    server's own, such as `top_k` or `ignore_eos`; they are part of the key.
    """

    messages: tuple[Mapping[str, str], ...] = ()
    prompt: str | tuple[int, ...] | None = None
    model: str = ""
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int | None = 512
    stop: tuple[str, ...] = ()
    seed: int | None = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    schema: Mapping[str, Any] | None = None
    logprobs: int | None = None
    draw: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))
        object.__setattr__(self, "stop", tuple(self.stop))
        if bool(self.messages) == (self.prompt is not None):
            raise ValueError("a request holds either messages or a prompt")


@dataclass(frozen=True)
class TokenLogprob:
    """One generated token, its log probability (nats) and the most probable alternatives, itself included if shown."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Completion:
    """The answer to one request; `error` is None or a code of `generators.client.faults`, then `text` holds what came.

    `cached` and `attempts` say how this run got it: they differ between a first run and its replay, so they belong in
    reports, never in rows.
    """

    text: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] | None = None
    error: str | None = None
    detail: str = ""  # for people: the server's message, cut short, without keys
    model: str = ""
    revision: str = ""
    key: str = ""
    cached: bool = False
    attempts: int = 0

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def truncated(self) -> bool:
        """Whether the text ends at the limit of tokens."""
        return self.finish_reason == "length"

    @property
    def transient(self) -> bool:
        """Whether the failure says nothing about the request: run again, and it may succeed. No row may rest on it."""
        return self.error in TRANSIENT

    def settled(self) -> Self:
        """Return the completion, unless its failure is transient: nothing finished may rest on a broken line.

        Raises WindtunnelError that says which model does not answer, why, and what to do.
        """
        if self.transient:
            raise WindtunnelError(
                f"model {self.model!r} does not answer ({self.error}): {self.detail}\n"
                "See to the server or the key, then run again: what the store holds is not asked twice."
            )
        return self

    @property
    def worth_keeping(self) -> bool:
        """Whether this is an answer, or a failure that belongs to the request and would only come again."""
        return self.error is None or POLICIES[self.error].keep

    def json(self) -> Any:
        """Return the text of a completion with a `schema`, parsed; ValueError when it has an error."""
        return orjson.loads(self.text)


@dataclass
class Usage:
    """What the requests of a client came to: answered from the store, sent, failed; tokens; cost in dollars."""

    requests: int = 0
    cached: int = 0
    shared: int = 0  # equal requests in flight at the same time: one was sent
    sent: int = 0  # HTTP requests, retries included
    prompt_tokens: int = 0  # of replies received now, thrown-away ones included
    completion_tokens: int = 0
    cost: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)  # final errors by code
    retries: Counter[str] = field(default_factory=Counter)  # attempts that were repeated, by code
    seconds: float = 0.0


def refusal(replies: Sequence[Completion]) -> Completion | None:
    """Return a reply of a server that refused them all: its fault, not that of what it was asked about."""
    return replies[0] if replies and all(reply.error == REFUSED for reply in replies) else None


def key_of(request: Request, model: str, revision: str) -> str:
    """Return the store key: blake3 (hex) of canonical JSON of the model, its revision and everything in the request."""
    return blake3(canonical_json(question(request, model, revision)).encode()).hexdigest()


def question(request: Request, model: str, revision: str) -> dict[str, Any]:
    """Return all that decides the answer, as a JSON object; text that UTF-8 cannot hold is replaced as it is sent."""
    return {
        "version": KEY_VERSION,
        "model": model,
        "revision": revision,
        "messages": [{name: clean(value) for name, value in m.items()} for m in request.messages],
        "prompt": clean(request.prompt) if isinstance(request.prompt, str) else request.prompt and list(request.prompt),
        "temperature": float(request.temperature),
        "top_p": float(request.top_p),
        "max_tokens": request.max_tokens,
        "stop": [clean(s) for s in request.stop],
        "seed": request.seed,
        "presence_penalty": float(request.presence_penalty),
        "frequency_penalty": float(request.frequency_penalty),
        "schema": request.schema,
        "logprobs": request.logprobs,
        "draw": request.draw,
        "extra": dict(request.extra),
    }


def clean(text: str) -> str:
    """Return the text with lone surrogates replaced by U+FFFD: UTF-8 has no bytes for them."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
