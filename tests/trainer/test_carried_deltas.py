"""Deltas that cannot be merged: what is trained is what is exported, loaded, asked, judged and trained further."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from windtunnel.generators.judges.reward import Reward as Judge
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.model_delta import carried, delta_of, refuse_delta
from windtunnel.trainer.data.encoder import open_encoder
from windtunnel.trainer.eval.evaluate import document_nats
from windtunnel.trainer.eval.greedy import greedy
from windtunnel.trainer.eval.lm_eval_model import Scorer
from windtunnel.trainer.eval.replies import Replier
from windtunnel.trainer.loop.loop import Loop
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.models._model import load, positions_of
from windtunnel.trainer.rewards._reward_model import RewardScorer

UNMERGED = {
    "adapter": {"adapter": {"width": 4, "places": "houlsby"}},
    "parallel_adapter": {"parallel_adapter": {"width": 4}},
    "prefix": {"prefix": {"length": 3}},
    "prompt": {"prompt": {"length": 3}},
    "p_tuning": {"p_tuning": {"length": 3, "hidden": 8}},
    "ladder": {"ladder": {"width": 8}},
}
POSITIONS = ("prefix", "prompt", "p_tuning")
MODEL = {"llama": {"width": 32, "layers": 2, "heads": 2, "ff": 64, "context": 128, "init_std": 0.1}}
DELTAS = pytest.mark.parametrize("name", sorted(UNMERGED))


def stage(objective: dict[str, Any], model: Any = MODEL) -> Stage:
    return Stage.from_specs("mix", 0, model, {"constant": {}}, objective)


def sft(name: str | None, epochs: float = 2, lr: float = 2e-2) -> dict[str, Any]:
    return {"sft": {"lr": lr, "batch_tokens": 64, "epochs": epochs, **({"delta": UNMERGED[name]} if name else {})}}


def trained(name: str, inputs, folder: Path) -> Path:
    train(stage(sft(name)), inputs, folder)
    return folder / "model"


def held_out_nats(folder: Path) -> float:
    return pl.read_parquet(folder / "scores.parquet")["nats"].sum()


@DELTAS
def test_the_exported_model_is_the_one_that_was_scored(name, chat_inputs, tmp_path):
    path = trained(name, chat_inputs, tmp_path / "one")
    assert delta_of(path) == name
    # a further stage of no effect (its learning rate is nothing) scores what it starts from
    train(stage(sft(None, lr=1e-12)), chat_inputs, tmp_path / "two", start=path)
    assert held_out_nats(tmp_path / "two") == pytest.approx(held_out_nats(tmp_path / "one"), rel=1e-4)
    shutil.rmtree(path / "delta")
    train(stage(sft(None, lr=1e-12)), chat_inputs, tmp_path / "base", start=path)
    assert held_out_nats(tmp_path / "base") > 1.01 * held_out_nats(tmp_path / "one")


@DELTAS
def test_it_is_asked_with_its_delta(name, chat_inputs, tmp_path):
    path = trained(name, chat_inputs, tmp_path / "one")
    asker = Replier(path, 256)
    prompts, answers = ["After one?", "After four please?"], ["two.", "five."]
    with_delta = asker.answer_nats(prompts, answers)
    one_by_one = [asker.answer_nats([p], [a])[0] for p, a in zip(prompts, answers, strict=True)]
    assert with_delta == pytest.approx(one_by_one, rel=1e-5)
    assert len(asker.replies(prompts, answers)) == 2
    shutil.rmtree(path / "delta")
    assert Replier(path, 256).answer_nats(prompts, answers).sum() > 1.01 * with_delta.sum()


@DELTAS
def test_all_ways_to_score_a_text_agree(name, chat_inputs, tmp_path):
    model: Any = load(trained(name, chat_inputs, tmp_path / "one")).eval()
    ids = torch.arange(40, 60)
    with torch.no_grad():
        logits = model(input_ids=ids[None]).logits[0, -20:].log_softmax(-1)
    expected = -logits[:-1].gather(1, ids[1:, None]).sum().item()
    assert document_nats(model, [ids[1:].numpy()], 40, 64)[0] == pytest.approx(expected, rel=1e-5)
    ((score, _),) = Scorer(model, 256).scores([([40], ids[1:].tolist())], 64)
    assert -score == pytest.approx(expected, rel=1e-5)
    assert positions_of(model) == 128 - (3 if name in POSITIONS else 0)


@DELTAS
def test_greedy_text_does_not_depend_on_the_batch(name, chat_inputs, tmp_path):
    model: Any = load(trained(name, chat_inputs, tmp_path / "one")).eval()
    prompts = [[40, 41, 42], [50, 51, 52, 53, 54, 55]]
    together = greedy(model, prompts, 6, [])
    for prompt, found in zip(prompts, together, strict=True):
        ids = list(prompt)
        for _ in range(6):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        assert found == ids[len(prompt) :]


@DELTAS
def test_the_same_delta_trains_on_and_without_one_all_weights_do(name, chat_inputs, tmp_path):
    path = trained(name, chat_inputs, tmp_path / "one")
    before = dict(load(path).named_parameters())
    for then in (name, None):
        out = tmp_path / f"then-{then}"
        train(stage(sft(then, epochs=1)), chat_inputs, out, start=path)
        after, found = load(out / "model"), carried(load(out / "model"))
        moved = {n for n, p in after.named_parameters() if not torch.equal(p, before[n])}
        assert found is not None and found.own <= moved
        assert (moved == set(found.own)) == (then is not None)
        assert held_out_nats(out) < held_out_nats(tmp_path / "one")


def test_another_delta_is_refused(chat_inputs, tmp_path):
    path = trained("adapter", chat_inputs, tmp_path / "one")
    objective = {"sft": {"delta": {"lora": {"rank": 2}}}}
    with pytest.raises(InputError, match=r"carries the delta 'adapter'.*'lora' cannot train on top"):
        Loop(stage(objective), chat_inputs, tmp_path / "two", "x", path)


@pytest.mark.parametrize("then", ["adapter", None])
def test_a_stage_on_it_resumes_to_the_same_bits(then, chat_inputs, tmp_path):
    path = trained("adapter", chat_inputs, tmp_path / "one")
    train(stage(sft(then)), chat_inputs, tmp_path / "whole", start=path)

    def stop(step: int, *_: object) -> None:
        if step == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(stage(sft(then)), chat_inputs, tmp_path / "cut", start=path, report=stop, checkpoint_steps=2)
    train(stage(sft(then)), chat_inputs, tmp_path / "cut", start=path)
    names = [f.relative_to(tmp_path / "whole") for f in (tmp_path / "whole").rglob("*.safetensors")]
    assert len(names) == 3  # model, delta, delta beside the model
    assert all((tmp_path / "whole" / f).read_bytes() == (tmp_path / "cut" / f).read_bytes() for f in names)


@pytest.mark.parametrize("name", ["adapter", "parallel_adapter", "ladder"])
def test_a_reward_head_trains_with_it_and_scores_the_same_after_loading(name, chat_inputs, tmp_path):
    objective = {"reward": {"lr": 1e-2, "batch_tokens": 64, "epochs": 3, "delta": UNMERGED[name]}}
    loop = Loop(stage(objective), chat_inputs, tmp_path / "run", "x", None)
    head = loop.model.score.weight.detach().clone()
    loop.go(None, 1e9, None)
    assert not torch.equal(head, loop.model.score.weight)
    loop.finish()
    talk = [{"role": "user", "content": "After one?"}, {"role": "assistant", "content": "two."}]
    scores = pl.read_parquet(tmp_path / "run" / "preferences.parquet")
    rows = {row["id"]: row for row in pl.read_parquet(chat_inputs["held_out_preferences"].files("rows")).to_dicts()}
    scorer = RewardScorer(tmp_path / "run" / "model")
    pairs = [rows[key] for key in scores["document"]]
    for which in ("chosen", "rejected"):
        found = scorer.score([row["prompt"] + row[which] for row in pairs])
        assert found == pytest.approx(scores[which].to_list(), abs=1e-4)
    judge = Judge(directory=str(tmp_path / "run" / "model"))
    assert judge.scores([("After one?", "two.")]) == pytest.approx(scorer.score([talk]), abs=1e-4)


def test_a_reward_model_learns_from_a_model_with_adapters(chat_inputs, tmp_path):
    path = trained("adapter", chat_inputs, tmp_path / "one")
    train(stage({"reward": {"lr": 1e-3, "batch_tokens": 64}}), chat_inputs, tmp_path / "two", start=path)
    scorer = RewardScorer(tmp_path / "two" / "model")
    assert carried(scorer.model) is not None


@pytest.mark.parametrize("name", POSITIONS)
def test_learnt_positions_train_on_documents(name, world, tmp_path):
    objective = {"causal_lm": {"lr": 5e-2, "batch_tokens": 512, "delta": UNMERGED[name]}}
    start = {"llama": {"width": 32, "layers": 2, "heads": 2, "context": 32, "init_std": 0.1}}
    result = train(stage(objective, start), world.inputs(), tmp_path)
    log = pl.read_parquet(tmp_path / "log.parquet")
    assert log["loss"][-5:].mean() < log["loss"][0] - 0.02
    model = load(tmp_path / "model").eval()
    held_out = pl.concat([pl.read_parquet(f) for f in world.inputs()["held_out"].files("documents")])
    encoder = open_encoder(tmp_path / "model")
    nats = document_nats(model, list(encoder.encode(held_out["text"].to_list())), encoder.end_of_text, 29)
    assert nats.sum() == pytest.approx(result.held_out.nats, rel=1e-5)


def test_servers_that_would_take_the_base_refuse_it(chat_inputs, tmp_path):
    from windtunnel.generators.serving import weights

    path = trained("adapter", chat_inputs, tmp_path / "one")
    with pytest.raises(InputError, match="base with the delta 'adapter' beside it, which vLLM cannot read"):
        weights.directory(path)
    shutil.rmtree(path / "delta")
    refuse_delta(path, "vLLM")


def test_a_delta_that_is_not_known_or_does_not_fit_is_named(chat_inputs, tmp_path):
    path = trained("adapter", chat_inputs, tmp_path / "one")
    spec = path / "delta" / "delta.json"
    text = spec.read_text()
    spec.write_text(text.replace('"adapter"', '"./mine.py:Mine"'))
    with pytest.raises(InputError, match=r"carries the delta '\./mine\.py:Mine', which is not known here"):
        load(path)
    spec.write_text(text.replace('"width":4', '"width":5'))
    with pytest.raises(InputError, match="does not fit"):
        load(path)
    spec.unlink()
    with pytest.raises(InputError, match=r"no readable delta\.json"):
        load(path)


def test_the_order_of_stages_is_checked_when_a_recipe_is_read():
    from windtunnel.pipelines.recipe.check_stages import deltas_in_order
    from windtunnel.schemas.plugin import make
    from windtunnel.trainer.objectives._objective import Objective

    def check(*specs: dict[str, Any]) -> None:
        deltas_in_order([make(Objective, spec) for spec in specs], ("train", "stages"))

    adapter, lora = {"sft": {"delta": UNMERGED["adapter"]}}, {"sft": {"delta": "lora"}}
    check(adapter, adapter, {"dpo": {}}, {"reward": {}})
    check(lora, adapter, {"sft": {"delta": "full"}})
    with pytest.raises(RecipeError, match="'lora' cannot train on top of it"):
        check(adapter, lora)
    with pytest.raises(RecipeError, match="'prefix' works outside the body"):
        check({"sft": {"delta": UNMERGED["prefix"]}}, {"reward": {}})
