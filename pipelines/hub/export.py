"""Writes a trained model in another program's format."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from windtunnel.pipelines.hub.chosen import chosen_model
from windtunnel.schemas.errors import InputError, RecipeError

FORMATS = ("gguf",)


def export_model(
    recipe_name: str, sets: list[str], name: str, seed: int | None, to: str, out: Path | None, tokenizer: str
) -> Path:
    """Write the model of a mix and seed to a new file, `MIX-seedSEED.gguf` by default, and return its path."""
    from windtunnel.trainer.gguf.convert import write_gguf

    if to not in FORMATS:
        raise RecipeError(f"--to {to!r}: models are exported to {', '.join(FORMATS)}")
    words: Literal["own", "ids"] = "own" if tokenizer == "own" else "ids"
    if tokenizer not in ("own", "ids"):
        raise RecipeError(f"--tokenizer {tokenizer!r}: own or ids")
    _, step, store = chosen_model(recipe_name, sets, name, seed)
    mix, number = step.name.names
    target = out or Path(f"{mix}-seed{number}.{to}")
    if target.exists():
        raise InputError(f"{target} exists: name a new file with --out")
    write_gguf(step.artifact(store).path / "model", target, words, name=f"{mix}, seed {number}")
    return target
