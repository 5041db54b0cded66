"""Which rows belong together: what comes from one instruction, one passage or one prompt is one thing to measure on.

A kind that makes several rows from one origin states their `group` in the lineage; rows made from another row take over
that row's group; any other row is of the group of its own question. So the group needs no other row to be known.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from blake3 import blake3

HEX_DIGITS = 32


def group_of(row: Mapping[str, Any]) -> str:
    """Return the group of a conversation, a preference or a document: equal for rows that belong together."""
    stated = lineage_of(row).get("group")
    if isinstance(stated, str) and stated:
        return stated
    if not (row.get("messages") or row.get("prompt")) and row.get("text"):
        return document_group(str(row["id"]))
    asked = first_question(row)
    return text_group(asked) if asked else f"row:{row.get('id')}"


def document_group(name: str) -> str:
    """Return the group of everything that is made from a document, given its id."""
    return f"document:{name}"


def text_group(text: str) -> str:
    """Return the group of an instruction or a question: texts that differ in case, marks and spacing only share it."""
    return blake3((normal(text) or text).encode("utf-8", "surrogatepass")).hexdigest()[:HEX_DIGITS]


def first_question(row: Mapping[str, Any]) -> str:
    """Return the first user message of a conversation or of a preference's prompt, "" when there is none."""
    messages: Sequence[Mapping[str, str]] = row.get("messages") or row.get("prompt") or ()
    return next((m["content"] for m in messages if m["role"] == "user"), "")


def normal(text: str) -> str:
    """Return a text without case, punctuation and spacing: what is left says whether two questions are one."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in folded if c.isalnum())


def lineage_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's lineage as an object, empty when it has none that can be read."""
    try:
        lineage = json.loads(row.get("lineage") or "{}")
    except ValueError:
        return {}
    return lineage if isinstance(lineage, dict) else {}
