"""Repeated lines: a line that a Bloom filter has seen, in this document or an earlier one, is taken out."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from windtunnel.pipelines.dedup._bloom import BloomDedup


class Line(BloomDedup):
    """Lines are compared by their normalised words; those of fewer than `shortest` words are left alone."""

    primary = "shortest"
    shortest: int = Field(1, ge=1)

    def filtering(self) -> dict[str, Any]:
        return {"ngram": 0, "paragraph": False, "threshold": 1.0, "whole": False, "shortest": self.shortest}

    def keys_of(self, size: int) -> int:
        return size // 16  # a line of text has more bytes than that; code may need `expected`
