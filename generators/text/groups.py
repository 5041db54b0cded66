"""Groups and licences of rows: which rows belong together, so that a split never separates them.

A generated row states its groups in the lineage: those of every row or document that it is made from. A row that
states none belongs to the group of its own question, a document to its own. No other row is needed to know a group.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from blake3 import blake3

HEX_DIGITS = 32
_NEITHER = {code: None for code in range(128) if not chr(code).isalnum()}  # letter nor digit


def groups_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the groups of a conversation, a preference or a document, at least one."""
    stated = lineage_of(row).get("group")
    if names := [name for name in (stated if isinstance(stated, list) else [stated]) if isinstance(name, str) and name]:
        return tuple(names)
    if not (row.get("messages") or row.get("prompt")) and row.get("text"):
        return (document_group(str(row["id"])),)
    asked = first_question(row)
    return (text_group(asked) if asked else f"row:{row.get('id')}",)


def group_of(row: Mapping[str, Any]) -> str:
    """Return the group of a row, the first in sorted order where it has several."""
    return min(groups_of(row))


def licences_of(row: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Return the licences that the lineage of a row or the `meta` of a document states; (None,) for none."""
    stated = lineage_of(row).get("licence") or _stated(_object(row.get("meta")))
    return tuple(each if each is None else str(each) for each in (stated if isinstance(stated, list) else [stated]))


def document_group(name: str) -> str:
    """Return the group of everything that is made from a document, given its id."""
    return f"document:{name}"


def text_group(text: str) -> str:
    """Return the group of a question; questions that differ only in case, punctuation and spacing share it."""
    return blake3((normal(text) or text).encode("utf-8", "surrogatepass")).hexdigest()[:HEX_DIGITS]


def first_question(row: Mapping[str, Any]) -> str:
    """Return the first user message of a conversation or of a preference's prompt, "" when there is none."""
    messages: Sequence[Mapping[str, str]] = row.get("messages") or row.get("prompt") or ()
    return next((m["content"] for m in messages if m["role"] == "user"), "")


def normal(text: str) -> str:
    """Return a text without case, punctuation and spacing (NFKD, letters and digits only)."""
    if text.isascii():
        return text.lower().translate(_NEITHER)
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in folded if c.isalnum())


def lineage_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's lineage as an object, empty when it has none that can be read."""
    return _object(row.get("lineage"))


def _object(text: Any) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _stated(meta: Mapping[str, Any]) -> str | None:
    return next((str(meta[key]) for key in ("licence", "license") if meta.get(key)), None)
