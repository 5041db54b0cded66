"""Repeated lines: a line that a Bloom filter has seen, in this document or an earlier one, is taken out."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from windtunnel.pipelines.dedup._bloom import BloomDedup
from windtunnel.pipelines.dedup._dedup import Example


class Line(BloomDedup):
    """Lines are compared by their normalised words; those of fewer than `shortest` words are left alone."""

    primary = "shortest"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(("Home\nOne is here.", "Home\nTwo is here.", "Home"), ("Home\nOne is here.", "Two is here.")),
        Example(("Home\nOne.", "Home\nTwo."), ("Home\nOne.", "Home\nTwo."), {"shortest": 2}),
    )
    shortest: int = Field(1, ge=1)

    def filtering(self) -> dict[str, Any]:
        return {"ngram": 0, "paragraph": False, "threshold": 1.0, "whole": False, "shortest": self.shortest}

    def keys_of(self, size: int) -> int:
        return size // 16  # a line of text has more bytes than that; code may need `expected`
