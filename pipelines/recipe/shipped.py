"""Finds a recipe: a file, or a shipped recipe by its name."""

from __future__ import annotations

from pathlib import Path

from windtunnel.pipelines.recipe.file import read
from windtunnel.pipelines.recipe.recipe import Recipe
from windtunnel.schemas.errors import RecipeError, nearest

FOLDER = Path(__file__).parents[1] / "recipes"


def names() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def locate(recipe: str) -> Path:
    """Return the path of a recipe file, or of the shipped recipe of that name."""
    path = Path(recipe)
    if path.is_file():
        return path
    if recipe in names():
        return FOLDER / f"{recipe}.yaml"
    if path.suffix in (".yaml", ".yml") or "/" in recipe:
        raise RecipeError(f"there is no recipe file {recipe}")
    raise RecipeError(f"no shipped recipe is called {recipe!r}: {nearest(recipe, names())}")


def load(recipe: str, sets: list[str] | None = None) -> Recipe:
    """Return the checked recipe of a path or a shipped name, with `--set` changes applied."""
    return read(locate(recipe), sets)
