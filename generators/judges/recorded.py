"""Verdicts of another judge, recorded in the pairs as `"judge": {"ab": p, "ba": p}`."""

from __future__ import annotations

from collections.abc import Sequence

from windtunnel.generators.judges._judge import Example, Judge, Pair, Verdict


class Recorded(Judge):
    """Returns the recorded probabilities that the answer named a is better, shown first (ab) and second (ba)."""

    examples = (
        Example(Pair("q", "one", "two", recorded=(0.2, 0.4)), "b"),
        Example(Pair("q", "one", "two", recorded=(0.9, 0.1)), "tie"),
    )

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return the recorded verdicts; a pair without one has the error `not_recorded`."""
        return [
            Verdict(*pair.recorded) if pair.recorded else Verdict(error="not_recorded", detail='no "judge" field')
            for pair in pairs
        ]
