"""The pool of accepted instructions, with which a new one is compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from windtunnel.generators.text.instructions import unsuitable
from windtunnel.generators.text.novelty import NearDuplicateGate, Nearest, RougeGate
from windtunnel.generators.text.seed_tasks import SeedTask


class Pool:
    """Seed tasks and accepted instructions of the model; refuses an instruction that is unsuitable or not new.

    `similarity` is the ROUGE-L F above which an instruction is not new, `near_duplicate` the share of equal MinHashes
    from which it is a near-duplicate (None: no second gate).
    """

    def __init__(
        self,
        tasks: Sequence[SeedTask],
        similarity: float = 0.7,
        near_duplicate: float | None = None,
        words: Literal["ascii", "unicode"] = "ascii",
        ascii_start: bool = True,
    ) -> None:
        self.tasks = tasks
        self.own: list[str] = []
        self._similarity, self._ascii_start = similarity, ascii_start
        self._rouge = RougeGate(words)
        self._near = NearDuplicateGate(near_duplicate) if near_duplicate is not None else None
        for task in tasks:
            self._remember(task.instruction)

    def refusal(self, instruction: str) -> tuple[str | None, Nearest | None]:
        """Return (reason or None, the most similar one in the pool or None where the form decides)."""
        reason = unsuitable(instruction, self._ascii_start)
        if reason is not None:
            return reason, None
        nearest = self._rouge.nearest(instruction)
        if nearest.similarity > self._similarity:
            return "not_new", nearest
        if self._near is not None and self._near.find(instruction) is not None:
            return "near_duplicate", nearest
        return None, nearest

    def accept(self, instruction: str) -> None:
        """Add an instruction of the model."""
        self._remember(instruction)
        self.own.append(instruction)

    def name(self, index: int) -> str | int:
        """Return the id of a seed task, or the number of an instruction of the model."""
        return self.tasks[index].id if index < len(self.tasks) else index - len(self.tasks)

    def about(self, nearest: Nearest | None) -> dict[str, list[str | int | float]]:
        """Return the lineage entry on the nearest neighbour."""
        if nearest is None or nearest.index < 0:
            return {}
        return {"nearest": [self.name(nearest.index), round(nearest.similarity, 4)]}

    def _remember(self, instruction: str) -> None:
        self._rouge.add(instruction)
        if self._near is not None:
            self._near.add(instruction)
