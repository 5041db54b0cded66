"""What there is: kinds, plug-ins, shipped recipes, the recipe's schema, sample sets."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from windtunnel.pipelines.parts import kind_named
from windtunnel.pipelines.recipe import shipped as recipes_shipped
from windtunnel.pipelines.views.plain_table import plain_table
from windtunnel.schemas import plugin
from windtunnel.schemas.errors import RecipeError, nearest
from windtunnel.schemas.printable import one_line


def print_list(kind: str, as_json: bool, console: Console) -> None:
    """Print a kind's plug-ins with their first sentence; or `kinds`, `recipes`, `schema`."""
    kind = kind_named(kind)
    if kind == "schema":
        from windtunnel.pipelines.recipe.recipe import json_schema

        console.print(json.dumps(json_schema(), indent=1), soft_wrap=True)
        return
    rows = _rows(kind)
    if as_json:
        console.print(json.dumps([{"name": name, "about": text} for name, text in rows], indent=1), soft_wrap=True)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, text in rows:
        table.add_row(one_line(name), one_line(text, 400))
    console.print(table)


def _rows(kind: str) -> list[tuple[str, str]]:
    if kind == "kinds":
        others = [("recipes", "shipped recipes"), ("schema", "the JSON Schema of a recipe, for editors")]
        return [(k, f"{len(plugin.names(k))}: {', '.join(plugin.names(k))}") for k in plugin.kinds()] + others
    if kind in ("recipes", "recipe"):
        return [(name, _question(name)) for name in recipes_shipped.names()]
    if kind not in plugin.kinds():
        raise RecipeError(f"there is no list of {kind!r}: {nearest(kind, [*plugin.kinds(), 'recipes', 'schema'])}")
    return [(name, plugin.summary(kind, name)) for name in plugin.names(kind)]


def _question(name: str) -> str:
    text = (recipes_shipped.FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("question:")), "")


def print_samples(name: str | None, console: Console) -> None:
    """List the sample sets with licence and origin, or fetch one and say what came."""
    from windtunnel.pipelines.samples import models as sample_models
    from windtunnel.pipelines.samples import sample_set as samples

    if name in sample_models.MODELS:
        console.print(str(sample_models.fetch(str(name))))
        return
    if name is not None:
        facts = samples.fetch(name)
        for key, value in facts.items():
            console.print(f"{key:<20} {', '.join(map(str, value)) if isinstance(value, (list, dict)) else value}")
        return
    table = plain_table(columns := ("name", "what", "licence", "download", "cached"), left=len(columns))
    for row in samples.listing():
        cached = "yes" if row["cached"] else "no"
        table.add_row(row["name"], row["about"], row["licence"], f"{row['download_megabytes']} MB", cached)
    for key, model in sample_models.MODELS.items():
        cached = "yes" if sample_models.directory(key).exists() else "no"
        table.add_row(key, model.about, model.licence, f"{model.package.megabytes} MB", cached)
    console.print(table)
