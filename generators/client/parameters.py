"""Further fields of the requests to one model, as a recipe gives them: `parameters: {reasoning_effort: low}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from windtunnel.schemas.artifact import canonical_json

_OURS = ("model", "messages", "prompt", "stream", "stream_options", "n", "best_of", "echo", "logprobs", "top_logprobs")
_SECRET = re.compile(r"(api|access|secret|private)[_-]?key|authori[sz]ation|secret|passw|bearer|credential", re.I)


def checked_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as they are; they are stored with every result.

    Raises ValueError for a field that the client decides, one that may hold a secret, and values that JSON lacks.
    """
    for name in parameters:
        if name in _OURS:
            raise ValueError(f"{name!r} is decided by what is asked: leave it out of `parameters:`")
    try:
        text = canonical_json(parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`parameters:` are fields of a JSON request: {error}") from None
    if any(_SECRET.search(name) for name in _names(parameters)) or re.search(r"\bBearer |\bsk-\w{8}", text):
        raise ValueError(
            "`parameters:` are written into results, so they hold no secret: name its variable with `key:`"
        )
    return dict(parameters)


def _names(value: Any) -> list[str]:
    """Return the field names of a JSON value, nested ones included."""
    if isinstance(value, Mapping):
        return [str(name) for name in value] + [name for inner in value.values() for name in _names(inner)]
    return [name for inner in value for name in _names(inner)] if isinstance(value, list | tuple) else []
