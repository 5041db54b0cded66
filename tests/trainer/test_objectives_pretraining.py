"""Pretraining objectives and their models: what is hidden, losses as transformers has them, resuming, exports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.results import RunResult
from windtunnel.trainer.data import spans
from windtunnel.trainer.data.masking import masked
from windtunnel.trainer.loop import checkpoint
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.models._model import Model, kind_in, load
from windtunnel.trainer.objectives._objective import Objective, Setting

SIZE = {"width": 32, "layers": 2, "heads": 2, "context": 32}
WSD = {"wsd": {"warmup": 0.1, "decay": 0.2}}
RUNS = {  # model, objective, measure
    "masked": ({"bert": SIZE}, {"masked_lm": {"lr": 1e-2, "batch_tokens": 256}}, "pseudo_likelihood"),
    "next": (
        {"bert": SIZE},
        {"masked_lm": {"lr": 1e-2, "batch_tokens": 256, "next_sentence": True}},
        "pseudo_likelihood",
    ),
    "prefix": ({"llama": SIZE}, {"prefix_lm": {"lr": 1e-2, "batch_tokens": 256}}, "likelihood"),
    "further": ({"llama": SIZE}, {"causal_lm": {"lr": 1e-2, "batch_tokens": 256, "predict": 2}}, "likelihood"),
    "both": (
        {"elmo": {"width": 32, "cell": 48, "context": 32}},
        {"bidirectional_lm": {"lr": 1e-2, "batch_tokens": 256}},
        "likelihood",
    ),
    "spans": ({"t5": SIZE}, {"span_corruption": {"lr": 1e-2, "batch_tokens": 256}}, "target"),
}


def stage(name: str, seed: int = 0) -> Stage:
    model, objective, _ = RUNS[name]
    return Stage.from_specs("both", seed, model, WSD, objective)


def opened(world, name: str, folder: Path):
    """Return (objective, model, setting, data) of a run at its start."""
    from windtunnel.trainer.modules.export import open_tokenizer

    words, loss, _ = RUNS[name]
    tokenizer = open_tokenizer(world.artifact("tokenizer").path / "tokenizer")
    torch.manual_seed(0)
    objective = make(Objective, loss)
    model = objective.adopt(make(Model, words).build_for(tokenizer)).eval()
    setting = Setting(world.inputs(), tokenizer, 32, 0, folder)
    return objective, model, setting, objective.open(setting, model)


@pytest.fixture(scope="module", params=list(RUNS))
def run(request, world, tmp_path_factory):
    """An uninterrupted run of an objective: its name, directory and result."""
    out = tmp_path_factory.mktemp(request.param)
    return request.param, out, train(stage(request.param), world.inputs(), out)


class Stop(Exception):
    """Stands for whatever ends a process in the middle."""


def files(out: Path) -> dict[str, bytes]:
    rest = {k: v for k, v in json.loads((out / "result.json").read_text()).items() if k not in RunResult.measured}
    kept = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "result.json"]
    return {str(p.relative_to(out)): p.read_bytes() for p in kept} | {"result": json.dumps(rest).encode()}


def test_it_learns_and_says_what_its_scores_measure(run):
    name, out, result = run
    log = pl.read_parquet(out / "log.parquet")
    assert result.final_loss < log["loss"][0] - 0.7
    assert result.measure == RUNS[name][2]
    assert result.held_out.documents == 9 and result.held_out.nats > 0
    assert set(result.domains) == {"tales", "notes"}


def test_an_interrupted_run_gives_the_same_bits(run, world, tmp_path):
    name, out, _ = run

    def stop(done, *_):
        if done == 13:
            raise Stop

    with pytest.raises(Stop):
        train(stage(name), world.inputs(), tmp_path, report=stop, checkpoint_steps=6)
    assert (tmp_path / checkpoint.NAME).exists()
    train(stage(name), world.inputs(), tmp_path)
    assert files(tmp_path) == files(out)


def test_the_export_goes_on_as_the_next_stage(run, world, tmp_path):
    name, out, result = run
    more = train(stage(name), world.inputs(), tmp_path, start=out / "model")
    assert more.held_out.nats < result.held_out.nats


def test_masks_are_bert_s():
    generator = np.random.default_rng(0)
    ids = generator.integers(10, 300, (400, 128))
    eligible = ids != 17
    out = masked(ids, eligible, 0.15, 301, 303, np.random.default_rng(1))
    assert out.positions.shape == (400, 19)  # 15 % of 128
    chosen = np.zeros(ids.shape, bool)
    np.put_along_axis(chosen, out.positions, True, 1)
    assert (out.ids == ids)[~chosen].all() and eligible[chosen].all()
    assert (np.take_along_axis(ids, out.positions, 1) == out.labels).all()
    assert np.abs(chosen.mean(0) - 19 / 128).max() < 0.08  # every place alike
    shown = np.take_along_axis(out.ids, out.positions, 1)
    assert (shown == 301).mean() == pytest.approx(0.8, abs=0.02)
    assert (shown == out.labels).mean() == pytest.approx(0.1, abs=0.02)
    other = shown[(shown != out.labels) & (shown != 301)]
    assert len(other) / shown.size == pytest.approx(0.1, abs=0.02) and len(np.unique(other)) > 200


def test_masks_have_the_shares_of_transformers_collator(eos_tokenizer):
    from transformers import DataCollatorForLanguageModeling

    eos_tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    rows, mask = torch.randint(10, 250, (400, 128), generator=torch.Generator().manual_seed(0)), len(eos_tokenizer) - 1
    theirs = DataCollatorForLanguageModeling(eos_tokenizer, seed=3)([{"input_ids": row} for row in rows])
    chosen = theirs["labels"] != -100
    ours = masked(rows.numpy(), np.ones(rows.shape, bool), 0.15, mask, len(eos_tokenizer), np.random.default_rng(2))
    shown = np.take_along_axis(ours.ids, ours.positions, 1)
    assert chosen.float().mean().item() == pytest.approx(ours.positions.size / rows.numel(), abs=0.01)
    for of in (lambda shown, was: shown == mask, lambda shown, was: shown == was):
        a = of(theirs["input_ids"], rows)[chosen].float().mean().item()
        assert a == pytest.approx(of(shown, ours.labels).mean(), abs=0.02)


def test_the_masked_loss_is_that_of_transformers(world, tmp_path):
    objective, model, _, data = opened(world, "masked", tmp_path)
    (batch,) = data.batch(0)
    labels = torch.full_like(batch.tensors["ids"], -100)
    labels.scatter_(1, batch.tensors["positions"], batch.tensors["labels"])
    loss = objective.loss(model, batch)
    theirs = model(input_ids=batch.tensors["ids"], labels=labels).loss
    assert loss.normaliser == (labels >= 0).sum()
    assert loss.total.item() / loss.normaliser == pytest.approx(theirs.item(), rel=1e-5)


def test_the_next_sentence_loss_is_that_of_transformers_and_half_of_the_rows_go_on(world, tmp_path):
    objective, model, setting, data = opened(world, "next", tmp_path)
    (batch,) = data.batch(0)
    tensors = batch.tensors
    labels = torch.full_like(tensors["ids"], -100).scatter_(1, tensors["positions"], tensors["labels"])
    theirs = model(
        input_ids=tensors["ids"],
        token_type_ids=tensors["segments"],
        labels=labels,
        next_sentence_label=1 - tensors["follows"],
    )
    loss = objective.loss(model, batch)
    assert loss.total.item() / loss.normaliser == pytest.approx(theirs.loss.item(), rel=1e-5)
    assert tensors["follows"].sum() == len(labels) // 2
    original = torch.where(labels >= 0, labels, tensors["ids"])
    rows = torch.from_numpy(data.windows.tokens(0, len(labels))[:, :-1])
    half = rows.shape[1] // 2
    goes_on = (original[:, half + 2 : -1] == rows[:, half:]).all(1)
    assert torch.equal(goes_on.long(), tensors["follows"]) and torch.equal(original[:, 1 : half + 1], rows[:, :half])
    assert (original[:, 0] == setting.tokenizer.cls_token_id).all()


def test_the_export_of_bert_loads_in_transformers_without_its_next_sentence_head(world, tmp_path):
    from safetensors import safe_open
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    train(stage("next"), world.inputs(), tmp_path)
    model, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert not info["missing_keys"] and not info["unexpected_keys"] and kind_in(tmp_path / "model") == "masked"
    assert tokenizer.mask_token == "[MASK]" and tokenizer.mask_token_id < model.config.vocab_size
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        assert not [key for key in file.keys() if "seq_relationship" in key or "pooler" in key]  # noqa: SIM118
    assert tokenizer.decode(tokenizer("one two")["input_ids"]) == "[CLS]one two[SEP]"  # as in training


def test_a_pseudo_likelihood_scores_every_token_once_with_its_group_masked(world, tmp_path):
    from windtunnel.trainer.eval.pseudo_likelihood import Frame, pseudo_nats

    _, model, setting, _ = opened(world, "masked", tmp_path)
    tokenizer = setting.tokenizer
    frame = Frame(tokenizer.mask_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id)
    generator = np.random.default_rng(0)
    documents = [generator.integers(5, 300, n) for n in (1, 3, 30, 31, 75)]
    nats = pseudo_nats(model, documents, frame, context=32, groups=7)
    for ids, total in zip(documents, nats, strict=True):
        expected = 0.0
        for start in range(0, len(ids), 30):
            chunk = ids[start : start + 30]
            for group in range(min(7, len(chunk))):
                shown = chunk.copy()
                shown[group::7] = frame.mask
                rows = torch.tensor([[frame.first, *shown, frame.last]])
                with torch.no_grad():
                    logps = model(input_ids=rows).logits[0, 1:-1].double().log_softmax(-1)
                expected -= logps[torch.arange(len(chunk)), torch.from_numpy(chunk)][group::7].sum().item()
        assert total == pytest.approx(expected, rel=1e-5)


def rebuilt(inputs, targets, sentinel: int, end: int) -> list[int]:
    """Return the text: every sentinel of the input is replaced by what follows it in the target."""
    parts: dict[int, list[int]] = {}
    for token in targets[:-1]:
        if token >= sentinel:
            parts[token] = []
        else:
            parts[max(parts)].append(token)
    assert inputs[-1] == targets[-1] == end
    return [word for token in inputs[:-1] for word in (parts[token] if token >= sentinel else [token])]


@given(
    rows=st.integers(1, 4),
    text=st.integers(1, 90),
    share=st.floats(0.05, 0.9),
    mean=st.floats(1, 8),
    seed=st.integers(0, 2**32),
)
def test_inputs_and_targets_rebuild_the_text(rows, text, share, mean, seed):
    size = spans.lengths(text, share, mean)
    ids = np.random.default_rng(seed).integers(1, 50, (rows, text))
    out = spans.corrupted(ids, size, 100, 0, np.random.default_rng(seed))
    assert out.inputs.shape == (rows, size.input) and out.targets.shape == (rows, size.target)
    for row, left, cut in zip(ids.tolist(), out.inputs.tolist(), out.targets.tolist(), strict=True):
        assert rebuilt(left, cut, 100, 0) == row
        used = [token for token in left if token >= 100]
        assert used == [token for token in cut if token >= 100] == list(range(100, 100 + size.spans))


def test_lengths_are_those_of_t5():
    longest = spans.longest_text(512, 0.15, 3.0)
    assert (longest.text, longest.input, longest.target) == (568, 512, 114)
    assert all(spans.longest_text(n, 0.15, 3.0).input <= n for n in range(8, 200))
    size, ids = spans.lengths(100, 0.15, 3.0), np.ones((500, 100), np.int64)
    out = spans.corrupted(ids, size, 200, 0, np.random.default_rng(0))
    starts = np.bincount(np.concatenate([np.flatnonzero(row >= 200) for row in out.inputs]))
    # as in T5, what is cut out begins after the first token, two spans do not touch, and the last one ends the text
    assert starts[0] == 0 and starts[1:88].min() > 0 and starts[88] == 0 and starts[89] == 500


def test_the_span_loss_is_that_of_transformers(world, tmp_path):
    from transformers import AutoModelForSeq2SeqLM

    objective, model, setting, data = opened(world, "spans", tmp_path)
    (batch,) = data.batch(0)
    model.save_pretrained(tmp_path / "model")
    peer = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model")
    theirs = peer(input_ids=batch.tensors["inputs"], labels=batch.tensors["targets"]).loss
    loss = objective.loss(model, batch)
    assert loss.total.item() / loss.normaliser == pytest.approx(theirs.item(), rel=1e-5)
    assert batch.tensors["inputs"].shape[1] == setting.context


def test_target_nats_do_not_depend_on_the_other_documents_and_padding_is_not_seen(world, tmp_path):
    from windtunnel.trainer.eval.target_nats import target_nats

    _, model, setting, _ = opened(world, "spans", tmp_path)
    sentinel = setting.tokenizer.convert_tokens_to_ids("<extra_id_0>")
    generator = np.random.default_rng(0)
    documents = [generator.integers(5, 300, n) for n in (1, 2, 9, 40, 80)]
    whole = target_nats(model, documents, 32, sentinel, 0)
    alone = [target_nats(model, [document], 32, sentinel, 0)[0] for document in documents]
    assert whole == pytest.approx(alone, rel=1e-5) and (whole > 0).all()


@pytest.mark.parametrize(
    ("model", "objective", "message"),
    [
        ("bert", "causal_lm", "'causal_lm' trains causal models, and 'bert' is masked: take the model gpt2 or llama"),
        ("llama", "masked_lm", "and 'llama' is causal: take the model bert, or the objective causal_lm"),
        ("t5", "masked_lm", "'t5' is seq2seq: take the model bert, or the objective span_corruption"),
    ],
)
def test_a_model_of_another_kind_is_refused_with_the_mend(world, tmp_path, model, objective, message):
    chosen = Stage.from_specs("both", 0, model, WSD, objective)
    with pytest.raises(RecipeError, match=message):
        train(chosen, world.inputs(), tmp_path)


def test_a_model_of_another_kind_does_not_load_where_one_is_needed(world, tmp_path):
    from windtunnel.schemas.errors import InputError

    _, model, _, _ = opened(world, "masked", tmp_path)
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="the model is masked, and a causal model is needed here"):
        load(tmp_path / "model", "causal")


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_a_prefix_is_read_in_both_directions_and_the_rest_is_predicted(world, tmp_path, shape, monkeypatch):
    monkeypatch.setitem(RUNS, "prefix", ({shape: SIZE}, *RUNS["prefix"][1:]))
    objective, model, _, data = opened(world, "prefix", tmp_path)
    (batch,) = data.batch(0)
    ids, prefix = batch.tensors["ids"], batch.tensors["prefix"]
    assert prefix.min() >= 1 and prefix.max() <= 31
    loss = objective.loss(model, batch)
    expected = 0.0
    for row, split in zip(ids, prefix.tolist(), strict=True):
        mask = torch.ones(32, 32).tril()
        mask[:split, :split] = 1
        bias = torch.zeros(32, 32).masked_fill(mask == 0, torch.finfo(torch.float32).min)
        logits = model(input_ids=row[None, :-1], attention_mask=bias[None, None]).logits[0]
        expected += torch.nn.functional.cross_entropy(logits[split - 1 :], row[split:], reduction="sum").item()
    assert loss.normaliser == (32 - prefix + 1).sum()
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)


def test_prefixes_are_of_every_length_and_differ_between_steps(world, tmp_path):
    _, _, _, data = opened(world, "prefix", tmp_path)
    lengths = torch.cat([data.batch(step)[0].tensors["prefix"] for step in range(data.steps)])
    assert len(lengths.unique()) == 31 and lengths.double().mean().item() == pytest.approx(16, abs=2)


def test_further_heads_predict_further_tokens_and_stay_out_of_the_export(world, tmp_path):
    from transformers import AutoModelForCausalLM

    objective, model, _, data = opened(world, "further", tmp_path)
    (batch,) = data.batch(0)
    ids = batch.tensors["ids"]
    with torch.no_grad():
        for head in model.further_heads:
            head.weight.normal_(std=0.3)
        states = model.model(input_ids=ids[:, :-1]).last_hidden_state
        expected = 0.0
        for k, head in enumerate([None, *model.further_heads]):
            cut = states[:, : 32 - k]
            mapped = cut if head is None else cut + torch.nn.functional.silu(head(cut))
            logits = model.lm_head(mapped).flatten(0, 1)
            expected += torch.nn.functional.cross_entropy(logits, ids[:, 1 + k :].flatten(), reduction="sum").item()
    loss = objective.loss(model, batch)
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    assert float(loss.metrics["next_token_loss"]) < loss.total.item()
    train(stage("further"), world.inputs(), tmp_path / "out")
    _, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]


def test_without_further_heads_nothing_changes_at_the_start(world, tmp_path):
    further, plain = (opened(world, name, tmp_path)[1].state_dict() for name in ("further", "prefix"))
    assert all(torch.equal(value, further[name]) for name, value in plain.items())
    assert set(further) - set(plain) == {"further_heads.0.weight", "further_heads.1.weight"}


def test_further_heads_beside_a_delta_are_refused():
    with pytest.raises(RecipeError, match="trained with the whole model"):
        make(Objective, {"causal_lm": {"predict": 1, "delta": "lora"}})


def test_both_directions_are_those_of_two_plain_lstms(world, tmp_path):
    objective, model, _, data = opened(world, "both", tmp_path)
    (batch,) = data.batch(0)
    ids = batch.tensors["ids"]
    expected = 0.0
    for layers, row in ((model.elmo.forward_layers, ids), (model.elmo.backward_layers, ids.flip(1))):
        vectors = model.elmo.embeddings.weight[row[:, :-1]]
        first = layers[0](vectors)[0]
        top = layers[1](first)[0] + first
        logits = (top @ model.elmo.embeddings.weight.T).flatten(0, 1)
        expected += torch.nn.functional.cross_entropy(logits, row[:, 1:].flatten(), reduction="sum").item()
    assert objective.loss(model, batch).total.item() == pytest.approx(expected, rel=1e-5)
    assert model.lm_head.weight is model.elmo.embeddings.weight


def test_layer_vectors_of_elmo_do_not_see_the_padding_and_see_both_sides(world, tmp_path):
    from windtunnel.trainer.modules.elmo import LayerSum

    model = opened(world, "both", tmp_path)[1]
    ids, lengths = torch.randint(5, 300, (2, 12)), torch.tensor([12, 7])
    with torch.no_grad():
        vectors = model.layer_vectors(ids, lengths)
        alone = model.layer_vectors(ids[1:, :7], lengths[1:])
        changed = ids.clone()
        changed[1, 6] = 4
        other = model.layer_vectors(changed, lengths)
        mixed = LayerSum(3)(vectors)
    assert vectors.shape == (3, 2, 12, 64)
    assert torch.allclose(vectors[:, 1, :7], alone[:, 0], atol=1e-6)
    moved = (other - vectors).abs().amax((0, 3))[1, :6]
    assert (moved > 0).all() and torch.equal(other[:, 1, :6, :32], vectors[:, 1, :6, :32])  # backward alone saw it
    assert torch.allclose(mixed, vectors.mean(0), atol=1e-6)


def test_the_forward_direction_of_elmo_is_scored_as_any_causal_model(world, tmp_path):
    from windtunnel.trainer.eval.evaluate import document_nats

    model = opened(world, "both", tmp_path)[1]
    ids = np.random.default_rng(0).integers(5, 300, 20)
    with torch.no_grad():
        logps = model(input_ids=torch.tensor([[0, *ids[:-1]]])).logits[0].double().log_softmax(-1)
    expected = -logps[torch.arange(20), torch.from_numpy(ids)].sum().item()
    assert document_nats(model, [ids], 0, 32)[0] == pytest.approx(expected, rel=1e-5)
    model.save_pretrained(tmp_path / "model")
    assert kind_in(tmp_path / "model") == "bidirectional"
    assert document_nats(load(tmp_path / "model"), [ids], 0, 32)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", list(RUNS))
def test_in_bf16_the_loss_is_about_the_same_and_every_weight_gets_its_gradient(world, tmp_path, name):
    from windtunnel.trainer.loop.step import Bound, InPrecision

    objective, model, _, data = opened(world, name, tmp_path)
    (batch,) = data.batch(0)
    totals, gradients = [], []
    for called in (Bound(model), InPrecision(model, torch.bfloat16)):
        loss = called(objective.loss, batch)
        loss.total.backward()
        totals.append(loss.total.item())
        gradients.append({n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None})
        model.zero_grad()
    assert totals[1] == pytest.approx(totals[0], rel=2e-2)
    assert gradients[0].keys() == gradients[1].keys()
    large = max(gradients[0].values())
    assert all(gradients[1][n] == pytest.approx(value, rel=0.2, abs=0.02 * large) for n, value in gradients[0].items())


@pytest.mark.parametrize("name", ["masked", "both", "spans"])
def test_training_flops_are_those_that_torch_counts(world, tmp_path, name):
    from torch.utils.flop_counter import FlopCounterMode

    words = RUNS[name][0]
    ((shape, size),) = words.items()
    words = {shape: {**size, "context": 128, "width": 64} | ({"cell": 96} if shape == "elmo" else {})}
    objective, tokenizer = make(Objective, RUNS[name][1]), world.artifact("tokenizer").path / "tokenizer"
    from windtunnel.trainer.modules.export import open_tokenizer

    spec = make(Model, words)
    setting = Setting(world.inputs(), open_tokenizer(tokenizer), 128, 0, tmp_path)
    model = spec.build_for(setting.tokenizer).train()
    model.set_attn_implementation("eager")  # torch does not count the CPU's fused attention
    (batch,) = objective.open(setting, model).batch(0)
    with FlopCounterMode(display=False) as counter:
        objective.loss(model, batch).total.backward()
    counted = counter.get_total_flops() / batch.tokens
    assert spec.training_flops(model, 128, causal=False) == pytest.approx(counted, rel=0.15)
