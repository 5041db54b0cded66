"""The step that compares a recipe's judge with known labels.

Pairs with labels of people come from a file of the user. Without one, pairs with a known answer are made from the seed
tasks: the task's answer and that of another task of its kind. They are much easier than pairs that people disagree on:
a judge that fails them is useless, and one that passes them is not calibrated yet. The figures name the pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from blake3 import blake3
from pydantic import Field

from windtunnel.generators.client.budget import Budget
from windtunnel.generators.judges._judge import Pair
from windtunnel.generators.judging.calibration import examine
from windtunnel.generators.judging.pairs import read_pairs
from windtunnel.generators.judging.served_judge import judge_identity, opened_judge
from windtunnel.generators.serving.served import Served
from windtunnel.generators.text import seed_tasks
from windtunnel.schemas.artifact import Artifact, canonical_json, write_text
from windtunnel.schemas.work import Counts, Work

FILE = "calibration.json"


class CalibrateJudge(Work):
    """Writes `calibration.json` with the figures of `judge calibrate` and the description of the pairs.

    `pairs` describes the pairs, `planted` is true without labels of people, `findings` are sentences.

    Inputs: the judge's `model:NAME`, if it is served here. `file` holds labelled pairs (JSONL) and `digest` its hash;
    without a file, `number` pairs are made from the seed tasks.
    """

    version: ClassVar[int] = 3
    judge: dict[str, Served]  # one model by name
    file: str | None = None
    digest: str | None = None
    number: int = Field(default=60, gt=1)
    completions: str | None = None
    budget: Budget | None = None

    def identity(self) -> dict[str, object]:
        """Return what decides the verdicts, and the pairs."""
        return judge_identity(self.judge) | {"pairs": self.digest or [seed_tasks.digest(), self.number]}

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        read = read_pairs(Path(self.file)) if self.file else None
        pairs = read.good if read else planted_pairs(self.number)
        with opened_judge(self.judge, inputs, self.completions, self.budget) as judge:
            calibration = examine(pairs, judge)
            spent = judge.spent()
        about = Path(self.file).name if self.file else "seed tasks, own answer or another task's"
        more = {"pairs": about, "planted": self.file is None, "findings": calibration.findings}
        write_text(out / FILE, canonical_json({**calibration.figures, **more}))
        unreadable = calibration.failed + (read.reasons if read else Counter())
        seen = len(pairs) + (len(read.bad) if read else 0)
        kept = seen - unreadable.total()
        return Counts(seen=seen, kept=kept, unreadable=dict(unreadable), notes=spent).check("calibrate")


def planted_pairs(number: int) -> list[Pair]:
    """Return pairs of a seed task's answer and another task's, with the right one first and second in turn.

    Tasks are taken in the order of their hash. The other answer differs, comes from a task of the same kind
    (classification or not) and is the nearest in length, so that length gives no hint.
    """
    tasks = sorted(seed_tasks.read(), key=lambda task: blake3(task.id.encode()).digest())
    pairs = []
    for place, task in enumerate(tasks[:number]):
        right = task.instances[0].output
        others = [
            (abs(len(other.instances[0].output) - len(right)), other.id, other.instances[0].output)
            for other in tasks
            if other.is_classification == task.is_classification and other.instances[0].output != right
        ]
        wrong = min(others)[2]
        given = task.instances[0].input
        prompt = f"{task.instruction}\n\n{given}" if given else task.instruction
        first = place % 2 == 0
        one, two = (right, wrong) if first else (wrong, right)
        pairs.append(Pair(prompt, one, two, labels=("a" if first else "b",), name=task.id))
    return pairs
