"""Every delta with every objective that trains a causal model from chat rows, and with pretraining that goes on.

A pair trains for three steps, resumes to the same bytes, and its files give the outputs of the model that was trained.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.test_deltas import SPECS
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.plugin import find, make, names
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.loop.loop import Loop
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.models._model import load
from windtunnel.trainer.objectives._chat_objective import ChatObjective
from windtunnel.trainer.objectives._objective import Objective
from windtunnel.trainer.objectives._on_policy import OnPolicy
from windtunnel.trainer.runtime.numerics import numerics

MODEL = {"llama": {"width": 32, "layers": 2, "heads": 2, "ff": 64, "context": 64, "init_std": 0.1}}
FALLING = ("sft", "dpo", "reward", "causal_lm")  # of others the loss may rise while it does what it should
IDS = torch.arange(3, 27)[None]


def from_chat_rows() -> list[str]:
    """Objectives that learn from conversations or preferences with nothing but rows, by their classes."""
    found = [(name, find(Objective, name)) for name in names("objective")]
    return [name for name, cls in found if issubclass(cls, ChatObjective) and "causal" in cls.trains]


OBJECTIVES = [*from_chat_rows(), "causal_lm"]
ONE_STEP = {"ppo": {"epochs": 1, "minibatches": 1}}  # a round, so that a checkpoint lies between any two
OWN_REPLIES = ("full", "lora", "adapter")  # deltas with objectives that make replies, but for grpo, which has all


def parameters(objective: str) -> dict[str, Any]:
    """What an objective needs beside its defaults."""
    if issubclass(find(Objective, objective), OnPolicy):
        return {"prompts": 4, "rounds": 3, "max_tokens": 6, "reward": {"length": 3}} | ONE_STEP.get(objective, {})
    return {"verbalizer": "soft"} if objective == "prompted" else {}


def spec(objective: str, delta: str) -> dict[str, Any]:
    """A stage of a few steps, each of which sees about all rows, so that its loss falls."""
    more = parameters(objective)
    if "rounds" in more:
        return {objective: {**more, "lr": 1e-2, "delta": SPECS[delta]}}
    sizes = {"batch_tokens": 2048} if objective == "causal_lm" else {"batch_tokens": 128, "epochs": 3}
    return {objective: {**more, **sizes, "lr": 1e-2, "delta": SPECS[delta]}}


@pytest.fixture(scope="module")
def pretrained(world, tmp_path_factory) -> Path:
    """A model to go on from."""
    out = tmp_path_factory.mktemp("pretrained")
    train(stage({"causal_lm": {"lr": 3e-3, "batch_tokens": 4096}}), world.inputs(), out)
    return out / "model"


def stage(objective: dict[str, Any]) -> Stage:
    return Stage.from_specs("both", 0, MODEL, {"constant": {}}, objective)


@torch.no_grad()
def outputs(model: Any) -> torch.Tensor:
    return model.eval()(input_ids=IDS).logits[:, -IDS.shape[1] :]


def back(folder: Path) -> Any:
    if "CausalLM" in (folder / "config.json").read_text():
        return load(folder)
    from windtunnel.trainer.rewards._reward_model import RewardScorer

    return RewardScorer(folder).model


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", SPECS)
def test_it_trains_resumes_and_comes_back(name, objective, request, world, tmp_path):
    try:
        bare = make(Objective, {objective: parameters(objective)})
    except RecipeError as error:
        pytest.skip(f"needs more than rows: {error}")
    if isinstance(bare, OnPolicy) and objective != "grpo" and name not in OWN_REPLIES:
        pytest.skip("grpo makes the same replies")
    if reason := bare.refuses(make(Delta, SPECS[name])):
        pytest.skip(reason)
    pretraining = objective == "causal_lm"
    inputs = world.inputs() if pretraining else request.getfixturevalue("chat_inputs")
    start = request.getfixturevalue("pretrained") if pretraining else None
    what = stage(spec(objective, name))

    with numerics(threads=1, seed=0):
        try:
            loop = Loop(what, inputs, tmp_path / "whole", "x", start)
        except InputError as error:
            if not any(words in str(error) for words in ("as input; it has", "no_label")):
                raise
            pytest.skip(f"needs more than rows: {error}")
        loop.go(None, 1e9, None)
    losses = loop.log.columns["loss"]
    assert 3 <= len(losses) <= 12 and all(math.isfinite(loss) for loss in losses)
    assert min(losses[1:]) < losses[0] or objective not in FALLING
    weights = {n: p.detach().clone() for n, p in loop.optimiser.parameters.items()}

    with numerics(threads=1, seed=0):
        cut = Loop(what, inputs, tmp_path / "cut", "x", start)
        cut.data.steps -= 1
        cut.go(None, 1e9, None)
        cut._save()
    with numerics(threads=1, seed=0):
        again = Loop(what, inputs, tmp_path / "cut", "x", start)
        again.resume()
        assert again.step == len(losses) - 1
        again.go(None, 1e9, None)
    resumed = dict(again.optimiser.parameters)
    assert {n for n, p in weights.items() if not torch.equal(p, resumed[n])} == set()

    expected = outputs(loop.model)
    loop.export(loop.model, tmp_path / "model", tmp_path / "delta")
    delta = loop.delta
    assert delta is not None and (tmp_path / "model" / "delta").is_dir() == (not delta.mergeable)
    torch.testing.assert_close(outputs(back(tmp_path / "model")), expected, atol=1e-5, rtol=1e-5)
    if delta.trains != "all":  # the delta alone, put on the model that the stage began with
        with numerics(threads=1, seed=0):
            base = Loop(dataclasses.replace(what, objective=bare), inputs, tmp_path / "b", "x", start)
        bare.alone(base.model)
        alone = delta.attach(base.model, tmp_path / "delta")
        torch.testing.assert_close(outputs(alone), expected, atol=1e-5, rtol=1e-5)
