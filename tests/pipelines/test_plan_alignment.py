"""The plan of a recipe that generates rows, trains chat models on them and judges these."""

from __future__ import annotations

from pipelines.plan import Plan, plan
from pipelines.recipes_shipped import load


def align(*sets: str) -> Plan:
    return plan(load("align", list(sets)))


def test_every_training_part_knows_all_that_is_held_out() -> None:
    made = align()
    for name in ("instructions", "dialogues", "preferences"):
        inputs = made.find(f"train_rows:{name}").inputs
        assert {role: step.name for role, step in inputs.items()} == {
            f"rows:{name}": f"generate:{name}",
            "held_out": "held_out",
            "held_out:preferences": "held_out:preferences",
        }
    run = made.find("train:ultrachat:0").inputs
    assert run["held_out_preferences"] is made.find("held_out:preferences")
    assert run["preferences"] is made.find("train_rows:preferences")
