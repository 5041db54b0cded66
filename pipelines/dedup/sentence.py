"""Repeated runs of sentences (or lines, or paragraphs): each stays where it stands first and is cut out elsewhere."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from windtunnel.pipelines.dedup._dedup import Example
from windtunnel.pipelines.dedup._spans import SpanDedup, Unit


class Sentence(SpanDedup):
    """Runs of `span` units that stand in several places (C4 and datatrove take three sentences).

    Units are compared by their normalised words. Sentences end at . ! ? and their wide forms, before a space that no
    small letter follows, and at line ends.
    """

    primary = "span"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            (
                "One is here. Two is here. Three is it.",
                "Zero is it. One is here. Two is here.",
                "One is here. Two is here.",
            ),
            ("One is here. Two is here. Three is it.", "Zero is it."),
            {"span": 2, "min_words": 2, "min_units": 1},
        ),
    )
    span: int = Field(3, ge=1, le=1000)
    unit: Literal["sentence", "line", "paragraph"] = "sentence"

    @property
    def shape(self) -> tuple[Unit, int]:
        return self.unit, self.span
