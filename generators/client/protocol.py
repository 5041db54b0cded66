"""The OpenAI-compatible wire format: requests to JSON bodies, reply texts to completions or faults.

Replies are foreign text: nothing about their shape is taken for granted, and lone surrogates, which JSON can smuggle
in and Parquet cannot hold, are replaced before anybody sees them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from blake3 import blake3

from windtunnel.generators.client.completion import Completion, Request, TokenLogprob, clean
from windtunnel.generators.client.faults import Fault

LEAST_LOGPROB = -9999.0  # what vLLM writes for minus infinity; JSON has no word for it


def path(request: Request) -> str:
    """Return the path below the endpoint's URL."""
    return "/chat/completions" if request.messages else "/completions"


def body(request: Request, model: str, dialect: str, key: str, reask: int = 0) -> dict[str, Any]:
    """Return the JSON body; the re-ask number changes the seed and nothing else."""
    sent: dict[str, Any] = {"model": model, "temperature": request.temperature, "top_p": request.top_p}
    if request.messages:
        sent["messages"] = [{name: clean(value) for name, value in m.items()} for m in request.messages]
    else:
        sent["prompt"] = clean(request.prompt) if isinstance(request.prompt, str) else list(request.prompt or ())
    if request.seed is not None:
        sent["seed"] = _seed(key, reask)
    if request.logprobs is not None:
        chat = {"logprobs": True, "top_logprobs": request.logprobs}
        sent |= chat if request.messages else {"logprobs": request.logprobs}
    if request.schema is not None:
        sent |= _schema(request, dialect)
    optional = {
        "max_tokens": request.max_tokens,
        "stop": [clean(s) for s in request.stop] or None,
        "presence_penalty": request.presence_penalty or None,
        "frequency_penalty": request.frequency_penalty or None,
    }
    sent |= {name: value for name, value in optional.items() if value is not None}
    return sent | dict(request.extra)


def completion(request: Request, text: str) -> Completion:
    """Return the completion that a reply with status 200 holds; its `error` is set when the reply will not do.

    Raises Fault("bad_reply") when the text is no reply at all: HTML, half a JSON text, an error in disguise.
    """
    try:
        data = json.loads(text)  # not orjson: it refuses a whole reply for one lone surrogate
        choice = data["choices"][0]
        logprobs = choice.get("logprobs")
        if request.messages:
            said = _content(choice["message"].get("content"))
            tokens = _chat_logprobs(logprobs) if logprobs else None
        else:
            said = _content(choice["text"])
            tokens = _prompt_logprobs(logprobs) if logprobs else None
        usage = data.get("usage") or {}
        found = Completion(
            text=clean(said),
            finish_reason=clean(str(choice.get("finish_reason") or "")),
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
            logprobs=tokens,
        )
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        start = " ".join(text[:120].split())
        raise Fault("bad_reply", f"status 200, but no completion ({type(error).__name__}): {start!r}") from error
    return _judged(request, found)


def _judged(request: Request, found: Completion) -> Completion:
    """Return the completion with its error code, if its text is not what was asked for."""
    if found.finish_reason == "content_filter":
        return replace(found, error="filtered", detail="the server withheld the reply")
    if request.schema is not None:
        text = _unfenced(found.text)
        code, detail = _nonconformity(text, request.schema, found.finish_reason)
        return replace(found, text=text, error=code, detail=detail)
    if not found.text.strip() and not request.logprobs:
        return replace(found, error="empty_reply", detail=f"finish_reason {found.finish_reason or 'missing'}")
    return found


def _nonconformity(text: str, schema: Mapping[str, Any], finish_reason: str) -> tuple[str | None, str]:
    if not text.strip():
        return "empty_reply", f"finish_reason {finish_reason or 'missing'}"
    try:
        value = orjson.loads(text)
    except ValueError as error:
        code = "truncated_json" if finish_reason == "length" else "invalid_json"
        return code, f"{error}; ends with {text[-60:]!r}"
    from jsonschema import Draft202012Validator

    try:
        wrong = next(Draft202012Validator(dict(schema)).iter_errors(value), None)
        return (None, "") if wrong is None else ("schema_mismatch", f"{wrong.json_path}: {wrong.message}"[:300])
    except RecursionError:  # a model in a loop writes nothing but brackets
        return "schema_mismatch", f"nested too deeply; begins with {text[:60]!r}"


def _unfenced(text: str) -> str:
    """Return the inside of a reply that is one Markdown code block: models wrap JSON in it out of habit."""
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```") and "\n" in stripped:
        return stripped[stripped.index("\n") + 1 : -3].strip()
    return text


def _schema(request: Request, dialect: str) -> dict[str, Any]:
    if request.messages:
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": request.schema}}}
    # raw prompts have no such parameter in the original interface: there, only the check of the reply remains
    return {"structured_outputs": {"json": request.schema}} if dialect == "vllm" else {}


def _seed(key: str, reask: int) -> int:
    """Return 31 bits that depend on the whole request: one seed for all questions would correlate their samples."""
    return int.from_bytes(blake3(f"{key}:{reask}".encode()).digest()[:4], "big") & 0x7FFFFFFF


def _content(value: Any) -> str:
    """Return the text of a reply: a string, null, or a list of parts of which some are text."""
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
    """Return a log probability: no more than zero, and a number."""
    number = LEAST_LOGPROB if value is None else float(value)
    return min(number, 0.0) if math.isfinite(number) else LEAST_LOGPROB


def _count(value: Any) -> int:
    """Return a number of tokens; what can be none (below zero, NaN, more than a store's column holds) is zero."""
    number = float(value or 0)
    return int(number) if 0 <= number < 2**53 else 0
