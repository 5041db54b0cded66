"""Checks a layout by its examples: records in, turns or a reason out."""

from __future__ import annotations

from collections.abc import Iterator

from windtunnel.pipelines.layouts._layout import Example, Layout, Pair, Refused
from windtunnel.schemas.finding import Finding, differs, finding


def check(cls: type[Layout]) -> Iterator[Finding]:
    """Yield the outcome of every example."""
    if not cls.examples:
        yield Finding("examples", "no example of a record and the turns that come out")
    for number, example in enumerate(cls.examples, start=1):
        yield finding(f"example {number}", lambda example=example: _read(cls, example))


def _read(cls: type[Layout], example: Example) -> str | None:
    layout = cls(**example.params)
    if not layout.fits(list(example.record)):
        return f"does not fit its own columns {sorted(example.record)}"
    try:
        row = layout.row(example.record)
    except Refused as error:
        return differs(example.refused, error.reason)
    turns = [*row.prompt, *row.chosen, *row.rejected] if isinstance(row, Pair) else row.messages
    said = [(turn["role"], turn["content"]) for turn in turns]
    return differs(list(example.turns), said) if not example.refused else f"is not refused, it gives {said!r}"
