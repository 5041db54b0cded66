"""The plan of a recipe that generates rows, trains chat models on them and judges these."""

from __future__ import annotations

import pytest

from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.shipped import load
from windtunnel.schemas.errors import RecipeError
from windtunnel.trainer.runtime import device


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


def devices(made: Plan) -> set[str]:
    return {step.work.device for step in made.steps if step.name.partition(":")[0] in ("train", "answers", "tasks")}


def test_what_is_trained_and_what_is_asked_go_to_the_device_that_the_recipe_names(monkeypatch) -> None:
    monkeypatch.setattr(device, "_driver", lambda: False)
    assert devices(align()) == devices(align("train.device=cpu")) == {"cpu"}
    assert devices(align("train.device=cuda")) == {"cuda"}
    monkeypatch.setattr(device, "_driver", lambda: True)
    monkeypatch.setattr(device, "_available", lambda: True)
    assert devices(align()) == {"cuda"}
    assert devices(plan(load("quickstart"))) == {"cpu"}  # its figures are those of a CPU


def test_a_device_that_there_is_none_of_is_refused_with_its_line() -> None:
    with pytest.raises(RecipeError, match=r"train\.device.*'auto', 'cpu' or 'cuda'"):
        align("train.device=gpu")


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["train.stages=[{dpo: {budget: 800, batch_tokens: 400}}]"], "no stage learns from the mixes"),
        (["train.preferences=null"], "this stage learns from pairs: name a set of them"),
        (["train.stages[1]={reward: {budget: 800, batch_tokens: 400}}"], "no probabilities, and `compare:` needs bits"),
    ],
)
def test_stages_that_would_fail_when_all_rows_are_paid_for_are_refused(sets: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=rf"line \d+: .*{message}"):
        align(*sets)


def test_a_reward_model_may_be_trained_without_a_comparison() -> None:
    made = align("train.stages[1]={reward: {budget: 800, batch_tokens: 400}}", "compare=null", "evaluate=null")
    assert made.find("train:ultrachat:0") and not [step for step in made.steps if step.name.startswith("compare")]
