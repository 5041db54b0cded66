"""The form of requests that a server accepts, learnt from its refusals.

Servers that call themselves OpenAI-compatible refuse fields of each other's requests, and only their error texts say
which. A refusal that names a field which was sent, and which can be sent in another way or left out, suggests another
form. The client tries the suggestion with the same request; it is remembered only if that is answered, so a text that
is quoted in an error message cannot change what is asked.

Each fact holds for what the server decides by (one temperature, one JSON schema, a number of alternatives), so what is
sent for a request does not depend on the requests before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from windtunnel.generators.client.completion import Request
from windtunnel.schemas.artifact import canonical_json

FEWER_LOGPROBS = 5  # tried where a server names no number; the least that common servers allow
_UNSUPPORTED = re.compile(
    r"unsupported|\bno(?:t|n)?\b.{0,20}(?:support|allow|permit|accept|available|implement|recogni|enabled|compatible)"
    r"|n't support|unrecogni|unknown|unexpected|extra[_ ]|forbid|\bonly\b|deprecat|cannot|can't",
    re.DOTALL,
)
_BOUND = re.compile(
    r"less than|greater than|more than|[<>≤]|at most|at least|\bmax(?:imum)?\b|\bmin(?:imum)?\b|between|range"
    r"|above|below|too (?:large|high|many|big)|exceed|up to"
)
_FIELDS = {  # of a request, by their names in bodies and facts
    "max_completion_tokens": "max_tokens",
    "top_logprobs": "logprobs",
    "response_format": "schema",
    "json_schema": "schema",
    "json_object": "schema",
}
_SCHEMA = re.compile(r"response_format|json[_ ](?:schema|object|mode)|structured[ _]output|guided|grammar|schema")


@dataclass(frozen=True)
class Form:
    """The facts learnt about one model at one endpoint, as words that the completion store keeps.

    `max_tokens` (its new name is accepted), `temperature=VALUE`, `top_p`, `seed`, `stop`, `presence_penalty`,
    `frequency_penalty`, `logprobs`, `top_logprobs>NUMBER`, `json_schema=DIGEST` and `json_object` are refused.
    """

    refused: frozenset[str] = frozenset()

    def changes(self, request: Request) -> dict[str, Any]:
        """Return the fields of a request that are sent in another way, with what is sent; None: nothing.

        Empty where the request is sent as it is. Fields that `extra` gives are the user's own and stay.
        """
        changed: dict[str, Any] = {}
        if not self.refused:
            return changed
        if request.max_tokens is not None and "max_tokens" in self.refused:
            changed["max_tokens"] = "max_completion_tokens"
        if _temperature(request) in self.refused:
            changed["temperature"] = None
        changed |= {name: None for name in _optional(request) if name in self.refused}
        limits = [int(fact.partition(">")[2]) for fact in self.refused if fact.startswith("top_logprobs>")]
        if request.logprobs is not None and "logprobs" in self.refused:
            changed["logprobs"] = None
        elif request.logprobs is not None and limits and min(limits) < request.logprobs:
            changed["logprobs"] = min(limits)
        if request.messages and request.schema is not None and _schema_fact(request.schema) in self.refused:
            changed["schema"] = "text" if "json_object" in self.refused else "json_object"
        return {name: value for name, value in changed.items() if name not in _given(request)}

    def after(self, refusal: str, request: Request) -> Form | None:
        """Return the form that a refusal (the server's parameter and message) suggests.

        None when it names nothing that this form sends for the request and that can be sent in another way.
        """
        text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", refusal).lower()
        given = _given(request)
        suggested = (fact for fact in _suggested(text, request, self.changes(request)) if _field(fact) not in given)
        fact = next(iter(suggested), None)
        return None if fact is None else Form(self.refused | {fact})


def _suggested(text: str, request: Request, changed: Mapping[str, Any]) -> Iterable[str]:
    """Yield the facts that a refusal may state, most specific first."""
    unsupported, bound = bool(_UNSUPPORTED.search(text)), bool(_BOUND.search(text))
    renamed = not bound and (unsupported or "max_completion_tokens" in text)
    if "max_tokens" not in changed and request.max_tokens is not None and "max_tokens" in text and renamed:
        yield "max_tokens"
    asked = changed.get("logprobs", request.logprobs)
    if asked is not None and "logprobs" in text and (unsupported or bound):
        yield _fewer(text, asked) if bound or "top_logprobs" in text else "logprobs"
    if request.messages and request.schema is not None and _SCHEMA.search(text):
        if "schema" not in changed:
            yield _schema_fact(request.schema)
        elif changed["schema"] == "json_object":
            yield "json_object"
    zero = request.temperature == 0 and "positive" in text  # some servers know greedy decoding by another field
    if zero and "temperature" not in changed and "temperature" in text:
        yield _temperature(request)
    if not unsupported or bound:
        return  # a number out of range is the recipe's mistake
    for name in _optional(request):
        if name not in changed and re.search(rf"\b{name}\b", text):
            yield name
    if "temperature" not in changed and "temperature" in text:
        yield _temperature(request)


def _fewer(text: str, asked: int) -> str:
    """Return the fact for fewer alternatives: the largest number below those asked in the text, else a small one."""
    named = {int(number) for number in re.findall(r"(?<![\w.-])\d{1,3}(?![\w-])", text)}
    allowed = max((n for n in named if 0 < n < asked), default=0)
    if not allowed and asked > FEWER_LOGPROBS:
        allowed = FEWER_LOGPROBS
    return f"top_logprobs>{allowed}" if allowed else "logprobs"


def _optional(request: Request) -> list[str]:
    """Return the fields that are sent for a request and may be left out; a stop is then cut from the reply here."""
    sent = {
        "top_p": True,
        "seed": request.seed is not None,
        "stop": bool(request.stop),
        "presence_penalty": bool(request.presence_penalty),
        "frequency_penalty": bool(request.frequency_penalty),
    }
    return [name for name, is_sent in sent.items() if is_sent]


def _given(request: Request) -> set[str]:
    """Return the fields that `extra` decides."""
    return {_field(name) for name in request.extra}


def _field(name: str) -> str:
    """Return the field of a request that a fact or a field of a body is about."""
    base = re.split("[=>]", name)[0]
    return _FIELDS.get(base, base)


def _temperature(request: Request) -> str:
    return f"temperature={float(request.temperature)!r}"


def _schema_fact(schema: Mapping[str, Any]) -> str:
    return f"json_schema={blake3(canonical_json(schema).encode()).hexdigest()[:16]}"
