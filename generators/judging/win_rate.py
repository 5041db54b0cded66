"""The step in which a judge compares a model's answers with the baseline's, in both orders, question by question."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.generators.client.budget import Budget
from windtunnel.generators.judges._judge import Pair, Verdict, no_verdicts
from windtunnel.generators.judging.served_judge import judge_identity, opened_judge
from windtunnel.generators.serving.served import Served
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts, Work

ANSWERS = "answers.parquet"
WINS = pa.schema(
    [
        pa.field("document", pa.string(), nullable=False),  # the question
        pa.field("source", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),  # questions of one origin share it
        pa.field("bytes", pa.int64(), nullable=False),  # of the model's answer
        pa.field("win", pa.float64(), nullable=False),  # 1, 0, or 0.5 where the two orders disagree
        pa.field("probability", pa.float64(), nullable=False),  # mean over both orders
        pa.field("first", pa.float64()),  # that it is better, when shown first; null: not asked or no verdict
        pa.field("second", pa.float64()),  # the same when shown second
        pa.field("consistent", pa.bool_(), nullable=False),
        pa.field("longer", pa.bool_()),  # null: equally long
    ]
)


class WinRate(Work):
    """Writes `scores.parquet` with one row per question. Inputs: `answers`, `baseline`, the judge's `model:NAME`,
    and `floor` where the judge must have reached one.

    Equal answers are ties and not sent to the judge. A pair without a verdict is counted as unreadable; when no pair
    has one, the step raises WindtunnelError.
    """

    version: ClassVar[int] = 3
    judge: dict[str, Served]  # one model by name
    completions: str | None = None
    budget: Budget | None = None

    def identity(self) -> dict[str, object]:
        """Return what decides the verdicts."""
        return judge_identity(self.judge)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        mine = pq.read_table(inputs["answers"].path / ANSWERS).to_pylist()
        theirs = {row["document"]: row for row in pq.read_table(inputs["baseline"].path / ANSWERS).to_pylist()}
        if {row["document"] for row in mine} != set(theirs):
            raise InputError("the model and the baseline answered different questions: delete both and run again")
        pairs = [
            Pair(row["prompt"], row["answer"], theirs[row["document"]]["answer"], name=row["document"]) for row in mine
        ]
        counts = Counts(seen=len(mine))
        verdicts = self._verdicts(pairs, inputs, counts)
        rows = []
        for row, pair, verdict in zip(mine, pairs, verdicts, strict=True):
            judged = pair.response_a != pair.response_b and verdict.error is None
            if verdict.error is not None:
                counts.unreadable[verdict.error] = counts.unreadable.get(verdict.error, 0) + 1
                verdict = Verdict()  # a tie, so that the same questions count for every mix and seed
            rows.append(_row(row, pair, verdict, judged))
        counts.kept = len(mine) - sum(counts.unreadable.values())
        with writing(out / "scores.parquet") as path:
            pq.write_table(pa.Table.from_pylist(rows, schema=WINS), path)
        return counts.check("win rate")

    def _verdicts(self, pairs: list[Pair], inputs: Mapping[str, Artifact], counts: Counts) -> list[Verdict]:
        """Return one verdict per pair, and note in the counts what they cost."""
        differ = [pair for pair in pairs if pair.response_a != pair.response_b]
        if not differ:
            return [Verdict() for _ in pairs]
        with opened_judge(self.judge, inputs, self.completions, self.budget) as judge:
            verdicts = judge.verdicts(differ)
            counts.notes |= judge.spent()
        if all(verdict.error is not None for verdict in verdicts):
            raise no_verdicts(verdicts)
        remaining = iter(verdicts)
        return [next(remaining) if pair.response_a != pair.response_b else Verdict() for pair in pairs]


def _row(row: Mapping[str, str], pair: Pair, verdict: Verdict, judged: bool) -> dict[str, object]:
    mine, other = len(pair.response_a.encode()), len(pair.response_b.encode())
    return {
        "document": row["document"],
        "source": row["source"],
        "group": row.get("group") or row["document"],
        "bytes": mine,
        "win": {"a": 1.0, "b": 0.0, "tie": 0.5}[verdict.winner],
        "probability": verdict.probability,
        "first": verdict.ab if judged else None,
        "second": verdict.ba if judged else None,
        "consistent": verdict.consistent,
        "longer": None if mine == other else mine > other,
    }
