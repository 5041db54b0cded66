"""Passages of documents as material for a dialogue, with the facts about the document that lineage records."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

FEWEST_CHARACTERS = 120  # of a passage


def cut(document: Mapping[str, Any], characters: int, rng: random.Random) -> dict[str, Any]:
    """Return `material` (a passage of at most `characters`, or "" when there is none), document id, source and URL.

    The passage starts and ends at a paragraph, or ends at a sentence or word where one paragraph alone is too long.
    """
    about = {"document": document["id"], "document_source": document["source"]}
    if document.get("url"):
        about["url"] = document["url"]
    return about | {"material": passage(document["text"], characters, rng)}


def passage(text: str, characters: int, rng: random.Random) -> str:
    """Return a passage of whole paragraphs that starts at random where enough text follows, "" when nowhere does."""
    paragraphs = [p for part in re.split(r"\n\s*\n", text) if (p := part.strip())]
    left, starts = 0, []
    for i in range(len(paragraphs) - 1, -1, -1):
        left += len(paragraphs[i])
        if left >= FEWEST_CHARACTERS:
            starts.append(i)
    if not starts:
        return ""
    start = rng.choice(starts)
    chosen = [shortened(paragraphs[start], characters)]
    for paragraph in paragraphs[start + 1 :]:
        if sum(map(len, chosen)) + 2 * len(chosen) + len(paragraph) > characters:
            break
        chosen.append(paragraph)
    return "\n\n".join(chosen)


def shortened(text: str, characters: int) -> str:
    """Return the start of a text, cut after a sentence that ends in its second half, else after a word."""
    if len(text) <= characters:
        return text
    head = text[:characters]
    ends = [m.end() for m in re.finditer(r"[.!?。！？](?=\s|$)|[。！？]", head)]
    if ends and ends[-1] > characters // 2:
        return head[: ends[-1]]
    return head.rsplit(None, 1)[0] if len(head.split()) > 1 else head
