"""JSON and nothing else."""

from __future__ import annotations

import json
from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Constraint, Example

DEEPEST = 200  # of brackets: deeper ones could exhaust the parser's stack


class JsonFormat(Constraint):
    """A JSON value, with a Markdown fence around it or without, and nothing else."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example({}, '```json\n{"mill": [1, null]}\n```', "{'mill': 1}"),
        Example({}, " [1, 2]\n", 'Here it is: {"mill": 1}'),
    )

    def holds(self, reply: str) -> bool:
        text = reply.strip()
        for fence in ("```json", "```Json", "```JSON", "```"):
            text = text.removeprefix(fence)
        text = text.removesuffix("```").strip()
        if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
            return False
        try:
            json.loads(text)
        except ValueError:
            return False
        return True


def _depth(text: str) -> int:
    deepest = depth = 0
    for c in text:
        depth += (c in "[{") - (c in "]}")
        deepest = max(deepest, depth)
    return deepest
