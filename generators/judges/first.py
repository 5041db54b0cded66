"""Prefers the answer that is shown first: the baseline of a judge that goes by position."""

from __future__ import annotations

from collections.abc import Sequence

from windtunnel.generators.judges._judge import Example, Judge, Pair, Verdict


class First(Judge):
    """Prefers the first answer in either order, so that its verdicts contradict each other."""

    examples = (Example(Pair("q", "one", "two"), "tie"),)

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return inconsistent verdicts."""
        return [Verdict(ab=1.0, ba=0.0) for _ in pairs]
