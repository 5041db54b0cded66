"""Questions of evaluation files as rows, so that no training row asks what a task asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from blake3 import blake3

from windtunnel.pipelines.shards.writer import shard_writer
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.records import OWN_CONVERSATION, document_id
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.tasks._evaluation import Evaluation
from windtunnel.trainer.tasks._file_task import FileTask


class TaskQuestions(Work):
    """Writes the questions of the `tasks` that are read from files to `rows/`, each a turn of the user.

    `digests` are those of the files, which must not change between the plan and the run. How a task is scored is no
    part of the key: training, which these questions are kept out of, does not depend on it.
    """

    version: ClassVar[int] = 1
    tasks: tuple[Any, ...]
    digests: tuple[str, ...] = ()

    @classmethod
    def of(cls, specs: list[Any]) -> TaskQuestions | None:
        """Return the work for those tasks of a recipe that have files; None where there are none."""
        made = [(spec, make(Evaluation, spec)) for spec in specs]  # type: ignore[type-abstract]
        own = [(spec, task) for spec, task in made if isinstance(task, FileTask)]
        digests = tuple(_digest(file) for _, task in own for file in task.files())
        return cls(tasks=tuple(spec for spec, _ in own), digests=digests) if own else None

    def identity(self) -> dict[str, Any]:
        tasks = [task.asking() for task in self.plugins() if isinstance(task, FileTask)]
        return {**super().identity(), "tasks": tasks}

    def plugins(self) -> list[Evaluation]:
        return [make(Evaluation, spec) for spec in self.tasks]  # type: ignore[type-abstract]

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        tasks = [task for task in self.plugins() if isinstance(task, FileTask)]
        if tuple(_digest(file) for task in tasks for file in task.files()) != self.digests:
            raise InputError("a file of the tasks has changed since the run was planned: run again")
        rows = [_row(task.title, question.text) for task in tasks for question in task.questions()]
        with shard_writer(out, "rows", rank, OWN_CONVERSATION) as writer:
            writer.write_table(pa.Table.from_pylist(rows, schema=OWN_CONVERSATION))
        return Counts(seen=len(rows), kept=len(rows))


def _row(task: str, question: str) -> dict[str, Any]:
    return {
        "id": document_id(task, question),
        "messages": [{"role": "user", "content": question}],
        "source": task,
    }


def _digest(file: Path) -> str:
    try:
        return blake3(file.read_bytes()).hexdigest()[:32]
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
