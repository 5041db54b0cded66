"""What the torture tests found, one line a fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Line:
    """How often a fault was tried, and how often the run survived it as it should."""

    tried: int = 0
    survived: int = 0
    slowest: float = 0.0
    lost: list[str] = field(default_factory=list)  # what went wrong


class Table:
    """Lines by fault, in the order of their first try."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}

    def add(self, fault: str, wrong: str | None = None, seconds: float = 0.0) -> None:
        """Note one try of a fault: `wrong` tells what was lost; `seconds` is what the end, or the error, took."""
        line = self.lines.setdefault(fault, Line())
        line.tried += 1
        line.survived += wrong is None
        line.slowest = max(line.slowest, seconds)
        if wrong is not None:
            line.lost.append(wrong)

    def lost(self, prefix: str = "") -> list[str]:
        """Return what was lost under faults whose names begin so."""
        return [f"{name}: {w}" for name, line in self.lines.items() if name.startswith(prefix) for w in line.lost]

    def __str__(self) -> str:
        return "\n".join(self._rows())

    def _rows(self) -> Iterator[str]:
        width = max(map(len, self.lines), default=5) + 2
        yield f"{'fault':<{width}}{'tried':>7}{'survived':>10}{'lost':>6}{'slowest (s)':>13}"
        for name, line in self.lines.items():
            yield f"{name:<{width}}{line.tried:>7}{line.survived:>10}{len(line.lost):>6}{line.slowest:>13.1f}"
