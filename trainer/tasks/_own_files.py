"""Evaluation files of a user, recognised by what they hold."""

from __future__ import annotations

from pathlib import Path

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.printable import one_line
from windtunnel.trainer.tasks._evaluation import Evaluation
from windtunnel.trainer.tasks._file_task import FileTask, rows_of

YAML = (".yaml", ".yml")
# The columns that tell the kind of a file, in the order in which they decide.
COLUMNS = {
    "constraints": "constraints", "choices": "choices", "options": "choices", "answer": "exact",
    "good": "minimal_pairs", "sentence_good": "minimal_pairs", "text": "perplexity",
}  # fmt: skip


def own_task(file: str | Path) -> FileTask:
    """Return the task of a file: lm-eval's for YAML, else that of its first line's columns. Raises InputError."""
    path = Path(file)
    if path.suffix.lower() in YAML:
        kind = "lm_eval"
    elif path.suffix.lower() == ".parquet":
        kind = "perplexity"
    else:
        _, first = next(rows_of(path), (0, None))
        if first is None:
            raise InputError(f"{path} has no questions")
        kind = next((kind for column, kind in COLUMNS.items() if column in first), None)
        if kind is None:
            raise InputError(
                f"{path} is no evaluation file: a line has `question, choices, answer`, `question, answer`, `prompt, "
                f"constraints`, `good, bad` or `text`, and here "
                f"{', '.join(one_line(name, 30) for name in first) or 'nothing'}"
            )
    task = make(Evaluation, {kind: {"file": str(path)}})  # type: ignore[type-abstract]
    assert isinstance(task, FileTask)
    return task


def questions(file: str | Path) -> list[tuple[str, str]]:
    """Return (id, text) of every question of an evaluation file, for the search of training rows that repeat one.

    Raises InputError for a file that cannot be read as a whole; see FileTask.
    """
    return [(question.id, question.text) for question in own_task(file).questions()]
