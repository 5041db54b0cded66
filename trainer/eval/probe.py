"""Linear probes of frozen vectors: how much of a label a linear classifier reads from them.

The classifier is a multinomial logistic regression with a Gaussian prior, on features with mean zero and variance one,
fitted by L-BFGS in float64; folds are fixed by the groups' names, so that all models are asked the same and differences
between models can be paired by item. Accuracy is that on items of other groups; it means something beside the accuracy
of always saying the most frequent label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from blake3 import blake3

from windtunnel.trainer.eval.probe_tasks import Pairs, Texts
from windtunnel.trainer.eval.vectors import layer_vectors

FOLDS = 5
WEIGHTED = "weighted"  # the layer-weighted sum of ELMo, whose weights are fitted with the classifier


class Probed(NamedTuple):
    """The outcome of a probe."""

    correct: np.ndarray  # bool [items], each predicted once, by a classifier that saw no item of its group
    accuracy: float
    low: float  # 95 % interval (Wilson) from the sampling of the items
    high: float
    majority: float  # share of the most frequent label: what a classifier without vectors reaches


def probe(features: np.ndarray, labels: Sequence[str], groups: Sequence[str], l2: float = 1.0) -> Probed:
    """Return what a linear classifier makes of features float [items, width], or [layers, items, width].

    With layers, it reads their weighted sum (see `LayerSum`), whose weights are fitted with it. `l2` is the prior's
    precision: the penalty is l2 / 2 times the squared weights beside the summed nats.
    """
    names, targets = np.unique(np.asarray(labels), return_inverse=True)
    layers = np.asarray(features, np.float64)
    layers = layers if layers.ndim == 3 else layers[None]
    folds = np.array([fold_of(name) for name in groups])
    correct = np.zeros(len(targets), bool)
    for fold in range(FOLDS):
        test = folds == fold
        if test.any() and not test.all():
            correct[test] = _predict(layers[:, ~test], targets[~test], layers[:, test], len(names), l2) == targets[test]
    low, high = wilson(int(correct.sum()), len(correct))
    majority = float(np.bincount(targets).max() / len(targets))
    return Probed(correct, float(correct.mean()), low, high, majority)


def fold_of(group: str) -> int:
    """Return the fold of a group's items, by its name."""
    return int.from_bytes(blake3(group.encode()).digest(4), "big") % FOLDS


def by_layer(model: Path, items: Texts | Pairs, device: str = "cpu") -> dict[str, Probed]:
    """Return the probes of a model's layers: by number from 0, and of texts also the weighted sum of all."""
    layers = layer_vectors(model, items.texts, items.spans, device)
    features: dict[str, np.ndarray] = {str(k): items.features(layer) for k, layer in enumerate(layers)}
    if isinstance(items, Texts) and len(layers) > 1:
        features[WEIGHTED] = layers
    return {layer: probe(found, items.labels, items.groups) for layer, found in features.items()}


def compare(models: Mapping[str, Path], tasks: Mapping[str, Texts | Pairs], device: str = "cpu") -> pl.DataFrame:
    """Return the accuracy of every model, task and layer.

    Columns: model, task, layer (a number from 0, or `weighted` for the weighted sum of all), accuracy, low, high,
    majority, items.
    """
    rows = []
    for name, path in models.items():
        for task, items in tasks.items():
            for layer, found in by_layer(path, items, device).items():
                figures = (found.accuracy, found.low, found.high, found.majority, len(items.labels))
                rows.append((name, task, layer, *figures))
    columns = ["model", "task", "layer", "accuracy", "low", "high", "majority", "items"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def wilson(right: int, items: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Wilson 1927)."""
    if items == 0:
        return 0.0, 1.0
    share, spread = right / items, z * z / items
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / items + spread / (4 * items)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def _predict(train: np.ndarray, targets: np.ndarray, test: np.ndarray, classes: int, l2: float) -> np.ndarray:
    """Return the classes of test [layers, items, width] by a classifier of train [layers, items, width]."""
    import torch

    from windtunnel.trainer.modules.elmo import LayerSum

    mean, spread = train.mean(1, keepdims=True), train.std(1, keepdims=True) + 1e-8
    known, asked = (torch.from_numpy((values - mean) / spread) for values in (train, test))
    mixed = LayerSum(len(known)).double()
    weight = torch.zeros(classes, known.shape[-1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    truth = torch.from_numpy(targets)
    free = [weight, bias, *([mixed.weights] if len(known) > 1 else [])]  # gamma is the scale of the weights already
    optimiser = torch.optim.LBFGS(
        free, max_iter=100, history_size=10, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )

    def scores(layers: torch.Tensor) -> torch.Tensor:
        features = mixed(layers) if len(layers) > 1 else layers[0]
        return features @ weight.T + bias

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        nats = torch.nn.functional.cross_entropy(scores(known), truth, reduction="sum")
        total = (nats + l2 / 2 * weight.square().sum()) / len(truth)
        total.backward()
        return total

    optimiser.step(closure)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        return scores(asked).argmax(1).numpy()
