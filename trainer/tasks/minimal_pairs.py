"""Prefer the good one of two sentences of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from windtunnel.trainer.tasks._evaluation import Asker, Measured, Text
from windtunnel.trainer.tasks._file_task import FileTask, text_of
from windtunnel.trainer.tasks._pieces import Made, measured


class MinimalPairs(FileTask):
    """Pairs of sentences that differ in one point, of which one is good, as in BLiMP (Warstadt et al. 2020).

    A line has `good` and `bad` (or BLiMP's `sentence_good`, `sentence_bad`) and optionally `part` (or `UID`), by which
    scores are shown. `acc`: the good sentence is the likelier one, as it stands and without a template (chance: one
    half). `acc_norm` compares by byte.
    """

    gives: ClassVar[str] = (
        '{"good": "The mill turns.", "bad": "The mill turn.", "part": "verbs"}\n'
        '{"sentence_good": "It rains.", "sentence_bad": "It rain.", "UID": "verbs", "id": 7}\n'
    )
    refuses: ClassVar[tuple[tuple[str, str], ...]] = (
        ('{"good": "The mill turns."}', "line 1: there is no 'bad'; its columns: good"),
        ('{"good": "It rains.", "bad": "It rains."}', "line 1: both sentences are the same"),
        ('{"good": " ", "bad": "It rain."}', "'good' must be a text that is not blank"),
        ('{"good": "a", "bad": "b", "part": 1.5}', "'part' must be a text or a whole number"),
    )

    def parse(self, row: Mapping[str, Any]) -> tuple[str, tuple[str, str]]:
        good, bad = text_of(row, "good", "sentence_good"), text_of(row, "bad", "sentence_bad")
        if good == bad:
            raise ValueError("both sentences are the same")
        return good, (bad, part_of(row, "part", "UID"))

    def measure(self, documents: Callable[[], Iterable[Text]], asker: Asker) -> Measured:
        """Compare the sentences of every pair; see Evaluation."""
        pairs = [(question, *question.about) for question in self.questions()]
        return measured([Made(q.id, (), ((q.text,), (bad,)), part, q.group) for q, bad, part in pairs], asker)


def part_of(row: Mapping[str, Any], *names: str) -> str:
    """Return the first of several columns that a row has as the name of a part; empty without. Raises ValueError."""
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        return ""
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{name!r} must be a text or a whole number")
    return str(value)
