"""The step that probes a trained model's vectors: what a linear classifier reads from them (trainer.eval.probe).

The plan runs it once per training run, of every kind of model. Which layer is read is chosen for every fold of the
items by the others, so that no item has a say in the layer that it is predicted from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from windtunnel.schemas.artifact import Artifact, canonical_json, write_parquet, write_text
from windtunnel.schemas.side_by_side import PROBES
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.eval.probe_items import read_items
from windtunnel.trainer.eval.probe_tasks import Pairs, Texts


class ProbeScores(Work):
    """Writes `items.parquet` and `probes.json`. Inputs: `run` with `model/`, and the `items`.

    `items.parquet` has a row per item of a task: task, document, source (the task), group, label, and correct, 0 or 1.
    `probes.json` has by task: items, accuracy with its 95 % interval from the sampling of the items, chance (the share
    of the most frequent label), the layer that most folds chose, and the accuracy of every layer.
    """

    version: ClassVar[int] = 1
    threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.trainer.runtime.numerics import numerics

        rows, figures, counts = [], {}, Counts()
        with numerics(self.threads, 0, self.device):
            for name, items in read_items(inputs["items"]).items():
                found, of_task = _probed(inputs["run"].path / "model", items, self.device)
                figures[name] = of_task
                counts.kept += len(found)
                rows.append(_rows(name, items, found))
        counts.seen = counts.kept
        write_parquet(out / "items.parquet", pl.concat(rows))
        write_text(out / PROBES, canonical_json(figures))
        return counts.check("probes")


def _probed(model: Path, items: Texts | Pairs, device: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Return which items are right, bool [items], and the figures of a task."""
    from windtunnel.trainer.eval.probe import by_layer, fold_of, wilson

    layers = by_layer(model, items, device)
    folds = np.array([fold_of(group) for group in items.groups])
    names = list(layers)
    right = np.stack([layers[name].correct for name in names])
    correct, chosen = np.zeros(right.shape[1], bool), []
    for fold in np.unique(folds):
        test = folds == fold
        others = right[:, ~test] if (~test).any() else right
        best = int(np.argmax(others.mean(1)))
        correct[test] = right[best, test]
        chosen.append(names[best])
    low, high = wilson(int(correct.sum()), len(correct))
    figures = {
        "items": len(correct),
        "accuracy": float(correct.mean()),
        "low": low,
        "high": high,
        "chance": layers[names[0]].majority,
        "layer": max(names, key=chosen.count),
        "layers": {name: probed.accuracy for name, probed in layers.items()},
    }
    return correct, figures


def _rows(name: str, items: Texts | Pairs, correct: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "task": [name] * len(correct),
            "document": [f"{name}:{number:06}" for number in range(len(correct))],
            "source": [name] * len(correct),
            "group": [f"{name}:{group}" for group in items.groups],
            "label": items.labels,
            "correct": correct.astype(np.float64),
        }
    )
