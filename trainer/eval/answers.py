"""The step that generates a trained model's greedy answers to held-out questions.

A judge compares the answers of two models; the plan runs this step once per run, before judging.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from pydantic import Field

from windtunnel.schemas.artifact import Artifact, write_parquet
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts, Work

ANSWERS = pa.schema(
    [
        pa.field("document", pa.string(), nullable=False),  # id of the row with the question
        pa.field("source", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),  # shared by rows of one origin
        pa.field("prompt", pa.large_string(), nullable=False),
        pa.field("answer", pa.large_string(), nullable=False),
    ]
)

COLUMNS = ("id", "source", "group", "messages")  # of the questions; only rows of a split have `group`


class Answers(Work):
    """Writes `answers.parquet`. Inputs: `run` with `model/`, `questions` with conversations in `rows/`.

    Asks the first user turn of `questions` conversations, those with the lowest hashes of their ids.
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

        chosen = sorted(_questions(inputs["questions"]), key=lambda row: blake3(row["document"].encode()).digest())
        counts = Counts(seen=len(chosen))
        with numerics(self.threads, 0, self.device):
            replier = Replier(inputs["run"].path / "model", self.batch_tokens, self.device)
            refused = [replier.refusal(row["prompt"], self.max_tokens) for row in chosen]
            answerable = [row for row, reason in zip(chosen, refused, strict=True) if reason is None]
            asked = answerable[: self.questions]
            answers = replier.free_replies([row["prompt"] for row in asked], self.max_tokens)
        if not asked:
            raise InputError(
                f"{inputs['questions'].path.name} has no question that fits the model's template and context"
            )
        rows = [{**row, "answer": answer} for row, answer in zip(asked, answers, strict=True)]
        write_parquet(out / "answers.parquet", pa.Table.from_pylist(rows, schema=ANSWERS))
        counts.kept = len(asked)
        counts.dropped = {"beyond_the_number": len(answerable) - len(asked)}
        counts.dropped |= {reason: refused.count(reason) for reason in ("special_token", "too_long")}
        return counts.check("answers")


def _questions(artifact: Artifact) -> list[dict[str, str]]:
    """Return document, source, group and first user turn of every conversation, without duplicate questions."""
    questions: dict[str, dict[str, str]] = {}
    for file in artifact.files("rows"):
        names = pq.read_schema(file).names
        for row in pq.read_table(file, columns=[name for name in COLUMNS if name in names]).to_pylist():
            prompt = next((m["content"] for m in row["messages"] if m["role"] == "user"), "")
            if prompt:
                about = {"document": row["id"], "source": row["source"], "group": row.get("group") or row["id"]}
                questions.setdefault(prompt, about | {"prompt": prompt})
    return list(questions.values())
