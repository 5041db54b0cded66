"""Prefers the longer answer: a baseline for model judges."""

from __future__ import annotations

from collections.abc import Sequence

from windtunnel.generators.judges._judge import Example, Judge, Pair, Verdict


class Longest(Judge):
    """Prefers the answer with more characters; equal lengths are a tie."""

    examples = (
        Example(Pair("q", "longer", "short"), "a"),
        Example(Pair("q", "short", "longer"), "b"),
        Example(Pair("q", "equal", "equal"), "tie"),
    )

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return verdicts with probabilities 0, 0.5 or 1."""
        return [self._verdict(len(pair.response_a) - len(pair.response_b)) for pair in pairs]

    @staticmethod
    def _verdict(difference: int) -> Verdict:
        p = 0.5 if difference == 0 else float(difference > 0)
        return Verdict(p, p)
