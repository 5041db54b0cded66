"""SFT, reward and DPO through the training loop: they learn, resume to the same bits, and equal TRL's losses."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, LlamaConfig

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.results import RunResult
from windtunnel.trainer.loop.loop import CACHE
from windtunnel.trainer.loop.run import TrainRun
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.modules.dropout import no_dropout
from windtunnel.trainer.modules.export import export
from windtunnel.trainer.objectives._objective import Setting
from windtunnel.trainer.objectives.dpo import Dpo
from windtunnel.trainer.objectives.reward import Reward
from windtunnel.trainer.objectives.sft import Sft

MODEL = {"llama": {"width": 32, "layers": 2, "heads": 2, "ff": 64, "context": 128, "init_std": 0.1}}
SFT = {"sft": {"lr": 1e-2, "batch_tokens": 64, "epochs": 4}}
DPO = {"dpo": {"lr": 5e-3, "beta": 0.5, "batch_tokens": 64, "epochs": 4}}
REWARD = {"reward": {"lr": 3e-3, "batch_tokens": 64, "epochs": 3, "centering": 0.01, "margin": 0.1}}


def run(spec, inputs, out, seed=0, **more):
    stage = Stage.from_specs("mix", seed, MODEL, {"constant": {}}, spec)
    return train(stage, inputs, out, **more)


def files(out) -> dict[str, bytes]:
    names = ("model/model.safetensors", "log.parquet", "scores.parquet", "preferences.parquet", "realised.parquet")
    return {name: (out / name).read_bytes() for name in names if (out / name).exists()}


def setting(inputs, tokenizer, tmp_path) -> Setting:
    return Setting(inputs, tokenizer, 128, 0, tmp_path / "cache")


def test_sft_learns_and_scores_every_held_out_conversation(chat_inputs, tmp_path):
    result = run(SFT, chat_inputs, tmp_path / "run")
    scores = pl.read_parquet(tmp_path / "run" / "scores.parquet")
    log = pl.read_parquet(tmp_path / "run" / "log.parquet")
    assert log["loss"][-1] < 0.6 * log["loss"][0]
    assert scores["document"].to_list() == [f"c{k}" for k in range(32, 48)]
    assert result.held_out is not None and result.held_out.documents == 16
    assert result.held_out.nats == pytest.approx(scores["nats"].sum())
    bits = scores["nats"].sum() / math.log(2) / scores["bytes"].sum()
    assert result.metrics["response_bits_per_byte"] == pytest.approx(bits)
    assert set(result.domains) == {"even", "odd"}
    pairs = pl.read_parquet(tmp_path / "run" / "preferences.parquet")
    assert result.metrics["preference_accuracy"] == pytest.approx(pairs["correct"].mean()) and len(pairs) == 16


def test_scores_say_which_rows_are_of_one_group(chat_inputs, tmp_path):
    (file,) = chat_inputs["held_out_conversations"].files("rows")
    table = pl.read_parquet(file)
    table.with_columns(group=pl.lit("g") + (pl.int_range(pl.len()) // 2).cast(pl.String)).write_parquet(file)
    run(SFT, chat_inputs, tmp_path / "run")
    scores = pl.read_parquet(tmp_path / "run" / "scores.parquet")
    assert scores["group"].to_list() == [f"g{k // 2}" for k in range(16)]
    pairs = pl.read_parquet(tmp_path / "run" / "preferences.parquet")
    assert pairs["group"].to_list() == pairs["document"].to_list()  # those rows state none


@pytest.mark.parametrize("epochs", [0.001, 0.1, 0.37, 0.5, 0.51, 0.9])
def test_a_part_of_a_pass_is_a_number_of_passes_too(chat_inputs, chat_tokenizer, tiny_llama, tmp_path, epochs):
    """Rounded up to a whole token, it was refused as more than was allowed."""
    sft = Sft(epochs=epochs, batch_tokens=64)
    schedule = sft.open(setting(chat_inputs, chat_tokenizer, tmp_path), tiny_llama).schedule
    assert schedule.budget == max(1, round(epochs * schedule.total))


@pytest.mark.parametrize("spec", [SFT, DPO, REWARD], ids=["sft", "dpo", "reward"])
def test_a_killed_run_resumes_to_the_same_bits(chat_inputs, tmp_path, spec):
    class Killed(Exception):
        pass

    def kill(step, *_):
        if step == 5:
            raise Killed

    whole = run(spec, chat_inputs, tmp_path / "whole")
    with pytest.raises(Killed):
        run(spec, chat_inputs, tmp_path / "cut", report=kill, checkpoint_steps=2)
    assert (tmp_path / "cut" / CACHE).is_dir()  # the rows as tokens wait for the next run
    again = run(spec, chat_inputs, tmp_path / "cut")
    assert files(tmp_path / "whole") == files(tmp_path / "cut") and len(files(tmp_path / "whole")) >= 4
    assert not (tmp_path / "whole" / CACHE).exists() and not (tmp_path / "cut" / CACHE).exists()
    assert whole.model_dump(exclude=set(whole.measured)) == again.model_dump(exclude=set(again.measured))


def test_dpo_starts_at_the_reference_and_learns_to_prefer(chat_inputs, tmp_path):
    result = run(DPO, chat_inputs, tmp_path / "run")
    log = pl.read_parquet(tmp_path / "run" / "log.parquet")
    assert log["loss"][0] == pytest.approx(math.log(2), abs=1e-5)
    assert log["loss"][-4:].mean() < 0.3 and result.metrics["preference_accuracy"] > 0.9
    pairs = pl.read_parquet(tmp_path / "run" / "preferences.parquet")
    assert set(pairs["measure"]) == {"implicit_reward"}
    assert result.metrics["preference_margin"] == pytest.approx(pairs["margin"].mean())


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("delta", [None, {"lora": {"rank": 2}}], ids=["full", "lora"])
def test_dropout_of_a_loaded_model_is_off_while_it_learns_preferences(
    chat_inputs, chat_tokenizer, tmp_path, architecture, delta
):
    """A policy with noise would not start at its reference: the first loss would not be ln 2."""
    sizes = {"vocab_size": 320, "max_position_embeddings": 256}
    torch.manual_seed(0)
    if architecture == "gpt2":  # 0.1 by default, in modules
        config = GPT2Config(**sizes, n_embd=32, n_layer=2, n_head=2)
    else:  # in the layers' attributes
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 2}
        config = LlamaConfig(**sizes, **heads, hidden_size=32, intermediate_size=64, attention_dropout=0.3)
    model = AutoModelForCausalLM.from_config(config)
    export(model, chat_tokenizer, tmp_path / "start")
    inputs = {role: artifact for role, artifact in chat_inputs.items() if role != "tokenizer"}
    spec = {"dpo": {**DPO["dpo"], "epochs": 1, "delta": delta}}
    stage = Stage.from_specs("mix", 0, None, {"constant": {}}, spec)
    train(stage, inputs, tmp_path / "run", start=tmp_path / "start")
    log = pl.read_parquet(tmp_path / "run" / "log.parquet")
    assert log["loss"][0] == pytest.approx(math.log(2), abs=1e-5)
    saved = AutoConfig.from_pretrained(tmp_path / "run" / "model")
    rate = saved.attn_pdrop if architecture == "gpt2" else saved.attention_dropout
    assert rate == (0.1 if architecture == "gpt2" else 0.3)  # whoever trains on finds the model's own


def test_dropout_is_put_back_after_an_error_too(tiny_llama):
    layer = tiny_llama.model.layers[0].self_attn
    layer.attention_dropout = tiny_llama.config.attention_dropout = 0.25
    with pytest.raises(KeyError), no_dropout(tiny_llama):
        assert layer.attention_dropout == tiny_llama.config.attention_dropout == 0
        raise KeyError
    assert layer.attention_dropout == tiny_llama.config.attention_dropout == 0.25


def test_the_budget_counts_learnt_tokens_to_the_token(chat_inputs, tmp_path):
    run({"sft": {**SFT["sft"], "budget": 500}}, chat_inputs, tmp_path / "run")
    realised = pl.read_parquet(tmp_path / "run" / "realised.parquet")
    assert abs(realised["tokens"].sum() - 500) < 20  # whole rows; what passes the budget is not learnt
    with pytest.raises(InputError, match="raise max_epochs"):
        run({"sft": {**SFT["sft"], "budget": 10**6}}, chat_inputs, tmp_path / "more")


def test_seeds_share_nothing_but_the_data(chat_inputs, tmp_path):
    one, two = (run(SFT, chat_inputs, tmp_path / str(seed), seed=seed) for seed in (0, 1))
    assert one.final_loss != two.final_loss and one.steps == two.steps


@pytest.mark.parametrize("objective", [Sft(batch_tokens=10**6), Dpo(batch_tokens=10**6), Reward(batch_tokens=10**6)])
def test_micro_batches_and_packing_change_no_gradient(objective, chat_inputs, chat_tokenizer, tmp_path, tiny_llama):
    """A step cut into micro-batches of any size, packed or not, is the same step: the sums are normalised as one."""
    base = objective.adopt(tiny_llama)

    def gradient(micro_tokens: int | None, share: bool):
        made = objective.model_copy(update={"micro_tokens": micro_tokens})
        data = made.open(setting(chat_inputs, chat_tokenizer, tmp_path), base)
        data.share = share
        with torch.no_grad():  # away from the reference, where the margins are all zero
            base.get_input_embeddings().weight[7:].mul_(1.5)
        losses = [made.loss(base, batch) for batch in data.batch(0)]
        sum(loss.total for loss in losses).backward()
        with torch.no_grad():
            base.get_input_embeddings().weight[7:].div_(1.5)
        total = float(sum(loss.total for loss in losses)) / sum(loss.normaliser for loss in losses)
        grads = {n: p.grad.clone() for n, p in base.named_parameters() if p.grad is not None}
        base.zero_grad()
        return total, grads, len(losses)

    expected, grads, one = gradient(None, True)
    assert one == 1
    for micro_tokens, share in [(100, True), (100, False), (None, False)]:
        value, found, count = gradient(micro_tokens, share)
        assert value == pytest.approx(expected, abs=1e-5) and (count > 1) == (micro_tokens == 100)
        scale = max(float(g.abs().max()) for g in grads.values())
        assert max(float((found[n] - grads[n]).abs().max()) for n in grads) < 1e-5 * scale


def test_sft_loss_equals_trl_over_accumulated_micro_batches(chat_inputs, chat_tokenizer, tmp_path, tiny_llama):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    objective = Sft(batch_tokens=10**6, micro_tokens=100)
    data = objective.open(setting(chat_inputs, chat_tokenizer, tmp_path), tiny_llama)
    losses = [objective.loss(tiny_llama, batch) for batch in data.batch(0)]
    ours = float(sum(loss.total for loss in losses)) / sum(loss.normaliser for loss in losses)

    rows = Dataset.from_parquet(str(chat_inputs["conversations"].files("rows")[0]), cache_dir=str(tmp_path / "hf"))
    config = SFTConfig(
        output_dir=str(tmp_path), assistant_only_loss=True, bf16=False, use_cpu=True, gradient_checkpointing=False,
        report_to=[], per_device_train_batch_size=5, dataset_num_proc=None,
    )  # fmt: skip
    trainer = SFTTrainer(tiny_llama, args=config, train_dataset=rows, processing_class=chat_tokenizer)
    batches = list(trainer.get_train_dataloader())
    targets = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
    with torch.no_grad():
        theirs = sum(trainer.compute_loss(trainer.model, dict(b), num_items_in_batch=targets) for b in batches)
    assert len(losses) > 1 and len(batches) > 1
    assert targets == sum(loss.normaliser for loss in losses)
    assert ours == pytest.approx(float(theirs), abs=1e-5)


def test_reward_loss_equals_trl(chat_inputs, chat_tokenizer, tmp_path, tiny_llama):
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    objective = Reward(batch_tokens=10**6, centering=0.03, margin=0.2)
    model = objective.adopt(tiny_llama)
    data = objective.open(setting(chat_inputs, chat_tokenizer, tmp_path), model)
    (batch,) = data.batch(0)
    loss = objective.loss(model, batch)

    config = RewardConfig(
        output_dir=str(tmp_path), bf16=False, use_cpu=True, gradient_checkpointing=False, report_to=[],
        center_rewards_coefficient=0.03, max_length=None,
    )  # fmt: skip
    rows = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    trainer = RewardTrainer(model, args=config, train_dataset=rows, processing_class=chat_tokenizer)
    pairs = [data.rows[k] for k in range(len(data.rows))]
    examples = [
        {"chosen_ids": row.ids[row.branch < 2].tolist(), "rejected_ids": row.ids[row.branch != 1].tolist(),
         "margin": 0.2 * data.rows.margins[k]}
        for k, row in enumerate(pairs)
    ]  # fmt: skip
    with torch.no_grad():
        theirs = trainer.compute_loss(trainer.model, trainer.data_collator(examples))
    assert float(loss.total) / loss.normaliser == pytest.approx(float(theirs), abs=1e-5)


def test_a_reference_is_computed_once_and_again_for_other_weights(
    chat_inputs, chat_tokenizer, tmp_path, tiny_llama, monkeypatch
):
    import windtunnel.trainer.objectives._reference_logps as reference

    calls = []
    real = reference.pair_logps
    monkeypatch.setattr(reference, "pair_logps", lambda *a: calls.append(1) or real(*a))
    where = setting(chat_inputs, chat_tokenizer, tmp_path)
    data = Dpo(beta=0.1).open(where, tiny_llama)
    first = data.extra["reference"]
    assert [data.facts(step) for step in (0, 1)] == [{"forward_tokens": k} for k in (int(data.rows.lengths.sum()), 0)]
    again = Dpo(beta=0.9, form="ipo").open(where, tiny_llama).extra["reference"]
    assert len(calls) == 2 and np.array_equal(first, again)  # trained on, and held out
    with torch.no_grad():
        tiny_llama.model.norm.weight.add_(0.1)
    other = Dpo().open(where, tiny_llama).extra["reference"]
    assert len(calls) == 4 and not np.array_equal(first, other)


def test_a_missing_role_says_what_there_is(chat_inputs, tmp_path):
    del chat_inputs["preferences"]
    with pytest.raises(InputError, match="needs `preferences` as input; it has conversations"):
        run(DPO, chat_inputs, tmp_path / "run")


def test_a_run_goes_from_a_model_directory_through_sft_to_dpo(
    chat_inputs, chat_tokenizer, tiny_llama, tmp_path, as_artifact
):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    export(tiny_llama, chat_tokenizer, tmp_path / "start" / "model")
    inputs = {k: v for k, v in chat_inputs.items() if k != "tokenizer"}
    inputs["start"] = as_artifact(tmp_path / "start")
    (tmp_path / "run").mkdir()
    work = TrainRun(mix="mix", seed=0, schedule="constant", stages=(SFT, DPO))
    counts = work.run(inputs, tmp_path / "run", 0)
    results = [
        RunResult.model_validate_json((tmp_path / "run" / name).read_bytes())
        for name in ("stage0/result.json", "result.json")
    ]
    assert [r.objective for r in results] == ["sft", "dpo"] and counts.tokens == sum(r.tokens for r in results)
    log = pl.read_parquet(tmp_path / "run" / "log.parquet")
    assert log["loss"][0] == pytest.approx(math.log(2), abs=1e-5)  # the reference is the SFT model
    back = AutoTokenizer.from_pretrained(str(tmp_path / "run" / "model"))
    assert back.chat_template == chat_tokenizer.chat_template
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "run" / "model"))
    assert model.generation_config.eos_token_id == back.convert_tokens_to_ids("<|im_end|>")
