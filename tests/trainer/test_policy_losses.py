"""Losses on own replies equal trl's in value and gradient; PPO, which trl no longer has, equals a plain padded one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from trl.experimental.gkd import GKDTrainer
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from windtunnel.schemas.plugin import make
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.packing import Row
from windtunnel.trainer.losses.distillation import divergence
from windtunnel.trainer.losses.policy import clipped_value_loss
from windtunnel.trainer.objectives._objective import Objective
from windtunnel.trainer.objectives.ppo import CRITIC
from windtunnel.trainer.rewards._reward_model import value_model
from windtunnel.trainer.rollouts.round import Round, packed

SAMPLES, LIMIT = 3, 7
COMMON = {"bf16": False, "per_device_train_batch_size": 6, "num_generations": SAMPLES, "report_to": []}


@pytest.fixture
def made() -> Round:
    """A round of two prompts with three replies each, of other lengths, drawn by an older model."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in ([1, 2, 3], [9, 8, 7, 6, 5]):
        for _ in range(SAMPLES):
            length = int(rng.integers(2, LIMIT + 1))
            reply = rng.integers(10, 300, length).tolist()
            rows.append(Row.of([*prompt, *reply], [False] * len(prompt) + [True] * length))
    tokens = [int(row.target.sum()) for row in rows]
    old, reference = ([rng.normal(-5.5, 0.3, n) for n in tokens] for _ in range(2))
    rewards = rng.normal(size=len(rows))
    made = Round(["row"] * 6, rows, SAMPLES, rewards, np.ones(6), np.ones(6, bool), 0, old, reference)
    made.values = [rng.normal(size=n) for n in tokens]
    return made


def batch_of(made: Round, lesson: Any) -> Batch:
    ((_, tensors),) = packed(made.rows, None, True, lesson.per_token, lesson.per_reply)
    return Batch(tensors, 0, [])


def padded(made: Round, values: list[np.ndarray], fill: float = 0.0) -> torch.Tensor:
    out = torch.full((len(made.rows), LIMIT), fill, dtype=torch.float32)
    for k, row in enumerate(values):
        out[k, : len(row)] = torch.from_numpy(np.asarray(row, np.float32))
    return out


def trl_inputs(made: Round) -> dict[str, torch.Tensor]:
    prompts = [row.ids[~row.target] for row in made.rows]
    width = max(map(len, prompts))
    ids, mask = torch.zeros(len(prompts), width, dtype=torch.long), torch.zeros(len(prompts), width, dtype=torch.long)
    for k, prompt in enumerate(prompts):
        ids[k, width - len(prompt) :], mask[k, width - len(prompt) :] = torch.from_numpy(prompt), 1
    replies = [row.ids[row.target] for row in made.rows]
    return {
        "prompt_ids": ids,
        "prompt_mask": mask,
        "completion_ids": padded(made, replies).long(),
        "completion_mask": padded(made, [np.ones(len(reply)) for reply in replies]).long(),
        "num_items_in_batch": torch.tensor(float(sum(map(len, replies)))),
    }


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def same(ours: tuple[float, dict[str, torch.Tensor]], theirs: tuple[float, dict[str, torch.Tensor]]) -> None:
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5)
    assert ours[1].keys() == theirs[1].keys()
    for name, grad in ours[1].items():
        assert torch.allclose(grad, theirs[1][name], atol=1e-5), name


def ours(objective: Any, model: Any, made: Round, beta: float) -> tuple[float, dict[str, torch.Tensor]]:
    loss = objective.loss(model, batch_of(made, objective.lesson(made, beta)))
    (loss.total / loss.normaliser).backward()
    return loss.total.item() / loss.normaliser, gradients(model)


def trl(trainer: Any, config: Any, model: Any, inputs: dict[str, Any], tmp_path: Any) -> Any:
    model.config._name_or_path = str(inputs["directory"])  # where the reference is read from
    built = trainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config(
            str(tmp_path),
            bf16=False,
            per_device_train_batch_size=6,
            num_generations=3,
            report_to=[],
            **inputs["config"],
        ),
        train_dataset=inputs["data"],
        processing_class=inputs["tokenizer"],
    )
    built.current_gradient_accumulation_steps = 1
    loss = built._compute_loss(model.train(), inputs["tensors"])
    loss.backward()
    return loss.item(), gradients(model)


@pytest.mark.parametrize(
    ("parameters", "config"),
    [
        ({"per": "token"}, {"loss_type": "bnpo"}),
        ({"per": "token", "clip_high": 0.28}, {"loss_type": "dapo", "epsilon_high": 0.28}),
        ({"per": "reply", "unbiased": False}, {"loss_type": "grpo", "use_bias_correction_kl": False}),
        ({"per": "constant", "scale": "none"}, {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    ],
    ids=["bnpo", "dapo", "grpo", "dr_grpo"],
)
def test_grpo_equals_trl(made, tiny_llama, chat_tokenizer, chat_model, tmp_path, parameters, config):
    from datasets import Dataset

    objective: Any = make(Objective, {"grpo": {"beta": 0.3, "max_tokens": LIMIT, **parameters}})  # type: ignore[type-abstract]
    lesson = objective.lesson(made, 0.3)
    tensors = trl_inputs(made) | {
        "advantages": torch.tensor([a[0] for a in lesson.per_token["advantages"]], dtype=torch.float32),
        "old_per_token_logps": padded(made, made.old),
        "ref_per_token_logps": padded(made, made.reference),
    }
    inputs: Any = {
        "tensors": tensors,
        "directory": chat_model,
        "tokenizer": chat_tokenizer,
        "data": Dataset.from_list([{"prompt": "so"}] * 6),
        "config": {"beta": 0.3, "max_completion_length": LIMIT, **config},
    }
    theirs = trl(GRPOTrainer, GRPOConfig, tiny_llama, inputs, tmp_path)
    same(ours(objective, tiny_llama.train(), made, 0.3), theirs)


def test_rloo_equals_trl(made, tiny_llama, chat_tokenizer, chat_model, tmp_path):
    from datasets import Dataset

    objective: Any = make(Objective, {"rloo": {"beta": 0.3, "samples": SAMPLES}})  # type: ignore[type-abstract]
    lesson = objective.lesson(made, 0.3)
    tensors = trl_inputs(made) | {
        "advantages": torch.tensor(lesson.per_reply["advantages"], dtype=torch.float32),
        "old_logps": torch.tensor(lesson.per_reply["old"], dtype=torch.float32),
    }
    inputs: Any = {
        "tensors": tensors,
        "directory": chat_model,
        "tokenizer": chat_tokenizer,
        "data": Dataset.from_list([{"prompt": "so"}] * 6),
        "config": {"beta": 0.3, "max_completion_length": LIMIT},
    }
    theirs = trl(RLOOTrainer, RLOOConfig, tiny_llama, inputs, tmp_path)
    same(ours(objective, tiny_llama.train(), made, 0.3), theirs)


def test_ppo_equals_a_plain_one_on_padded_replies(made, tiny_llama, chat_tokenizer):
    """trl 1.16 has no PPO: the other side is written here, on padded rows, from the formulas of its former one."""
    beta, gamma, lam, weight = 0.1, 0.98, 0.9, 0.25
    spec = {"ppo": {"gamma": gamma, "lam": lam, "value_weight": weight, "minibatches": 1, "reward": {"length": 3}}}
    objective: Any = make(Objective, spec)  # type: ignore[type-abstract]
    critic: Any = value_model(tiny_llama, None, chat_tokenizer)
    torch.nn.init.normal_(critic.score.weight)
    setattr(tiny_llama, CRITIC, critic)
    found = ours(objective, tiny_llama.train(), made, beta)

    inputs, count = trl_inputs(made), len(made.rows)
    mask = inputs["completion_mask"].bool()
    ids, seen = (torch.cat([inputs[f"prompt_{k}"], inputs[f"completion_{k}"]], 1) for k in ("ids", "mask"))
    places = (seen.cumsum(1) - 1).clamp(min=0)
    hidden = critic.model(input_ids=ids, attention_mask=seen, position_ids=places).last_hidden_state
    start = inputs["prompt_ids"].shape[1] - 1
    values = critic.score(hidden)[:, start:-1, 0]
    logits = tiny_llama(input_ids=ids, attention_mask=seen, position_ids=places).logits[:, start:-1]
    logps = logits.log_softmax(-1).gather(2, inputs["completion_ids"][..., None])[..., 0]
    old, reference, before = (padded(made, each) for each in (made.old, made.reference, made.values))
    rewards = -beta * (old - reference) * mask
    rewards[torch.arange(count), mask.sum(1) - 1] += torch.tensor(made.rewards, dtype=torch.float32)
    advantages, later = torch.zeros_like(rewards), torch.zeros(count)
    for place in reversed(range(LIMIT)):
        behind = before[:, place + 1] * mask[:, place + 1] if place + 1 < LIMIT else torch.zeros(count)
        later = (rewards[:, place] + gamma * behind - before[:, place] + gamma * lam * later) * mask[:, place]
        advantages[:, place] = later
    returns = advantages + before
    chosen = advantages[mask]
    advantages = (advantages - chosen.mean()) / (chosen.std() + 1e-8)
    ratio = (logps - old).exp()
    policy = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)[mask].mean()
    near = torch.max(torch.min(values, before + 0.2), before - 0.2)
    value = 0.5 * torch.max((values - returns) ** 2, (near - returns) ** 2)[mask].mean()
    loss = policy + weight * value
    loss.backward()
    same(found, (loss.item(), gradients(tiny_llama)))


@pytest.mark.parametrize(("beta", "temperature"), [(0.0, 1.0), (1.0, 2.0), (0.3, 1.5)])
def test_the_divergence_equals_trl(beta, temperature):
    torch.manual_seed(0)
    student, teacher = (torch.randn(5, 11, requires_grad=True) for _ in range(2))
    mine = divergence(student, teacher.detach(), beta, temperature).sum()
    mine.backward()
    gradient: Any = student.grad
    student.grad = None
    labels = torch.zeros(1, 5, dtype=torch.long)
    theirs = GKDTrainer.generalized_jsd_loss(
        student[None], teacher.detach()[None], labels=labels, beta=beta, temperature=temperature, reduction="sum"
    )
    theirs.backward()
    assert mine.item() == pytest.approx(theirs.item(), abs=1e-5)
    again: Any = student.grad
    assert torch.allclose(gradient, again, atol=1e-5)


def test_values_move_by_a_clip_at_most():
    old, returns = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])
    losses = clipped_value_loss(torch.tensor([0.9, 0.1]), old, returns, 0.2)
    assert losses.tolist() == pytest.approx([0.5 * 0.8**2, 0.5 * 0.9**2])
