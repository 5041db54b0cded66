"""Objectives on the model's own replies: they learn, hold their KL, resume to the same bits, and refuse bad input."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import InputError, RecipeError, TrainingError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.records import CONVERSATION
from windtunnel.trainer.loop.run import TrainRun
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.losses.policy import generalised_advantages, group_advantages, leave_one_out, whitened
from windtunnel.trainer.models._model import load
from windtunnel.trainer.objectives._objective import Objective, Setting
from windtunnel.trainer.objectives._rounds import Rounds, of_rewards
from windtunnel.trainer.rewards._reward import Places, Reply, Reward
from windtunnel.trainer.rollouts.round import Round, packed, paired
from windtunnel.trainer.rollouts.sampling import sample, uniforms

MODEL = {"llama": {"width": 32, "layers": 2, "heads": 2, "ff": 64, "context": 128, "init_std": 0.1}}
COMMON = {"prompts": 4, "rounds": 4, "max_tokens": 6, "lr": 1e-3, "reward": {"length": 3}}
SPECS = {
    "ppo": {**COMMON, "samples": 2, "epochs": 2, "minibatches": 2, "target_kl": 0.5},
    "grpo": {**COMMON, "samples": 3, "epochs": 2, "minibatches": 1},
    "rloo": {**COMMON, "samples": 3},
    "rejection": {**COMMON, "samples": 3, "epochs": 2},
    "online_dpo": {**COMMON, "samples": 3, "epochs": 2, "minibatches": 2},
}


def run(spec, inputs, out, seed=0, start=None, **more):
    stage = Stage.from_specs("mix", seed, MODEL if start is None else None, {"constant": {}}, spec)
    return train(stage, inputs, out, start=start, **more)


@pytest.fixture
def taught(chat_inputs, tmp_path) -> Path:
    """A model that answers right sometimes."""
    run({"sft": {"lr": 1e-2, "batch_tokens": 64, "epochs": 6}}, chat_inputs, tmp_path / "taught")
    return tmp_path / "taught" / "model"


@pytest.mark.parametrize("name", SPECS)
def test_a_killed_run_makes_its_replies_again(chat_inputs, tmp_path, name):
    """Killed within a round: the replies are sampled anew from the checkpoint before it, token for token."""

    class Killed(Exception):
        pass

    def kill(step, *_):
        if step == 3:
            raise Killed

    spec = {name: SPECS[name]}
    whole = run(spec, chat_inputs, tmp_path / "whole")
    with pytest.raises(Killed):
        run(spec, chat_inputs, tmp_path / "cut", report=kill, checkpoint_steps=1)
    again = run(spec, chat_inputs, tmp_path / "cut")
    for file in ("model/model.safetensors", "log.parquet", "scores.parquet", "preferences.parquet", "realised.parquet"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "cut" / file).read_bytes(), file
    assert whole.model_dump(exclude=set(whole.measured)) == again.model_dump(exclude=set(again.measured))
    log = pl.read_parquet(tmp_path / "whole" / "log.parquet")
    told = {"reward", "kl", "beta", "entropy", "length", "truncated", "same_reward", "failed", "forward_tokens"}
    assert told <= set(log.columns) and log["reward"].n_unique() > 1
    assert (log["kl"][0], float(log["length"].to_numpy().max()) <= 6) == (pytest.approx(0, abs=1e-6), True)


@pytest.mark.parametrize("name", [pytest.param("ppo", marks=pytest.mark.slow), "grpo"])
def test_a_verified_reward_is_learnt_and_the_divergence_held(chat_inputs, taught, tmp_path, name):
    spec = {"prompts": 24, "rounds": 36, "max_tokens": 8, "lr": 1e-3, "reward": {"exact": "whole"}, "target_kl": 1.0}
    more = {"ppo": {"samples": 2}, "grpo": {"samples": 4, "beta": 0.05}}
    run({name: {**spec, **more[name]}}, chat_inputs, tmp_path / "run", start=taught)
    log = pl.read_parquet(tmp_path / "run" / "log.parquet").unique("beta", keep="first", maintain_order=True)
    reward, kl = log["reward"].to_numpy(), log["kl"].to_numpy()
    assert reward[-5:].mean() > reward[:3].mean() + 0.15
    assert 0.5 < kl[-15:].mean() < 1.8 and log["beta"].n_unique() > 20


def test_a_reply_depends_on_its_numbers_and_not_on_its_batch(tiny_llama):
    prompts = [[1, 2, 3], [4, 5], [6, 7, 8, 9], [1, 2, 3]]
    numbers = uniforms(np.array([1, 2, 3, 1], np.uint64), 20)
    together = sample(tiny_llama, prompts, numbers, [5], 1.0, 10_000)
    apart = sample(tiny_llama, prompts, numbers, [5], 1.0, 1)
    assert [one.ids for one in together] == [one.ids for one in apart] and together[0] == together[3]
    assert all((reply.ids[-1] == 5) == reply.ended and 5 not in reply.ids[:-1] for reply in together)
    assert numbers.min() >= 0 and numbers.max() < 1
    assert abs(uniforms(np.arange(500, dtype=np.uint64), 40).mean() - 0.5) < 0.01


def test_replies_are_drawn_from_the_model_s_distribution(tiny_llama):
    """The share of each first token is its probability, at a temperature too."""
    with torch.no_grad():
        logits = tiny_llama(input_ids=torch.tensor([[1, 2, 3]])).logits[0, -1]
    count = 4000
    numbers = uniforms(np.arange(count, dtype=np.uint64), 1)
    drawn = np.bincount(
        [one.ids[0] for one in sample(tiny_llama, [[1, 2, 3]] * count, numbers, [], 0.7, 60_000)], minlength=len(logits)
    )
    expected = (logits / 0.7).softmax(-1).numpy() * count
    often = expected > 20
    assert ((drawn - expected)[often] ** 2 / expected[often]).sum() < often.sum() + 4 * np.sqrt(2 * often.sum())


def test_advantages_by_hand():
    advantages, returns = generalised_advantages(np.array([0.0, 0.0, 1.0]), np.array([0.5, 0.25, 0.5]), 1.0, 0.5)
    deltas = [0.25 - 0.5, 0.5 - 0.25, 1.0 - 0.5]
    expected = [deltas[0] + 0.5 * (deltas[1] + 0.5 * deltas[2]), deltas[1] + 0.5 * deltas[2], deltas[2]]
    assert advantages == pytest.approx(expected) and returns == pytest.approx(np.add(expected, [0.5, 0.25, 0.5]))
    scores = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert leave_one_out(scores)[0] == pytest.approx([1.0, -0.5, -0.5]) and not leave_one_out(scores)[1].any()
    assert group_advantages(scores, "group")[0] == pytest.approx((scores[0] - 1 / 3) / (scores[0].std(ddof=1) + 1e-4))
    assert not whitened(np.ones(4)).any() and whitened(np.array([0.0, 2.0])) == pytest.approx([-(0.5**0.5), 0.5**0.5])


def test_the_reward_stage_stands_aside(chat_inputs, tmp_path):
    """PPO starts from the SFT model, is rewarded by the model of the reward stage, and exports a language model."""
    stages = (
        {"sft": {"lr": 1e-2, "batch_tokens": 64, "epochs": 2}},
        {"reward": {"lr": 3e-3, "batch_tokens": 64, "epochs": 2}},
        {"ppo": {**SPECS["ppo"], "reward": "model", "lr": 1e-9}},
    )
    (tmp_path / "run").mkdir()
    TrainRun(mix="mix", seed=0, threads=1, model=MODEL, schedule={"constant": {}}, stages=stages).run(
        chat_inputs, tmp_path / "run", 0
    )
    first, last = (load(tmp_path / "run" / where / "model") for where in ("stage0", "."))
    for name, weight in first.state_dict().items():
        assert torch.allclose(weight, last.state_dict()[name], atol=1e-6), name
    assert not any("critic" in name for name in last.state_dict())
    log = pl.read_parquet(tmp_path / "run" / "log.parquet")
    assert log["reward_deviation"][0] > 0 and log["value"][0] != 0  # it begins as the reward model, not at zero
    scorer = make(Reward, "model").scorer(Places({"reward": tmp_path / "run" / "stage1" / "model"}, tmp_path))
    asked = [{"role": "user", "content": "one two"}]
    replies = [Reply(str(k), asked, text) for k, text in enumerate(["one", "two three", "four", "", "<|im_end|> five"])]
    scores = scorer(replies)  # no place in a chat for the last one
    assert scores.failed == 1 and scores.values[4] == min(scores.values[:4]) < max(scores.values)
    with pytest.raises(InputError, match="cannot read 1 of 2 replies"):
        scorer(replies[3:])
    with pytest.raises(InputError, match=r"put `\{reward: \{\.\.\.\}\}` before it"):
        run({"ppo": {**SPECS["ppo"], "reward": "model"}}, chat_inputs, tmp_path / "alone")


def test_a_delta_trains_on_replies_and_the_critic_beside_it(chat_inputs, tmp_path):
    run({"ppo": {**SPECS["ppo"], "delta": {"lora": {"rank": 2}}}}, chat_inputs, tmp_path / "run")
    saved = json.loads((tmp_path / "run" / "delta" / "delta.json").read_text())
    assert list(saved) == ["lora"]
    from safetensors.torch import load_file

    names = load_file(tmp_path / "run" / "delta" / "adapter_model.safetensors").keys()
    assert names and not any("critic" in name for name in names)


def test_rewards_that_are_all_alike_stop_the_stage(chat_inputs, tmp_path):
    spec = {"grpo": {**SPECS["grpo"], "rounds": 20, "reward": {"regex": "never in a reply"}}}
    with pytest.raises(TrainingError, match="the first 5 rounds, 0 in the last of them, do not differ where 'grpo'"):
        run(spec, chat_inputs, tmp_path / "run")


def test_equal_rewards_have_no_deviation_that_rounding_leaves():
    rewards = np.full(12, 0.1)
    assert rewards.std() > 0  # what numpy makes of them
    made = Round([""] * 12, [], 2, rewards, np.ones(12), np.ones(12, bool), 0)
    row = of_rewards(made)
    assert row["reward_deviation"] == 0 and row["same_reward"] == 1
    assert not any(make(Objective, name).learns(row) for name in ("ppo", "grpo"))  # type: ignore[type-abstract, attr-defined]


def test_a_divergence_that_explodes_stops_the_stage(chat_inputs, tmp_path):
    spec = {"grpo": {**SPECS["grpo"], "lr": 1.0, "rounds": 30, "beta": 0.0, "max_kl": 5.0, "clip": 1e6}}
    with pytest.raises(TrainingError, match=r"beyond `max_kl: 5`.*Lower `lr`"):
        run(spec, chat_inputs, tmp_path / "run")


VERIFIER = """
from windtunnel.trainer.rewards._reward import Verifier


class Mine(Verifier):
    does: str

    def reward(self, reply):
        if self.does == "nan":
            return float("nan")
        if self.does == "throws":
            raise KeyError("no such thing")
        if self.does == "throws_rarely" and len(reply.text) % 7 == 0:
            raise KeyError("no such thing")
        while self.does == "hangs":
            pass
        return len(set(reply.text)) / 10
"""


@pytest.mark.parametrize(
    ("does", "error"),
    [
        ("nan", "is nan for the reply"),
        ("throws", r"failed on 1 of 1 replies, first on row c\d+: KeyError: 'no such thing' \(mine\.py, line 12\)"),
        ("hangs", r"failed on 1 of 1 replies, first on row c\d+: over the limit of time \(1 s\)"),
        ("works", None),
    ],
)
def test_a_verifier_of_one_s_own_that_goes_wrong(chat_inputs, tmp_path, does, error):
    (tmp_path / "mine.py").write_text(VERIFIER)
    few = {"rounds": 1, "prompts": 2, "samples": 2}
    spec = {"grpo": {**SPECS["grpo"], **few, "reward": {"./mine.py:Mine": {"does": does, "seconds": 1}}}}
    with plugin_files.relative_to(tmp_path):
        if error is None:
            run(spec, chat_inputs, tmp_path / "run")
            return
        with pytest.raises(InputError, match=error):
            run(spec, chat_inputs, tmp_path / "run")


def test_prompts_that_leave_no_room_are_counted_and_never_cut(chat_inputs, tmp_path):
    (file,) = chat_inputs["conversations"].files("rows")
    rows = pl.read_parquet(file).to_dicts()
    rows[0]["messages"] = [{"role": "user", "content": "so " * 100}]
    rows[1]["messages"] = rows[1]["messages"][:1]  # a question alone is a prompt
    rows[2]["messages"] = [{"role": "assistant", "content": "an answer"}]
    pq.write_table(pa.Table.from_pylist(rows, CONVERSATION), file)
    run({"grpo": SPECS["grpo"]}, chat_inputs, tmp_path / "run")
    (about,) = [
        one
        for one in json.loads((tmp_path / "run" / "encoded.json").read_text())
        if one["role"] == "conversations" and one["source"] == "even"
    ]
    assert about["refused"] == {"no_messages": 1, "too_long": 1} and about["kept"] == about["rows"] - 2
    with pytest.raises(InputError, match="compares with the row's answer, and row 'c1' has none"):
        run({"grpo": {**SPECS["grpo"], "prompts": 30, "reward": "exact"}}, chat_inputs, tmp_path / "exact")
    with pytest.raises(InputError, match="the model has 128 positions, and `max_tokens` takes 128"):
        run({"grpo": {**SPECS["grpo"], "max_tokens": 128}}, chat_inputs, tmp_path / "room")


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({"grpo": {"batch_tokens": 100}}, "`batch_tokens` says nothing here"),
        ({"grpo": {"samples": 1}}, "greater than or equal to 2"),
        ({"ppo": {"prompts": 2, "samples": 1, "minibatches": 4}}, "2 replies do not make 4 minibatches"),
        ({"grpo": {"reward": "exakt"}}, "did you mean 'exact'"),
    ],
)
def test_parameters_that_say_nothing_are_refused(spec, error):
    with pytest.raises(RecipeError, match=error):
        make(Objective, spec).nested()  # type: ignore[type-abstract]


def test_a_stage_learns_from_the_sets_that_it_names(chat_inputs, tmp_path):
    (file,) = chat_inputs["conversations"].files("rows")
    table = pl.read_parquet(file).with_columns(set=pl.col("source"))
    table.write_parquet(file)
    for name, spec in (("sft", {"lr": 1e-3, "batch_tokens": 64}), ("grpo", SPECS["grpo"])):
        run({name: {**spec, "sets": ["odd"]}}, chat_inputs, tmp_path / name)
        assert pl.read_parquet(tmp_path / name / "realised.parquet")["source"].to_list() == ["odd"]
    with pytest.raises(InputError, match="no rows are of the set 'od' of `sets`: did you mean 'odd'"):
        run({"sft": {"sets": ["od"]}}, chat_inputs, tmp_path / "wrong")


@pytest.mark.parametrize("name", ["rejection", "online_dpo"])
def test_a_round_without_a_difference_moves_nothing(chat_inputs, tmp_path, name):
    """Its loss counts nothing, and it has every column of the log."""
    few = {"minibatches": 2, "samples": 2, "prompts": 1, "max_tokens": 1, "rounds": 40}
    run({name: {**SPECS[name], **few, "reward": {"regex": "[A-Za-z]"}}}, chat_inputs, tmp_path / "run")
    log = pl.read_parquet(tmp_path / "run" / "log.parquet")
    idle = log.filter(pl.col("unused") == 1)
    assert 0 < len(idle) < len(log) and (idle["grad_norm"].max(), idle["loss"].max()) == (0, 0)
    assert not log.null_count().row(0).count(1)


def test_online_dpo_has_the_loss_of_dpo_on_its_pairs(tiny_llama):
    from windtunnel.trainer.data.batch import Batch
    from windtunnel.trainer.data.packing import Row

    rng = np.random.default_rng(0)
    rows = [Row.of([1, 2, 3, *rng.integers(9, 99, n).tolist()], [False] * 3 + [True] * n) for n in (3, 5, 2, 4)]
    reference = [rng.normal(-3, 1, int(row.target.sum())) for row in rows]
    rewards = np.array([0.0, 1.0, 1.0, 0.0])
    made = Round(["a", "a", "b", "b"], rows, 2, rewards, np.ones(4), np.ones(4, bool), 0, reference, reference)
    online = make(Objective, {"online_dpo": {"beta": 0.3}})  # type: ignore[type-abstract]
    lesson = online.lesson(made, 0.3)  # type: ignore[attr-defined]
    assert lesson.pairs == [(1, 0), (2, 3)]
    whole = [paired(rows[a], rows[b]) for a, b in lesson.pairs]
    losses = []
    for objective in (online, make(Objective, {"dpo": {"beta": 0.3}})):  # type: ignore[type-abstract]
        ((_, tensors),) = packed(whole, None, True, {}, lesson.per_reply)
        loss = objective.loss(tiny_llama, Batch(tensors, 0, []))
        losses.append((loss.total.item(), loss.normaliser, {k: float(v) for k, v in loss.metrics.items()}))
    assert losses[0] == losses[1]


def test_a_stage_that_learnt_something_knows_it_after_a_checkpoint(chat_inputs, chat_tokenizer, tiny_llama, tmp_path):
    """Rewards that differ between prompts alone had been forgotten, and the resumed run stopped."""
    setting = Setting(chat_inputs, chat_tokenizer, 128, 0, tmp_path / "cache")
    log = {name: [0.5] for name in ("beta", "beta_level", "kl")}
    alike, between, within = ((1.0, 0.0), (1.0, 0.4), (0.5, 0.4))  # same_reward, reward_deviation
    for name, expected in (("ppo", (False, True, True)), ("grpo", (False, False, True))):
        for (same, deviation), learnt in zip((alike, between, within), expected, strict=True):
            data = make(Objective, {name: SPECS[name]}).open(setting, tiny_llama)  # type: ignore[type-abstract]
            data.resume({**log, "same_reward": [same], "reward_deviation": [deviation]})
            assert isinstance(data, Rounds) and data._learnt == learnt, (name, same, deviation)


def test_a_round_of_more_prompts_than_rows_samples_each_time_anew(chat_inputs, chat_tokenizer, tiny_llama, tmp_path):
    setting = Setting(chat_inputs, chat_tokenizer, 128, 0, tmp_path / "cache")
    objective = make(Objective, {"rloo": {**SPECS["rloo"], "prompts": 60}})  # type: ignore[type-abstract]
    data = objective.open(setting, tiny_llama)
    data.follow(tiny_llama, lambda function, *args: function(tiny_llama, *args))
    data.batch(0)
    assert isinstance(data, Rounds) and data._made is not None
    replies = Counter((row, tuple(reply.ids)) for row, reply in zip(data._made.ids, data._made.rows, strict=True))
    assert len(set(data._made.ids)) < 60 and max(replies.values()) == 1


def test_a_reward_that_is_left_empty_is_asked_for():
    for name in SPECS:
        with pytest.raises(RecipeError, match="`reward` is missing"):
            make(Objective, {name: {"reward": None}})  # type: ignore[type-abstract]


def test_how_fast_a_server_answers_is_no_part_of_the_key():
    def identity(**more):
        judge = {"url": "http://127.0.0.1:1/v1", "model": "m", **more}
        weighted = {"weighted": [{"reward": {"judge": judge}}]}
        served = {"vllm": {"url": "http://127.0.0.1:2", "directory": more.get("key", "d")}}
        return TrainRun(
            mix="m", seed=0, threads=1, stages=({"grpo": {"reward": weighted, "rollouts": served}},)
        ).identity()

    assert identity() == identity(parallel=3, timeout=5, retries=1, key="KEY") != identity(max_tokens=3)
    assert identity() != identity(model="n")
