"""What a plan has to say beside its steps: weights that count as shares, and a device that this machine has not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from windtunnel.pipelines.plan.plan import Plan

SHOWN = 3  # mixes whose weights are told
ROUNDING = 0.005  # from one, that a sum of rounded weights may have


def rescaled(plan: Plan) -> list[str]:
    """Return a line per mix, or phase of one, whose weights do not sum to one: SHOWN of them, then their number."""
    lines: list[str] = []
    for step in [*plan.of_kind("mix"), *plan.of_kind("pairs")]:
        work: Any = step.work
        for number, part in enumerate(getattr(work, "phases", (work,)), start=1):
            weights = {name: weight for name, weight in part.weights.items() if not isinstance(weight, str)}
            total = math.fsum(weights.values())
            if weights and abs(total - 1) > ROUNDING:
                phase = f", phase {number}" if len(getattr(work, "phases", ())) > 1 else ""
                shares = {name: weight / total for name, weight in weights.items()}
                lines.append(
                    f"{step.name}{phase}: the weights {_words(weights)} sum to {total:.4g} and are rescaled to "
                    f"{_words(shares)}"
                )
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"the weights of {more} more mixes or phases are rescaled, too"] if more > 0 else [])]


def missing_device(plan: Plan) -> list[str]:
    """Return what to do where the recipe asks for a GPU and this machine has none; another may run the plan."""
    from windtunnel.trainer.runtime.device import resolve

    train = plan.recipe.train
    if train is None or train.device != "cuda" or resolve("auto") == "cuda":
        return []
    return [
        "this machine has no GPU for `device: cuda`: run the recipe where there is one, or with --set train.device=cpu"
    ]


def _words(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:.4g}" for name, weight in weights.items())
