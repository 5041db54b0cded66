"""Chooses at random: the baseline of chance."""

from __future__ import annotations

from collections.abc import Sequence

from blake3 import blake3

from windtunnel.generators.judges._judge import Example, Judge, Pair, Verdict


class Random(Judge):
    """Draws a winner per pair and order, the same for the same seed and pair."""

    primary = "seed"
    examples = (Example(Pair("q", "one", "two"), "tie"), Example(Pair("q", "one", "two"), "b", {"seed": 3}))
    seed: int = 0

    def verdicts(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return verdicts, half of them inconsistent."""
        return [Verdict(self._draw(pair, "ab"), self._draw(pair, "ba")) for pair in pairs]

    def _draw(self, pair: Pair, order: str) -> float:
        return float(blake3(f"{self.seed}:{order}:{pair.id}".encode("utf-8", "replace")).digest()[0] & 1)
