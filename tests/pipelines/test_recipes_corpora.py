"""The shipped corpus recipes: they plan, in the order that their originals have."""

from __future__ import annotations

import pytest

from pipelines.plan import plan
from pipelines.recipes_shipped import load, names
from schemas.plugin import split


@pytest.mark.parametrize(
    ("name", "rules", "dedup"),
    [
        ("fineweb", ["url", "language", "gopher_repetition", "gopher_quality", "c4", "fineweb"], "minhash"),
        ("dclm", ["url", "language", "gopher_repetition", "gopher_quality", "refinedweb_lines"], "paragraph"),
    ],
)
def test_the_recipe_plans_in_its_order(name: str, rules: list[str], dedup: str) -> None:
    recipe = load(name)
    assert [split("rule", spec)[0] for spec in recipe.corpora["filtered"].rules] == rules
    steps = [step.name for step in plan(recipe).steps]
    assert steps.index("decide:filtered") < steps.index("edit:filtered") < steps.index("corpus:filtered")
    assert any(step.startswith(f"{dedup}:deduped") for step in steps)


def test_the_classifier_of_quality_sees_nothing_that_the_answer_is_measured_on() -> None:
    made = plan(load("quality"))
    steps = {step.name: step for step in made.steps}
    trained = steps["quality:liked"]
    assert {role: step.name for role, step in trained.inputs.items()} == {
        "positive": "corpus:examples",
        "negative": "corpus:pool",
    }
    assert steps["measure:liked"].inputs["quality"] is trained
    assert steps["evaluation_ngrams:examples"].inputs["held_out"] is steps["held_out"]
    assert steps["corpus:examples"].inputs["decisions"] is steps["decontaminate:examples"]
    assert {step.name.split(":")[1] for step in made.steps if step.name.startswith("train:")} == {"pool", "liked"}


@pytest.mark.parametrize("name", names())
def test_every_shipped_recipe_plans_and_ends_in_a_report(name: str) -> None:
    assert [step.name for step in plan(load(name)).targets][-1] == "report"
