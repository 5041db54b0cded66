"""Requests, completions and token use. The content of a request is its key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

import orjson
from blake3 import blake3

from windtunnel.generators.client.faults import POLICIES, TRANSIENT
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import WindtunnelError

REFUSED = "bad_request"  # by the server, for good, such as a JSON schema that it does not support
UNCHANGED: Mapping[str, Any] = MappingProxyType({})  # a request that is sent as it is
KEY_VERSION = 1  # part of every key; raise it when the meaning of a request changes


@dataclass(frozen=True)
class Request:
    """One request to a model: chat `messages`, or a raw `prompt` (text or token ids) without a chat template.

    `model` names one of the client's endpoints; empty for the only one. `draw` distinguishes repeated samples of one
    request. `seed` makes sampling repeatable: the number sent is derived from the whole request, so that different
    requests do not share a random stream; None sends no seed. `schema` is a JSON schema for the reply. `logprobs` is
    the number of alternatives per token to report. `extra` holds further parameters of the server, such as `top_k` or
    `ignore_eos`; they are part of the key.
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
    """One generated token, its log probability (nats) and the most probable alternatives."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Completion:
    """The answer to one request; `error` is None or a code of `generators.client.faults`, then `text` is as received.

    `reasoning` is what a model wrote before its answer, of a chat; `text` is the answer alone.
    `cached` and `attempts` differ between a first run and its replay, so they must not enter rows.
    """

    text: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] | None = None
    error: str | None = None
    detail: str = ""  # the server's message, shortened, without keys
    model: str = ""
    revision: str = ""
    key: str = ""
    cached: bool = False
    attempts: int = 0
    reasoning: str = ""

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def truncated(self) -> bool:
        """Whether the text ends at the limit of tokens."""
        return self.finish_reason == "length"

    @property
    def transient(self) -> bool:
        """Whether the failure does not depend on the request, so that a second run may succeed."""
        return self.error in TRANSIENT

    def settled(self) -> Self:
        """Return the completion. Raises WindtunnelError for a transient failure, on which no row may depend."""
        if self.transient:
            raise WindtunnelError(
                f"model {self.model!r} does not answer ({self.error}): {self.detail}\n"
                "Check the server or the key, then run again: stored completions are not requested twice."
            )
        return self

    @property
    def worth_keeping(self) -> bool:
        """Whether this is an answer, or a failure that the same request would meet again."""
        return self.error is None or POLICIES[self.error].keep

    def json(self) -> Any:
        """Return the text of a completion with a `schema`, parsed; ValueError when it has an error."""
        return orjson.loads(self.text)


@dataclass
class Usage:
    """Totals of a client: requests stored, sent and failed; tokens; cost in dollars."""

    requests: int = 0
    cached: int = 0
    shared: int = 0  # equal requests in flight, of which one was sent
    sent: int = 0  # HTTP requests, retries included
    prompt_tokens: int = 0  # of all replies received, discarded ones included
    completion_tokens: int = 0
    cost: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)  # final errors by code
    retries: Counter[str] = field(default_factory=Counter)  # attempts that were repeated, by code
    seconds: float = 0.0


def refusal(replies: Sequence[Completion]) -> Completion | None:
    """Return the first reply when the server refused all of them, so that the cause is the server."""
    return replies[0] if replies and all(reply.error == REFUSED for reply in replies) else None


def key_of(request: Request, model: str, revision: str, changes: Mapping[str, Any] = UNCHANGED) -> str:
    """Return the store key: blake3 (hex) of the canonical JSON of model, revision and the whole request."""
    return blake3(canonical_json(question(request, model, revision, changes)).encode()).hexdigest()


def question(request: Request, model: str, revision: str, changes: Mapping[str, Any] = UNCHANGED) -> dict[str, Any]:
    """Return everything that decides the answer, as a JSON object, with lone surrogates replaced as in the request.

    `changes` are what `Form.changes` returns: the fields that this server takes in another way.
    """
    form = {"form": dict(changes)} if changes else {}  # without: the keys of earlier versions stay
    return form | {
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
    """Return the text with lone surrogates, which UTF-8 cannot encode, replaced by U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
