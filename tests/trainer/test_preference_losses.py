"""Preference losses against TRL's own trainer on the same model and rows, and their algebra."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch

from windtunnel.trainer.data.packing import Row, pack, tensors
from windtunnel.trainer.losses.preference import LOSSES, Pairs, reward_loss
from windtunnel.trainer.losses.target_logps import sum_by_owner, target_log_probs
from windtunnel.trainer.objectives.dpo import Dpo

BETA = 0.3
IDS = [  # prompt, chosen, rejected
    ([5, 9, 30, 31], [40, 41, 42, 2], [50, 2]),
    ([7, 8], [60, 2], [61, 62, 63, 64, 65, 2]),
    ([11, 12, 13], [70, 71, 2], [80, 81, 82, 2]),
]


@pytest.fixture
def trl_dpo(tiny_llama, chat_tokenizer, tmp_path):
    """A function of (loss, smoothing, swap) that gives our loss and gradients and TRL's for one batch of pairs."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    reference = copy.deepcopy(tiny_llama)
    with torch.no_grad():
        for parameter in tiny_llama.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))

    def run(name: str, smoothing: float, swap: bool = False, normalised: bool = False) -> tuple[Found, Found]:
        examples = [{"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in IDS]
        if swap:
            examples = [{**e, "chosen_ids": e["rejected_ids"], "rejected_ids": e["chosen_ids"]} for e in examples]
        config = DPOConfig(
            output_dir=str(tmp_path), loss_type=["sigmoid_norm" if normalised else name], beta=BETA,
            label_smoothing=smoothing, bf16=False, use_cpu=True, gradient_checkpointing=False, report_to=[],
            max_length=None,
        )  # fmt: skip
        rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}]
        trainer = DPOTrainer(
            tiny_llama, copy.deepcopy(reference), args=config, train_dataset=Dataset.from_list(rows),
            processing_class=chat_tokenizer,
        )  # fmt: skip
        theirs = trainer.compute_loss(trainer.model, trainer.data_collator(examples))
        given = _log_ratios(tiny_llama, reference, examples)
        ours = LOSSES[name](given.per_token if normalised else given, BETA, smoothing).mean()
        return found(ours, tiny_llama), found(theirs, tiny_llama)

    return run


class Found(NamedTuple):
    loss: float
    gradient: torch.Tensor


def found(loss: torch.Tensor, model) -> Found:
    """Return the loss and its gradient at all weights, which are left without one."""
    model.zero_grad()
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return Found(loss.item(), gradient)


def _log_ratios(model, reference, examples) -> Pairs:
    rows = []
    for e in examples:
        branch = np.repeat(
            np.array([0, 1, 2], np.uint8), [len(e[k]) for k in ("prompt_ids", "chosen_ids", "rejected_ids")]
        )
        rows.append(Row(np.array(e["prompt_ids"] + e["chosen_ids"] + e["rejected_ids"]), branch > 0, branch))
    batch = tensors(pack(rows, 0))
    with torch.no_grad():
        frozen = target_log_probs(reference, batch)
    values = target_log_probs(model, batch) - frozen
    ratios = sum_by_owner(values, batch["owners"], 2 * len(rows))
    tokens = sum_by_owner(torch.ones_like(values), batch["owners"], 2 * len(rows))
    return Pairs(ratios[0::2], ratios[1::2], tokens[0::2], tokens[1::2])


def pairs(seed: int = 0, n: int = 64) -> Pairs:
    rng = torch.Generator().manual_seed(seed)
    chosen, rejected = torch.randn(2, n, generator=rng) * 5
    lengths = torch.randint(1, 40, (2, n), generator=rng).float()
    return Pairs(chosen, rejected, *lengths)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_smoothing_mixes_the_loss_with_that_of_the_swapped_pair(name):
    if name in ("robust", "exo_pair"):
        pytest.skip("the unbiased loss subtracts the swapped pair, and EXO's smoothing is a target")
    given = pairs()
    swapped = Pairs(given.rejected, given.chosen, given.rejected_tokens, given.chosen_tokens)
    loss = LOSSES[name]
    mixed = 0.7 * loss(given, 0.3, 0.0) + 0.3 * loss(swapped, 0.3, 0.0)
    torch.testing.assert_close(loss(given, 0.3, 0.3), mixed)


def test_the_robust_loss_is_unbiased_under_flips():
    given = pairs()
    swapped = Pairs(given.rejected, given.chosen, given.rejected_tokens, given.chosen_tokens)
    noisy = 0.8 * LOSSES["robust"](given, 0.1, 0.2) + 0.2 * LOSSES["robust"](swapped, 0.1, 0.2)
    torch.testing.assert_close(noisy, LOSSES["sigmoid"](given, 0.1, 0.0))


def test_cdpo_is_least_where_the_model_says_the_chance_of_a_flip():
    goal = math.log(0.9 / 0.1)
    at = [
        float(LOSSES["sigmoid"](Pairs(*(torch.tensor([x]) for x in (m, 0.0, 1.0, 1.0))), 1.0, 0.1))
        for m in (goal - 0.1, goal, goal + 0.1)
    ]
    assert at[1] < at[0] and at[1] < at[2]


def test_reward_loss_by_hand():
    value = reward_loss(torch.tensor([2.0]), torch.tensor([1.0]), torch.tensor([0.5]), 0.01)
    assert float(value) == pytest.approx(math.log(1 + math.exp(-0.5)) + 0.09, rel=1e-6)


SMOOTHING = {"robust": 0.2, "exo_pair": 0.05}  # by form; TRL ignores it in the others


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_dpo_losses_and_gradients_equal_trl(name, trl_dpo):
    ours, theirs = trl_dpo(name, SMOOTHING.get(name, 0.0))
    assert ours.loss == pytest.approx(theirs.loss, abs=1e-5)
    assert same(ours.gradient, theirs.gradient)


def test_length_normalised_dpo_equals_trls_sigmoid_norm(trl_dpo):
    ours, theirs = trl_dpo("sigmoid", 0.0, normalised=True)
    summed, _ = trl_dpo("sigmoid", 0.0)
    assert ours.loss == pytest.approx(theirs.loss, abs=1e-6) and ours.loss != pytest.approx(summed.loss, abs=1e-4)
    assert same(ours.gradient, theirs.gradient)


def test_smoothed_dpo_equals_trl_on_the_pair_and_its_swap(trl_dpo):
    """TRL's sigmoid loss ignores label smoothing, so its two halves are asked for one by one."""
    ours, ignored = trl_dpo("sigmoid", 0.25)
    _, straight = trl_dpo("sigmoid", 0.0)
    _, swapped = trl_dpo("sigmoid", 0.0, swap=True)
    assert ours.loss == pytest.approx(0.75 * straight.loss + 0.25 * swapped.loss, abs=1e-5)
    assert same(ours.gradient, 0.75 * straight.gradient + 0.25 * swapped.gradient)
    assert ignored.loss == pytest.approx(straight.loss, abs=1e-7) and abs(ours.loss - ignored.loss) > 1e-4


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return float((one - other).abs().max()) < 1e-5 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"form": "ipo", "length_normalised": True}, "`ipo` is length-normalised"),
        ({"form": "exo_pair"}, "needs `label_smoothing` above 0"),
        ({"form": "sigmoid_norm"}, "Input should be"),
    ],
)
def test_forms_that_cannot_be_are_refused(spec, said):
    with pytest.raises(ValueError, match=said):
        Dpo(**spec)
