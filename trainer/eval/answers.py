"""The step that lets a trained model answer held-out questions, greedily, for a judge to read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from pydantic import Field

from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts, Work

ANSWERS = pa.schema(
    [
        pa.field("document", pa.string(), nullable=False),  # id of the row that asks
        pa.field("source", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),  # rows of one origin share it
        pa.field("prompt", pa.large_string(), nullable=False),
        pa.field("answer", pa.large_string(), nullable=False),
    ]
)

WANTED = ("id", "source", "group", "messages")  # columns of the questions; rows that were not split have no `group`


class Answers(Work):
    """Writes `answers.parquet`. Inputs: `run` with `model/`, `questions` with conversations in `rows/`.

    `questions` of them are asked, those with the lowest hash of their id; each by its first user turn.
    """

    version: ClassVar[int] = 3
    run_last: ClassVar[bool] = True
    questions: int = Field(default=40, gt=0)
    max_tokens: int = Field(default=96, gt=0)
    batch_tokens: int = Field(default=2048, gt=0)
    threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.trainer.eval.replies import Replier
        from windtunnel.trainer.runtime.numerics import numerics

        rows = _asked(inputs["questions"])
        chosen = sorted(rows, key=lambda row: blake3(row["document"].encode()).digest())
        counts = Counts(seen=len(rows))
        with numerics(self.threads, 0, self.device):
            replier = Replier(inputs["run"].path / "model", self.batch_tokens, self.device)
            refused = [replier.refusal(row["prompt"], self.max_tokens) for row in chosen]
            takes = [row for row, reason in zip(chosen, refused, strict=True) if reason is None]
            asked = takes[: self.questions]
            answers = replier.free_replies([row["prompt"] for row in asked], self.max_tokens)
        if not asked:
            raise InputError(
                f"{inputs['questions'].path.name} holds no question that the model's template and context take"
            )
        table = pa.Table.from_pylist(
            [{**row, "answer": answer} for row, answer in zip(asked, answers, strict=True)], schema=ANSWERS
        )
        with writing(out / "answers.parquet") as path:
            pq.write_table(table, path, compression="zstd")
        counts.kept = len(asked)
        counts.dropped = {"beyond_the_number": len(takes) - len(asked)}
        counts.dropped |= {reason: refused.count(reason) for reason in ("special_token", "too_long")}
        return counts.check("answers")


def _asked(artifact: Artifact) -> list[dict[str, str]]:
    """Return document, source, group and first user turn of every conversation; equal questions once."""
    found: dict[str, dict[str, str]] = {}
    for file in artifact.files("rows"):
        names = pq.read_schema(file).names
        for row in pq.read_table(file, columns=[name for name in WANTED if name in names]).to_pylist():
            prompt = next((m["content"] for m in row["messages"] if m["role"] == "user"), "")
            if prompt:
                about = {"document": row["id"], "source": row["source"], "group": row.get("group") or row["id"]}
                found.setdefault(prompt, about | {"prompt": prompt})
    return list(found.values())
