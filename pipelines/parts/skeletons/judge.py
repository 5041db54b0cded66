"""Prefers the answer that uses more of the prompt's words.

On labelled pairs: `windtunnel judge calibrate PAIRS.jsonl --judge ./new_part.py:NewPart`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from windtunnel.generators.judges._judge import Example, Judge, Pair, Verdict


class NewPart(Judge):
    """Counts the different words that an answer shares with the prompt; equal counts are a tie."""

    version: ClassVar[int] = 1  # raise it whenever the same pairs get other verdicts
    shortest: int = 4  # letters of a word that counts

    # Pairs and their winners: `windtunnel check judge ./new_part.py:NewPart` runs them.
    examples: ClassVar[tuple[Example, ...]] = (
        Example(Pair("Where does this river end?", "The river ends in a lake.", "In a lake."), "a"),
        Example(Pair("Where does this river end?", "In a lake.", "In the sea."), "tie"),
    )

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return one verdict a pair: how likely answer a is the better one, shown first and shown second."""
        return [self._verdict(pair) for pair in pairs]

    def _verdict(self, pair: Pair) -> Verdict:
        a, b = (len(self._words(text) & self._words(pair.prompt)) for text in (pair.response_a, pair.response_b))
        p = 0.5 if a == b else float(a > b)
        return Verdict(ab=p, ba=p)  # the order changes nothing here

    def _words(self, text: str) -> set[str]:
        return {word for word in text.lower().split() if len(word) >= self.shortest}
