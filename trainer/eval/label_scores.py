"""The step that asks a run for the labels of held-out rows: by what its objective measured, or by likelihood.

A run whose objective reads labels itself (a head, a prompt, an encoder with a decoder) has measured them. A model that
continues texts is asked which of a task's labels is the likeliest answer, by its chat template where it learned one,
and plainly, after `shots` examples from the training rows, where it did not (trainer.tasks.choices).
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import orjson
from pydantic import Field

from windtunnel.schemas.artifact import Artifact, canonical_json, write_parquet, write_text
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.eval.label_items import FILE, TITLE, LabelledRow, items_table, label_row, labelled_rows
from windtunnel.trainer.eval.task_scores import dropped_of
from windtunnel.trainer.tasks._evaluation import Asker, Row
from windtunnel.trainer.tasks.choices import Choices

EXAMPLE = "{question}\nAnswer:"
MAJORITY = "majority"  # the reference that says the most frequent label of training


class LabelScores(Work):
    """Writes `items.parquet` and `labels.json`. Inputs: `run`, `conversations` (training) and `held_out`.

    Without a `run`, the items are those of always giving a task's labels the shares that they have in training, so that
    the most frequent one is the answer. `labels.json` has by task: items, accuracy, probability, chance and majority.
    """

    version: ClassVar[int] = 2
    shots: int = Field(default=0, ge=0)
    prompt: str = EXAMPLE  # of models without a chat template
    batch_tokens: int = Field(default=8192, gt=0)
    threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        known = [row for row in labelled_rows(inputs["conversations"]) if isinstance(row, LabelledRow)]
        shares = _shares(known)
        held_out, counts = _measurable(inputs["held_out"], shares)
        before = set(counts.dropped)
        measured = inputs["run"].path / FILE if "run" in inputs else None
        if measured is not None and measured.exists() and not self.shots:
            import pyarrow.parquet as pq

            table = pq.read_table(measured)
        else:
            rows = self._asked(inputs["run"].path / "model", held_out, known, shares, counts) if measured else [
                label_row(row, *_by_share(shares[row.source])) for row in held_out
            ]  # fmt: skip
            table = items_table(rows)
        if not table.num_rows:
            raise InputError(f"none of {counts.seen:,} held-out rows has a label that its task has in training")
        write_parquet(out / "items.parquet", table)
        write_text(out / "labels.json", canonical_json(_summary(table, shares)))
        counts.kept = table.num_rows
        asked = {key: number for key, number in counts.dropped.items() if key not in before}
        counts.dropped |= _not_measured(held_out, table, asked)
        return counts.check("label scores")

    def _asked(
        self,
        model: Path,
        held_out: Sequence[LabelledRow],
        known: Sequence[LabelledRow],
        shares: Mapping[str, Counter[str]],
        counts: Counts,
    ) -> list[Row]:
        from windtunnel.trainer.eval.replies import open_asker
        from windtunnel.trainer.runtime.numerics import numerics

        out = []
        with numerics(self.threads, 0, self.device), tempfile.TemporaryDirectory(prefix="windtunnel-") as folder:
            asker = open_asker(model, self.batch_tokens, self.device)
            for task in sorted({row.source for row in held_out}):
                rows = {row.id: row for row in held_out if row.source == task}
                examples = [row for row in known if row.source == task] or known
                out += self._task(task, asker, Path(folder), rows, examples, sorted(shares[task]), counts)
        return out

    def _task(
        self,
        task: str,
        asker: Asker,
        folder: Path,
        rows: Mapping[str, LabelledRow],
        examples: Sequence[LabelledRow],
        labels: Sequence[str],
        counts: Counts,
    ) -> list[Row]:
        asked, shown = folder / "asked.jsonl", folder / "shown.jsonl"
        _write(asked, list(rows.values()), labels)
        _write(shown, examples, labels)
        choices = Choices(
            file=str(asked), shots=[self.shots], shots_from=str(shown), prompt=None if asker.chat else self.prompt,
            score="acc", name=TITLE,
        )  # fmt: skip
        found = choices.measure(lambda: (), asker)
        dropped = {f"{task}:{key.rpartition(':')[2]}": number for key, number in found.dropped.items()}
        counts.dropped |= dropped_of(TITLE, dropped)
        return [row._replace(part=task) for row in found.rows]


def _write(path: Path, rows: Sequence[LabelledRow], labels: Sequence[str]) -> None:
    lines = [
        {"id": row.id, "group": row.group, "question": row.text, "choices": labels, "answer": labels.index(row.label)}
        for row in rows
    ]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def _shares(known: Sequence[LabelledRow]) -> defaultdict[str, Counter[str]]:
    """Return how often each label is in training, by task; a task that is not there has the labels of all."""
    whole = Counter(row.label for row in known)
    shares: defaultdict[str, Counter[str]] = defaultdict(lambda: whole)
    for task in {row.source for row in known}:
        shares[task] = Counter(row.label for row in known if row.source == task)
    return shares


def _measurable(artifact: Artifact, shares: Mapping[str, Counter[str]]) -> tuple[list[LabelledRow], Counts]:
    """Return the held-out rows whose label is one of their task's in training, and why others are not."""
    rows: dict[str, LabelledRow] = {}
    dropped, seen = Counter[str](), 0
    for row in labelled_rows(artifact):
        seen += 1
        if not isinstance(row, LabelledRow):
            dropped[f"{TITLE}/{row.source}:{row.reason}"] += 1
        elif row.id in rows:  # as in training: ids key the scores
            dropped[f"{TITLE}/{row.source}:duplicate_id"] += 1
        elif row.label not in shares[row.source]:
            dropped[f"{TITLE}/{row.source}:unknown_label"] += 1
        else:
            rows[row.id] = row
    return list(rows.values()), Counts(seen=seen, dropped=dict(sorted(dropped.items())))


def _not_measured(held_out: Sequence[LabelledRow], table: object, dropped: Mapping[str, int]) -> dict[str, int]:
    """Return how many of the rows have no item, and no reason in `dropped`, by task."""
    import polars as pl

    frame: pl.DataFrame = pl.from_arrow(table)  # type: ignore[assignment]
    items = Counter(frame["task"].to_list())
    told = Counter[str]()
    for key, number in dropped.items():
        told[key.rpartition(":")[0]] += number
    rows = Counter(f"{TITLE}/{row.source}" for row in held_out)
    missing = {task: number - items[task] - told[task] for task, number in rows.items()}
    return {f"{task}:not_measured": number for task, number in missing.items() if number > 0}


def _by_share(shares: Counter[str]) -> tuple[list[str], np.ndarray]:
    """Return labels, the most frequent first, and the nats of their shares."""
    labels = sorted(shares, key=lambda label: (-shares[label], label))
    return labels, -np.log([shares[label] / shares.total() for label in labels])


def _summary(table: object, shares: Mapping[str, Counter[str]]) -> dict[str, dict[str, float]]:
    """Return the figures of every task: majority is how often the most frequent label of training is right."""
    import polars as pl

    frame: pl.DataFrame = pl.from_arrow(table)  # type: ignore[assignment]
    out = {}
    for (task,), rows in frame.sort("document").group_by("task", maintain_order=True):
        top = _by_share(shares[str(task).removeprefix(f"{TITLE}/")])[0][0]
        means = {name: float(rows[name].to_numpy().mean()) for name in ("correct", "probability", "chance")}
        out[str(task)] = {
            "items": rows.height, "accuracy": means["correct"], "probability": means["probability"],
            "chance": means["chance"], MAJORITY: float((rows["answer"] == top).to_numpy().mean()),
        }  # fmt: skip
    return out
