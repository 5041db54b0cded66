"""Several trainings of every mix in one recipe: how variants are completed, and what their runs are called."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator

from windtunnel.pipelines.recipe.part import safe_name
from windtunnel.schemas.role import BOTH

INSTEAD = {"model": "start", "start": "model"}  # a variant that gives one has no other
SHARED = ("seeds", "device", "preferences")  # of all variants: effects are paired by seed


def _run_name(name: str) -> str:
    for part in name.split(BOTH, 1):
        safe_name(part)
    return name


RunName = Annotated[str, AfterValidator(_run_name)]


def completed(train: Any) -> Any:
    """Return what stands under `train:`, every variant completed by the words that it does not give itself."""
    variants = train.get("variants") if isinstance(train, dict) else None
    if not isinstance(variants, dict):
        return train
    shared = {word: value for word, value in train.items() if word != "variants"}
    return {**train, "variants": {name: _with(shared, {} if own is None else own) for name, own in variants.items()}}


def _with(shared: dict[str, Any], own: Any) -> Any:
    if not isinstance(own, dict):
        return own
    return {word: value for word, value in shared.items() if INSTEAD.get(word) not in own} | own
