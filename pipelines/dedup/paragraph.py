"""Repeated paragraphs: one most of whose n-grams a Bloom filter has seen is taken out, and whole documents likewise."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from windtunnel.pipelines.dedup._bloom import BloomDedup
from windtunnel.pipelines.dedup._dedup import Example


class Paragraph(BloomDedup):
    """DCLM's filter (BFF, "old-both"): 13-grams of words, four in five of which must be known.

    Paragraphs end at a blank line, or with `lines` at every line end. Those of fewer than `ngram` words are left alone.
    `whole` drops a document of whose n-grams that share is known.
    """

    primary = "threshold"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            ("a b c d e f\n\nOne is here.", "a b c d e f\n\nTwo is here.", "a b c d e f"),
            ("a b c d e f\n\nOne is here.", "Two is here."),
            {"ngram": 4},
        ),
    )
    threshold: float = Field(0.8, gt=0, le=1)
    ngram: int = Field(13, ge=1, le=1000)
    lines: bool = False
    whole: bool = True

    def filtering(self) -> dict[str, Any]:
        return {
            "ngram": self.ngram,
            "paragraph": not self.lines,
            "threshold": self.threshold,
            "whole": self.whole,
            "shortest": self.ngram,
        }

    def keys_of(self, size: int) -> int:
        return size // 4  # words are longer than that, spaces and all
