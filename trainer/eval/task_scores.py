"""The step that puts checkable tasks to a model: greedy replies, exact scores, and the nats of the right answer.

Small models rarely reply rightly where a large one would; how likely they find the right answer moves long before, so
both are kept, one line per item.
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

from windtunnel.schemas.artifact import Artifact, canonical_json, write_text, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import label, make
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.tasks._task import Item, Task, Text

if TYPE_CHECKING:
    from windtunnel.trainer.eval.replies import Replier

ITEMS = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("document", pa.string(), nullable=False),  # task and document: one item each
        pa.field("source", pa.string(), nullable=False),  # the task again: what effects are grouped by
        pa.field("prompt", pa.large_string(), nullable=False),
        pa.field("answer", pa.large_string(), nullable=False),
        pa.field("reply", pa.large_string(), nullable=False),
        pa.field("correct", pa.float64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),  # of the right answer
        pa.field("nats", pa.float64(), nullable=False),  # of the right answer and the token that ends it
    ]
)


class TaskScores(Work):
    """Writes `items.parquet`, `tasks.json`. Inputs: `run` with `model/`, `documents` with `documents/` or `kept/`."""

    version: ClassVar[int] = 2
    tasks: tuple[Any, ...] = ("copying", "counting", "extraction", "question_answering", "sorting")
    lang: str | None = "en"  # documents of this language only, where the language is known
    batch_tokens: int = Field(default=8192, gt=0)  # prompt tokens that are read together
    threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"

    def made(self) -> list[tuple[str, Task]]:
        """Return the tasks by name, their parameters checked."""
        return [(label(task), task) for task in (make(Task, spec) for spec in self.tasks)]

    def plugins(self) -> list[Task]:
        """Return the tasks."""
        return [task for _, task in self.made()]

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.trainer.eval.replies import Replier
        from windtunnel.trainer.runtime.numerics import numerics

        counts = Counts()
        with numerics(self.threads, 0, self.device):
            replier = Replier(inputs["run"].path / "model", self.batch_tokens, self.device)
            lines = [line for name, task in self.made() for line in self._task(name, task, inputs, replier, counts)]
        with writing(out / "items.parquet") as partial:
            pq.write_table(pa.Table.from_pylist(lines, ITEMS), partial, compression="zstd")
        write_text(out / "tasks.json", canonical_json(summary(lines)))
        return counts.check("task scores")

    def _task(
        self, name: str, task: Task, inputs: Mapping[str, Artifact], replier: Replier, counts: Counts
    ) -> list[dict[str, Any]]:
        made = task.make(texts(inputs["documents"], self.lang))
        room = replier.room([item.answer for item in made])
        refused = [replier.refusal(item.prompt, room, item.answer) for item in made]
        items = [item for item, reason in zip(made, refused, strict=True) if reason is None]
        counts.seen += task.items
        counts.kept += len(items)
        lost = {"too_few_documents": task.items - len(made)}
        lost |= {reason: refused.count(reason) for reason in ("special_token", "too_long")}
        counts.dropped |= {f"{name}:{reason}": number for reason, number in lost.items() if number}
        if made and not items:
            why = ", ".join(f"{reason} {number}" for reason, number in Counter(refused).most_common())
            raise InputError(f"the model takes none of the {len(made)} questions of task {name!r}: {why}")
        if not items:
            raise InputError(f"{inputs['documents'].path.name} holds no document that task {name!r} can be made from")
        return scored(name, task, items, replier)


def scored(name: str, task: Task, items: Sequence[Item], replier: Replier) -> list[dict[str, Any]]:
    """Return one line of ITEMS per item."""
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
            "nats": float(spent),
        }
        for item, reply, spent in zip(items, replies, nats, strict=True)
    ]


def summary(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return items, accuracy and bits per byte of the right answer, by task."""
    out = {}
    for task in sorted({line["task"] for line in lines}):
        mine = [line for line in lines if line["task"] == task]
        bits = sum(line["nats"] for line in mine) / np.log(2)
        out[task] = {
            "items": len(mine),
            "accuracy": float(np.mean([line["correct"] for line in mine])),
            "answer_bits_per_byte": float(bits / sum(line["bytes"] for line in mine)),
        }
    return out


def texts(artifact: Artifact, lang: str | None) -> Iterator[Text]:
    """Yield an artifact's documents of a language, in batches."""
    files = artifact.files("documents") or artifact.files("kept")
    if not files:
        raise InputError(f"{artifact.path.name} holds neither documents/ nor kept/ to make tasks from")
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(512, columns=["id", "text", "lang"]):
                for row in batch.to_pylist():
                    if lang is None or row["lang"] in (None, lang):
                        yield Text(row["id"], row["text"])
