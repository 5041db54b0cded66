"""The shipped corpus recipes: they plan, in the order that their originals have."""

from __future__ import annotations

import pytest

from pipelines.plan import plan
from pipelines.recipes_shipped import load
from schemas.plugin import split


@pytest.mark.parametrize(
    ("name", "rules", "dedup"),
    [
        ("fineweb", ["url", "language", "gopher_repetition", "gopher_quality", "c4", "fineweb"], "minhash"),
        ("dclm", ["url", "language", "gopher_repetition", "gopher_quality", "c4", "length"], "paragraph"),
    ],
)
def test_the_recipe_plans_in_its_order(name: str, rules: list[str], dedup: str) -> None:
    recipe = load(name)
    assert [split("rule", spec)[0] for spec in recipe.corpora["filtered"].rules] == rules
    steps = [step.name for step in plan(recipe).steps]
    assert steps.index("edit:filtered") < steps.index("measure:filtered:2") < steps.index("corpus:filtered")
    assert any(step.startswith(f"{dedup}:deduped") for step in steps)
