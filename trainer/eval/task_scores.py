"""The step that evaluates a model on checkable tasks: greedy replies with exact scores, and the nats of the answers.

The plan runs it once per training run. Likelihoods of correct answers improve before the replies of small models do, so
both are recorded, one line per item.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from windtunnel.schemas.artifact import Artifact, canonical_json, write_parquet, write_text
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import label, make
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.tasks._task import Item, Task, Text

if TYPE_CHECKING:
    from windtunnel.trainer.eval.replies import Replier

ITEMS = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("document", pa.string(), nullable=False),  # task and document, unique per item
        pa.field("source", pa.string(), nullable=False),  # the task, by which effects are grouped
        pa.field("prompt", pa.large_string(), nullable=False),
        pa.field("answer", pa.large_string(), nullable=False),
        pa.field("reply", pa.large_string(), nullable=False),
        pa.field("correct", pa.float64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),  # of the correct answer
        pa.field("nats", pa.float64(), nullable=False),  # of the correct answer and the token that ends it
    ]
)


class TaskScores(Work):
    """Writes `items.parquet`, `tasks.json`. Inputs: `run` with `model/`, `documents` with `documents/` or `kept/`."""

    version: ClassVar[int] = 2
    tasks: tuple[Any, ...] = ("copying", "counting", "extraction", "question_answering", "sorting")
    lang: str | None = "en"  # restrict documents to this language, where it is known
    batch_tokens: int = Field(default=8192, gt=0)  # prompt tokens per batch
    threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"

    def plugins(self) -> list[Task]:
        """Return the tasks."""
        return [make(Task, spec) for spec in self.tasks]

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.trainer.eval.replies import Replier
        from windtunnel.trainer.runtime.numerics import numerics

        counts = Counts()
        with numerics(self.threads, 0, self.device):
            replier = Replier(inputs["run"].path / "model", self.batch_tokens, self.device)
            lines = [line for task in self.plugins() for line in self._task(task, inputs, replier, counts)]
        write_parquet(out / "items.parquet", pa.Table.from_pylist(lines, ITEMS))
        write_text(out / "tasks.json", canonical_json(summary(lines)))
        return counts.check("task scores")

    def _task(
        self, task: Task, inputs: Mapping[str, Artifact], replier: Replier, counts: Counts
    ) -> list[dict[str, Any]]:
        name, candidates = label(task), task.make(texts(inputs["documents"], self.lang))
        room = replier.room([item.answer for item in candidates])
        reasons = [replier.refusal(item.prompt, room, item.answer) for item in candidates]
        items = [item for item, reason in zip(candidates, reasons, strict=True) if reason is None]
        counts.seen += task.items
        counts.kept += len(items)
        dropped = {"too_few_documents": task.items - len(candidates)}
        dropped |= {reason: reasons.count(reason) for reason in ("special_token", "too_long")}
        counts.dropped |= {f"{name}:{reason}": number for reason, number in dropped.items() if number}
        if candidates and not items:
            detail = ", ".join(f"{reason} {number}" for reason, number in Counter(reasons).most_common())
            raise InputError(f"the model accepts none of the {len(candidates)} questions of task {name!r}: {detail}")
        if not items:
            raise InputError(
                f"{inputs['documents'].path.name} has no document from which task {name!r} can make an item"
            )
        return scored(name, task, items, replier)


def scored(name: str, task: Task, items: Sequence[Item], replier: Replier) -> list[dict[str, Any]]:
    """Return one row of ITEMS per item."""
    replies = replier.replies([item.prompt for item in items], [item.answer for item in items])
    nats = replier.answer_nats([item.prompt for item in items], [item.answer for item in items])
    return [
        {
            "task": name,
            "document": f"{name}:{item.id}",
            "source": name,
            "prompt": item.prompt,
            "answer": item.answer,
            "reply": reply,
            "correct": task.score(item, reply),
            "bytes": len(item.answer.encode()),
            "nats": float(value),
        }
        for item, reply, value in zip(items, replies, nats, strict=True)
    ]


def summary(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return number of items, accuracy and bits per byte of the correct answer, by task."""
    out = {}
    for task in sorted({line["task"] for line in lines}):
        rows = [line for line in lines if line["task"] == task]
        bits = sum(line["nats"] for line in rows) / np.log(2)
        out[task] = {
            "items": len(rows),
            "accuracy": float(np.mean([line["correct"] for line in rows])),
            "answer_bits_per_byte": float(bits / sum(line["bytes"] for line in rows)),
        }
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
