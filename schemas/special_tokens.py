"""The special tokens of a tokenizer, read from its files: what its server parses in a message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_PUNCTUATION = re.compile(r"[^\w\s]")


def special_tokens(directory: Path) -> tuple[str, ...]:
    """Return the special tokens of a model directory, and other added tokens with signs, such as `<think>`.

    White space and added words, which texts need, are left out; so are files that are missing or unreadable.
    """
    found: set[str] = set()
    for name in FILES:
        try:
            content = json.loads((directory / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict):
            found.update(_of_vocabulary(content) if name == "added_tokens.json" else _of_file(content))
    return tuple(sorted(token for token in found if token.strip()))


def _of_file(content: dict[str, Any]) -> Iterator[str]:
    decoder = content.get("added_tokens_decoder")
    added = [*_list(content.get("added_tokens")), *(decoder.values() if isinstance(decoder, dict) else ())]
    for token in added:
        text = _text(token) if isinstance(token, dict) else ""
        if text and (token.get("special") or _PUNCTUATION.search(text)):
            yield text
    for key, value in content.items():
        if key.endswith("_token") or key in ("additional_special_tokens", "extra_special_tokens"):
            values = value.values() if isinstance(value, dict) and "content" not in value else _list(value) or [value]
            yield from filter(None, map(_text, values))


def _of_vocabulary(content: dict[str, Any]) -> Iterator[str]:
    yield from (token for token in content if _PUNCTUATION.search(token))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(token: Any) -> str:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""
