"""The OpenAI-compatible wire format: requests to JSON bodies, reply texts to completions or faults.

Replies are foreign text: their shape is checked, and lone surrogates, which JSON can contain and Parquet cannot, are
replaced.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from blake3 import blake3

from windtunnel.generators.client.completion import UNCHANGED, Completion, Request, TokenLogprob, clean
from windtunnel.generators.client.faults import Fault
from windtunnel.generators.client.reasoning import split_reasoning
from windtunnel.schemas.artifact import canonical_json

_SCHEMA_TOLD = "\n\nReply with nothing but JSON that fits this JSON schema:\n"  # where no field of the body says it
LEAST_LOGPROB = -9999.0  # vLLM's value for minus infinity, which JSON lacks


def path(request: Request) -> str:
    """Return the path below the endpoint's URL."""
    return "/chat/completions" if request.messages else "/completions"


def body(
    request: Request, model: str, dialect: str, key: str, reask: int = 0, changes: Mapping[str, Any] = UNCHANGED
) -> dict[str, Any]:
    """Return the JSON body; the re-ask number only changes the seed, `changes` are of `Form.changes`."""
    sent: dict[str, Any] = {"model": model, "temperature": request.temperature, "top_p": request.top_p}
    form = changes.get("schema", "json_schema")
    if request.messages:
        sent["messages"] = [{name: clean(value) for name, value in m.items()} for m in request.messages]
        if request.schema is not None and form != "json_schema":
            last = sent["messages"][-1]
            sent["messages"][-1] = {**last, "content": last["content"] + _SCHEMA_TOLD + canonical_json(request.schema)}
    else:
        sent["prompt"] = clean(request.prompt) if isinstance(request.prompt, str) else list(request.prompt or ())
    if request.seed is not None:
        sent["seed"] = _seed(key, reask)
    alternatives = changes.get("logprobs", request.logprobs)
    if alternatives is not None:
        chat = {"logprobs": True, "top_logprobs": alternatives}
        sent |= chat if request.messages else {"logprobs": alternatives}
    if request.schema is not None:
        sent |= _schema(request, dialect, form)
    optional = {
        changes.get("max_tokens", "max_tokens"): request.max_tokens,
        "stop": [clean(s) for s in request.stop] or None,
        "presence_penalty": request.presence_penalty or None,
        "frequency_penalty": request.frequency_penalty or None,
    }
    left_out = {name for name, value in changes.items() if value is None}
    if "max_completion_tokens" in request.extra:
        left_out.add("max_tokens")  # two limits are refused by some servers
    sent = {name: value for name, value in (sent | optional).items() if value is not None and name not in left_out}
    return {name: value for name, value in (sent | dict(request.extra)).items() if value is not None}


def completion(request: Request, text: str, changes: Mapping[str, Any] = UNCHANGED) -> Completion:
    """Return the completion of a reply with status 200; its `error` is set when the reply is unusable.

    Reasoning is taken out of the answer of a chat, and a stop that the server was not told is applied here.

    Raises Fault("bad_reply") when the text is not a reply: HTML, truncated JSON, an error object.
    """
    try:
        data = json.loads(text)  # not orjson, which rejects a reply with a lone surrogate
        choice = data["choices"][0]
        logprobs = choice.get("logprobs")
        reasoning = ""
        if request.messages:
            message = choice["message"]
            inside, content = split_reasoning(_content(message.get("content")))
            apart = message.get("reasoning_content") or message.get("reasoning")
            reasoning = apart if isinstance(apart, str) else inside
            tokens = _chat_logprobs(logprobs) if logprobs else None
        else:
            content = _content(choice["text"])
            tokens = _prompt_logprobs(logprobs) if logprobs else None
        usage = data.get("usage") or {}
        reply = Completion(
            text=clean(_cut(content, request.stop) if "stop" in changes else content),
            reasoning=clean(reasoning),
            finish_reason=clean(str(choice.get("finish_reason") or "")),
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
            logprobs=tokens,
        )
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        start = " ".join(text[:120].split())
        raise Fault("bad_reply", f"status 200, but no completion ({type(error).__name__}): {start!r}") from error
    return _checked(request, reply, untold="schema" in changes)


def _checked(request: Request, reply: Completion, untold: bool) -> Completion:
    """Return the completion with an error code if its text does not meet the request."""
    if reply.finish_reason == "content_filter":
        return replace(reply, error="filtered", detail="the server withheld the reply")
    if request.schema is not None:
        text = _unfenced(reply.text)
        if untold and "{" in text:  # the server does not hold the model to JSON, which may write a sentence around it
            text = text[text.index("{") : text.rfind("}") + 1] or text
        code, detail = _nonconformity(text, request.schema, reply)
        return replace(reply, text=text, error=code, detail=detail)
    if not reply.text.strip() and not request.logprobs:
        return replace(reply, error="empty_reply", detail=_emptiness(reply))
    return reply


def _emptiness(reply: Completion) -> str:
    thought = ": the limit of tokens ended the reasoning before an answer" if reply.reasoning else ""
    return f"finish_reason {reply.finish_reason or 'missing'}{thought}"


def _nonconformity(text: str, schema: Mapping[str, Any], reply: Completion) -> tuple[str | None, str]:
    if not text.strip():
        return "empty_reply", _emptiness(reply)
    try:
        value = orjson.loads(text)
    except ValueError as error:
        code = "truncated_json" if reply.finish_reason == "length" else "invalid_json"
        return code, f"{error}; ends with {text[-60:]!r}"
    from jsonschema import Draft202012Validator

    try:
        wrong = next(Draft202012Validator(dict(schema)).iter_errors(value), None)
        return (None, "") if wrong is None else ("schema_mismatch", f"{wrong.json_path}: {wrong.message}"[:300])
    except RecursionError:  # a model in a loop writes only brackets
        return "schema_mismatch", f"nested too deeply; begins with {text[:60]!r}"


def _unfenced(text: str) -> str:
    """Return the content of a reply that is one Markdown code block, as models often write JSON."""
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```") and "\n" in stripped:
        return stripped[stripped.index("\n") + 1 : -3].strip()
    return text


def _cut(text: str, stops: Sequence[str]) -> str:
    """Return the text up to the first stop."""
    return text[: min([len(text), *(at for stop in stops if stop and (at := text.find(stop)) >= 0)])]


def _schema(request: Request, dialect: str, form: str) -> dict[str, Any]:
    if request.messages and form != "json_schema":
        return {"response_format": {"type": "json_object"}} if form == "json_object" else {}
    if request.messages:
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": request.schema}}}
    # the original interface has no such parameter for raw prompts: only the check of the reply remains
    return {"structured_outputs": {"json": request.schema}} if dialect == "vllm" else {}


def _seed(key: str, reask: int) -> int:
    """Return 31 bits that depend on the whole request: one seed for all requests would correlate their samples."""
    return int.from_bytes(blake3(f"{key}:{reask}".encode()).digest()[:4], "big") & 0x7FFFFFFF


def _content(value: Any) -> str:
    """Return the text of a reply that is a string, null, or a list of parts of which some are text."""
    if value is None or isinstance(value, str):
        return value or ""
    return "".join(part["text"] for part in value if part.get("type") in ("text", "output_text"))


def _chat_logprobs(value: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(
            clean(entry["token"]),
            _nats(entry["logprob"]),
            tuple((clean(t["token"]), _nats(t["logprob"])) for t in entry.get("top_logprobs") or ()),
        )
        for entry in value.get("content") or ()
    )


def _prompt_logprobs(value: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    tops = value.get("top_logprobs") or [None] * len(value["tokens"])
    return tuple(
        TokenLogprob(clean(token), _nats(logprob), tuple((clean(t), _nats(p)) for t, p in (top or {}).items()))
        for token, logprob, top in zip(value["tokens"], value["token_logprobs"], tops, strict=True)
    )


def _nats(value: float | None) -> float:
    """Return a finite log probability, at most zero."""
    number = LEAST_LOGPROB if value is None else float(value)
    return min(number, 0.0) if math.isfinite(number) else LEAST_LOGPROB


def _count(value: Any) -> int:
    """Return a number of tokens; a value below zero, NaN or too large for the store is zero."""
    number = float(value or 0)
    return int(number) if 0 <= number < 2**53 else 0
