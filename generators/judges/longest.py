"""The longer answer is the better one: the baseline that many a model judge does not beat."""

from __future__ import annotations

from collections.abc import Sequence

from windtunnel.generators.judges._judge import Example, Judge, Pair, Verdict


class Longest(Judge):
    """Prefers the answer with more characters, in whatever order; equal lengths are a tie."""

    examples = (
        Example(Pair("q", "longer", "short"), "a"),
        Example(Pair("q", "short", "longer"), "b"),
        Example(Pair("q", "equal", "equal"), "tie"),
    )

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return certain verdicts."""
        return [self._verdict(len(pair.response_a) - len(pair.response_b)) for pair in pairs]

    @staticmethod
    def _verdict(difference: int) -> Verdict:
        p = 0.5 if difference == 0 else float(difference > 0)
        return Verdict(p, p)
