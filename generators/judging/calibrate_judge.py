"""The step that holds a recipe's judge against known labels, before anybody reads what it said of the models.

Pairs with people's labels are the user's own file. Without one, pairs with a known right answer are made of the seed
tasks: each task's own answer beside that of another task of its kind. Such pairs are far easier than what people
disagree on, so a judge that fails them is worth nothing, and one that passes them is not yet calibrated; the figures
say what they were made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from blake3 import blake3
from pydantic import Field

from windtunnel.generators.judges._judge import Pair
from windtunnel.generators.judging.served_judge import judge_identity, opened_judge
from windtunnel.generators.serving.served import Served
from windtunnel.generators.text import seed_tasks
from windtunnel.schemas.artifact import Artifact, canonical_json, write_text
from windtunnel.schemas.work import Counts, Work

FILE = "calibration.json"


class CalibrateJudge(Work):
    """Writes `calibration.json`: the figures of `judge calibrate`, and what they were taken from.

    `pairs` says it in words; `planted` is true where no person labelled anything; `findings` are sentences.

    Inputs: the judge's `model:NAME`, if we serve it. `file` holds labelled pairs (JSONL), `digest` is its content's
    hash; without a file, `number` pairs are made of the seed tasks.
    """

    version: ClassVar[int] = 2
    judge: dict[str, Served]  # one model by name
    file: str | None = None
    digest: str | None = None
    number: int = Field(default=60, gt=1)
    completions: str | None = None

    def identity(self) -> dict[str, object]:
        """Return what decides the verdicts, and on which pairs."""
        return judge_identity(self.judge) | {"pairs": self.digest or [seed_tasks.digest(), self.number]}

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.generators.judging.calibration import examine
        from windtunnel.generators.judging.pairs import read_pairs

        read = read_pairs(Path(self.file)) if self.file else None
        pairs = read.good if read else planted_pairs(self.number)
        with opened_judge(self.judge, inputs, self.completions) as judge:
            found = examine(pairs, judge)
        about = Path(self.file).name if self.file else "seed tasks, own answer or another task's"
        more = {"pairs": about, "planted": self.file is None, "findings": found.findings}
        write_text(out / FILE, canonical_json({**found.figures, **more}))
        unreadable = dict(found.failed)
        for line in read.bad if read else ():
            unreadable[line.reason] = unreadable.get(line.reason, 0) + 1
        seen = len(pairs) + (len(read.bad) if read else 0)
        return Counts(seen=seen, kept=seen - sum(unreadable.values()), unreadable=unreadable).check("calibrate")


def planted_pairs(number: int) -> list[Pair]:
    """Return pairs of a seed task's own answer and another's, in turn the right one first and second.

    Tasks are taken in the order of their hash. The other answer is the nearest in length of those that differ, among
    tasks of the same kind (classification or not), so that length alone gives no hint.
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
