"""The step that evaluates a model on tasks: one line per item, with its score and the nats of the right answer.

The plan runs it once per training run. Likelihoods of correct answers improve before the replies of small models do, so
both are recorded. A model is asked by its chat template where its tokenizer has one, else as a plain language model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from pydantic import Field

from windtunnel.schemas.artifact import Artifact, canonical_json, write_parquet, write_text
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import full_spec, make
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.tasks._evaluation import Asker, Evaluation, Row, Text
from windtunnel.trainer.tasks._file_task import FileTask

METRICS = pa.list_(
    pa.struct([pa.field("name", pa.string()), pa.field("value", pa.float64()), pa.field("chance", pa.float64())])
)
ITEMS = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),  # its title, with the part where it has parts
        pa.field("document", pa.string(), nullable=False),  # task and item, unique
        pa.field("source", pa.string(), nullable=False),  # the task, by which effects are grouped
        pa.field("group", pa.string(), nullable=False),  # shared by items of one origin
        pa.field("prompt", pa.large_string(), nullable=False),
        pa.field("answer", pa.large_string(), nullable=False),
        pa.field("reply", pa.large_string(), nullable=False),
        pa.field("correct", pa.float64(), nullable=False),  # the score that runs are compared by, from 0 to 1
        pa.field("chance", pa.float64()),  # the expected `correct` of a guess, where there is one
        pa.field("metrics", METRICS, nullable=False),  # further scores
        pa.field("bytes", pa.int64()),  # of the correct answer; null where no one answer is right
        pa.field("nats", pa.float64()),  # of the correct answer; of tasks made from documents with what ends it
        pa.field("tokens", pa.int64()),  # of the correct answer, where they are counted
    ]
)


class TaskScores(Work):
    """Writes `items.parquet`, `tasks.json`. Inputs: `run` with `model/`, `documents` with `documents/` or `kept/`.

    `digests` are those of the files of the tasks in order, which must not change between the plan and the run.
    """

    version: ClassVar[int] = 5
    tasks: tuple[Any, ...] = ("copying", "counting", "extraction", "question_answering", "sorting")
    digests: tuple[str, ...] = ()
    lang: str | None = "en"  # restrict documents to this language, where it is known
    batch_tokens: int = Field(default=8192, gt=0)  # prompt tokens per batch
    threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"

    def plugins(self) -> list[Evaluation]:
        """Return the tasks."""
        return [make(Evaluation, spec) for spec in self.tasks]  # type: ignore[type-abstract]

    def identity(self) -> dict[str, Any]:
        """Return the content of the key, with the digests of files in place of where they lie."""
        specs = [_without_file(task, spec) for task, spec in zip(self.plugins(), self.tasks, strict=True)]
        return super().identity() | {"tasks": specs}

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.trainer.eval.replies import open_asker
        from windtunnel.trainer.runtime.numerics import numerics

        tasks, counts = self.plugins(), Counts()
        if self.digests and digests_of(tasks) != self.digests:
            raise InputError("a file of the tasks has changed since the run was planned: run again")
        with numerics(self.threads, 0, self.device):
            asker = open_asker(inputs["run"].path / "model", self.batch_tokens, self.device)
            lines = [line for task in tasks for line in self._task(task, inputs, asker, counts)]
        write_parquet(out / "items.parquet", table_of(lines))
        write_text(out / "tasks.json", canonical_json(summary(lines, counts.dropped)))
        return counts.check("task scores")

    def _task(
        self, task: Evaluation, inputs: Mapping[str, Artifact], asker: Asker, counts: Counts
    ) -> list[dict[str, Any]]:
        documents = inputs.get("documents")
        try:
            found = task.measure(lambda: texts(documents, self.lang) if documents else (), asker)
        except InputError as error:
            where = f"{documents.path.name}: " if documents and task.needs_documents else ""
            raise InputError(f"{where}{error}") from error
        counts.kept += len(found.rows)
        counts.seen += len(found.rows) + sum(found.dropped.values())
        counts.dropped |= dropped_of(task.title, found.dropped)
        return lines_of(task.title, found.rows)


def _without_file(task: Evaluation, spec: Any) -> Any:
    """Return the spec of a task, of a task on files with its title and without the file's path."""
    if not isinstance(task, FileTask):
        return spec
    ((name, parameters),) = full_spec(task).items()
    return {name: {key: value for key, value in parameters.items() if key != "file"} | {"name": task.title}}


def lines_of(name: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one row of ITEMS per outcome of a task's items; parts of a task are tasks `NAME/PART`."""
    lines = []
    for row in rows:
        task = f"{name}/{row.part}" if row.part else name
        metrics = [{"name": m, "value": value, "chance": row.chances.get(m)} for m, value in row.metrics.items()]
        about = {"task": task, "document": f"{task}:{row.id}", "source": task, "group": f"{name}:{row.group or row.id}"}
        values = ("prompt", "answer", "reply", "correct", "chance", "bytes", "nats", "tokens")
        lines.append(about | {value: getattr(row, value) for value in values} | {"metrics": metrics})
    return lines


def dropped_of(name: str, dropped: Mapping[str, int]) -> dict[str, int]:
    """Return the number of a task's questions that were not asked by TASK:REASON, TASK being NAME or NAME/PART."""
    split = {key: key.rpartition(":") for key, number in dropped.items() if number}
    return {f"{name}/{part}:{why}" if part else f"{name}:{why}": dropped[key] for key, (part, _, why) in split.items()}


def table_of(lines: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows of ITEMS as a table; lone surrogates, which no file can hold, become question marks."""
    return pa.Table.from_pylist(
        [
            {k: v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for k, v in line.items()}
            for line in lines
        ],
        ITEMS,
    )


def digests_of(tasks: Sequence[Evaluation]) -> tuple[str, ...]:
    """Return the digest of every file of the tasks, in order. Raises InputError for one that cannot be read."""
    found = []
    for file in (file for task in tasks for file in task.files()):
        try:
            found.append(blake3(file.read_bytes()).hexdigest()[:32])
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from error
    return tuple(found)


def summary(
    lines: Sequence[Mapping[str, Any]], dropped: Mapping[str, int] | None = None
) -> dict[str, dict[str, float]]:
    """Return number of items, accuracy, chance, the means of further metrics and the answer's likelihood, by task.

    The likelihood is in bits per byte, and as perplexity by token where the tokens are counted. `dropped` questions (as
    of `dropped_of`) are told as `not_asked`, also of tasks without any other.
    """
    out: dict[str, dict[str, float]] = {}
    for task in sorted({line["task"] for line in lines}):
        rows = [line for line in lines if line["task"] == task]
        values: dict[str, list[float]] = {}
        for line in rows:
            for metric in line.get("metrics", ()):
                values.setdefault(metric["name"], []).append(metric["value"])
        out[task] = {"items": len(rows), "accuracy": float(np.mean([line["correct"] for line in rows]))}
        if all(line.get("chance") is not None for line in rows):
            out[task]["chance"] = float(np.mean([line["chance"] for line in rows]))
        out[task] |= {name: float(np.mean(found)) for name, found in values.items()}
        if all(line["bytes"] for line in rows):
            nats = sum(line["nats"] for line in rows)
            out[task]["answer_bits_per_byte"] = float(nats / np.log(2) / sum(line["bytes"] for line in rows))
            if all(line.get("tokens") for line in rows):
                out[task]["token_perplexity"] = float(np.exp(nats / sum(line["tokens"] for line in rows)))
    for key, number in (dropped or {}).items():
        figures = out.setdefault(key.rpartition(":")[0], {"items": 0})
        figures["not_asked"] = figures.get("not_asked", 0) + number
    return out


def texts(artifact: Artifact, lang: str | None) -> Iterator[Text]:
    """Yield the documents of an artifact in a language (None: all languages)."""
    files = artifact.files("documents") or artifact.files("kept")
    if not files:
        raise InputError(f"{artifact.path.name} has neither documents/ nor kept/ to make tasks from")
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(512, columns=["id", "text", "lang"]):
                for row in batch.to_pylist():
                    if lang is None or row["lang"] in (None, lang):
                        yield Text(row["id"], row["text"])
