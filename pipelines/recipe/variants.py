"""Several trainings of every mix in one recipe: how variants are completed, and what their runs are called."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import AfterValidator

from windtunnel.pipelines.recipe.part import safe_name

BOTH = "+"  # between mix and variant in the name of a run; no name has it
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


def run_names(mixes: Collection[str], variants: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return the mix and the variant of every run by its name; the one variant '' is a training without variants.

    A run is called by its mix where there are no variants, by its variant where there is one mix, else by both.
    """
    named = [name for name in variants if name]
    if not named:
        return {mix: (mix, "") for mix in mixes if variants}
    alone = len(mixes) == 1
    return {name if alone else f"{mix}{BOTH}{name}": (mix, name) for mix in mixes for name in named}
