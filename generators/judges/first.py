"""The answer that is shown first is the better one: what a judge without a view does, found out by the other order."""

from __future__ import annotations

from collections.abc import Sequence

from windtunnel.generators.judges._judge import Example, Judge, Pair, Verdict


class First(Judge):
    """Prefers the first of the two in either order, so its two opinions always contradict each other."""

    examples = (Example(Pair("q", "one", "two"), "tie"),)

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return verdicts that are ties by contradiction."""
        return [Verdict(ab=1.0, ba=0.0) for _ in pairs]
