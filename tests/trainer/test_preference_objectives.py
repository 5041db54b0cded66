"""KTO, ORPO and SimPO: losses and gradients are TRL's, steps do not depend on micro-batches, bad rows."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import OWN_CONVERSATION, PREFERENCE
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.losses.target_logps import target_log_probs
from windtunnel.trainer.objectives._objective import Setting
from windtunnel.trainer.objectives.kto import Kto
from windtunnel.trainer.objectives.kto_unpaired import KtoUnpaired
from windtunnel.trainer.objectives.orpo import Orpo
from windtunnel.trainer.objectives.simpo import Simpo

MODEL = {"llama": {"width": 32, "layers": 2, "heads": 2, "ff": 64, "context": 128, "init_std": 0.1}}
ALL = 10**6  # target tokens, more than there are: one step
HERE = SimpleNamespace(device="cpu")
SPECS = {
    "kto": {"beta": 0.5, "lr": 5e-3},
    "kto_unpaired": {"beta": 0.5, "lr": 5e-3},
    "orpo": {"beta": 0.5, "lr": 5e-3},
    "simpo": {"lr": 5e-3},
}


def setting(inputs, tokenizer, folder, context: int = 128) -> Setting:
    return Setting(inputs, tokenizer, context, 0, folder / "cache")


def moved(model, data) -> None:
    """Make all answers likelier than by the reference that was read, so that the estimate of KL is positive."""
    for batch in data.batch(0):
        (-target_log_probs(model, batch.tensors).mean()).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.1 * parameter.grad)


def step(objective, model, data, number: int = 0):
    """Return (loss, gradient, losses) of a step, as the loop takes it."""
    model.zero_grad()
    batches = objective.with_step_sums(lambda f, b: f(model, b), [(b, 1.0) for b in data.batch(number)])
    losses = [objective.loss(model, batch) for batch, _ in batches]
    normaliser = sum(loss.normaliser for loss in losses)
    total = sum(loss.total for loss in losses) / normaliser
    total.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return float(total), gradient, losses


def same(one: torch.Tensor, other: torch.Tensor, tolerance: float = 1e-5) -> bool:
    return float((one - other).abs().max()) < tolerance * max(1e-3, float(other.abs().max()))


@pytest.fixture
def labelled(chat_inputs):
    """The inputs with a label at every conversation but each eighth."""
    (file,) = chat_inputs["conversations"].files("rows")
    rows = pq.read_table(file).to_pylist()
    labels = [None if k % 8 == 7 else k % 3 > 0 for k in range(len(rows))]
    pq.write_table(
        pa.Table.from_pylist([{**r, "label": x} for r, x in zip(rows, labels, strict=True)], OWN_CONVERSATION), file
    )
    return chat_inputs


def answers(rows, k: int) -> list[tuple[list[int], list[int]]]:
    """Return (prompt, answer) of a row for each of its answers, in tokens."""
    row = rows[k]
    prompt = row.ids[row.branch == 0].tolist()
    return [(prompt, row.ids[row.branch == a].tolist()) for a in range(1, rows.answers + 1)]


@pytest.mark.parametrize("made", [Kto, KtoUnpaired])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, 1.6)])
def test_kto_equals_trl_with_the_same_mismatched_answers(made, weights, labelled, chat_tokenizer, tiny_llama, tmp_path):
    """TRL's KL estimate is that of a micro-batch with answers shifted by one; it is handed ours, of the whole step."""
    import copy

    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    reference = copy.deepcopy(tiny_llama)
    objective = made(
        beta=0.3, batch_tokens=ALL, micro_tokens=200, desirable_weight=weights[0], undesirable_weight=weights[1]
    )
    data = objective.open(setting(labelled, chat_tokenizer, tmp_path), tiny_llama)
    moved(tiny_llama, data)
    ours, gradient, losses = step(objective, tiny_llama, data)
    assert len(losses) > 1

    rows = data.rows
    labels = [[True, False] if made is Kto else [rows.desirable[k].as_py()] for k in range(len(rows))]
    examples = [
        {"prompt_ids": prompt, "completion_ids": answer, "KL_completion_ids": other, "label": label}
        for k in range(len(rows))
        for (prompt, answer), (_, other), label in zip(
            answers(rows, k), answers(rows, int(data.mismatched.other[k])), labels[k], strict=True
        )
    ]
    config = KTOConfig(
        output_dir=str(tmp_path), beta=0.3, bf16=False, use_cpu=True, gradient_checkpointing=False, report_to=[],
        max_length=None, desirable_weight=weights[0], undesirable_weight=weights[1], per_device_train_batch_size=2,
        train_sampling_strategy="sequential",
    )  # fmt: skip
    few = [{"prompt": "a", "completion": "b", "label": True}, {"prompt": "a", "completion": "c", "label": False}]
    trainer = KTOTrainer(
        tiny_llama, reference, args=config, train_dataset=Dataset.from_list(few), processing_class=chat_tokenizer
    )
    tiny_llama.zero_grad()
    theirs = trainer.compute_loss(trainer.model, trainer.data_collator(examples))
    theirs.backward()
    assert ours == pytest.approx(float(theirs), abs=1e-5)
    assert same(gradient, torch.cat([p.grad.flatten() for p in tiny_llama.parameters() if p.grad is not None]))
    kl = sum(float(loss.metrics["kl"]) for loss in losses) / sum(loss.normaliser for loss in losses)
    assert kl == pytest.approx(trainer._metrics["eval"]["kl"][-1], abs=1e-5) and kl > 0


def test_the_reference_point_of_kto_is_one_number_of_the_step(labelled, chat_tokenizer, tiny_llama, tmp_path):
    """As an estimate of each micro-batch, as in TRL, it would make the loss depend on how a step is cut."""
    where, found = setting(labelled, chat_tokenizer, tmp_path), {}
    opened = {n: Kto(batch_tokens=ALL, micro_tokens=n, beta=0.3) for n in (None, 150, 60)}
    data = {n: objective.open(where, tiny_llama) for n, objective in opened.items()}
    moved(tiny_llama, data[None])
    for n, objective in opened.items():
        found[n] = step(objective, tiny_llama, data[n])
        assert (len(found[n][2]) > 1) == (n is not None)
        assert found[n][0] == pytest.approx(found[None][0], abs=1e-6)
        assert same(found[n][1], found[None][1])
        assert float(found[n][2][0].metrics["kl"]) > 0


def test_a_mismatched_answer_is_cut_at_the_context_and_never_to_nothing(
    chat_inputs, chat_tokenizer, tiny_llama, tmp_path
):
    where = setting(chat_inputs, chat_tokenizer, tmp_path)
    rows = Kto(batch_tokens=ALL).open(where, tiny_llama).rows
    longest = max(len(p) + len(a) for k in range(len(rows)) for p, a in answers(rows, k))
    data = Kto(batch_tokens=ALL, context=longest).open(where, tiny_llama)
    cut = 0
    for k in range(len(rows)):
        row, other = data.mismatched[k], rows[int(data.mismatched.other[k])]
        for answer in (1, 2):
            own, whole = row.branch == answer, other.branch == answer
            size = int(own.sum())
            assert row.ids[own].tolist() == other.ids[whole][:size].tolist()
            assert row.target[own].any() and int((row.branch == 0).sum()) + size <= longest
            cut += size < int(whole.sum())
        assert not row.target[row.branch == 0].any()
    assert cut and sorted(data.mismatched.other.tolist()) == list(range(len(rows)))


def test_kto_of_a_single_row_has_nothing_to_compare_with(chat_inputs, chat_tokenizer, tiny_llama, tmp_path):
    (file,) = chat_inputs["preferences"].files("rows")
    pl.read_parquet(file).head(1).write_parquet(file)
    with pytest.raises(InputError, match="there is one row: add more"):
        Kto(batch_tokens=ALL).open(setting(chat_inputs, chat_tokenizer, tmp_path), tiny_llama)


def padded(rows, answer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and labels of one answer of every row, as TRL pads them."""
    pairs = [answers(rows, k)[answer] for k in range(len(rows))]
    width = max(len(p) + len(a) for p, a in pairs)
    ids = [p + a + [0] * (width - len(p) - len(a)) for p, a in pairs]
    labels = [[-100] * len(p) + a + [-100] * (width - len(p) - len(a)) for p, a in pairs]
    return torch.tensor(ids), torch.tensor(labels)


def trl_means(made, model, rows) -> list[torch.Tensor]:
    """Return TRL's mean log-likelihoods of the answers' tokens, (chosen, rejected)."""
    out = []
    for answer in (0, 1):
        ids, labels = padded(rows, answer)
        out.append(made.get_batch_logps(model(ids).logits, labels, average_log_prob=True))
    return out


def gradient_of(loss: torch.Tensor, model) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("nll", [0.0, 0.6])
def test_simpo_equals_trl(nll, chat_inputs, chat_tokenizer, tiny_llama, tmp_path):
    """With an NLL term ours is the mean over pairs of the mean over tokens; TRL's is one mean over a batch's tokens."""
    from trl.experimental.cpo import CPOTrainer

    objective = Simpo(batch_tokens=ALL, micro_tokens=100, beta=1.7, gamma=0.8, nll=nll)
    data = objective.open(setting(chat_inputs, chat_tokenizer, tmp_path), tiny_llama)
    ours, gradient, losses = step(objective, tiny_llama, data)
    trl = SimpleNamespace(
        alpha=0.0, beta=1.7, simpo_gamma=0.8, label_smoothing=0.0, loss_type="simpo", accelerator=HERE
    )
    chosen, rejected = trl_means(CPOTrainer, tiny_llama, data.rows)
    theirs, *rewards = CPOTrainer.cpo_loss(trl, chosen, rejected)
    loss = theirs.mean() - nll * chosen.mean()
    assert len(losses) > 1 and ours == pytest.approx(float(loss), abs=1e-5)
    assert same(gradient, gradient_of(loss, tiny_llama))
    margin = sum(float(loss.metrics["margin"]) for loss in losses) / len(data.rows)
    assert margin == pytest.approx(float((rewards[0] - rewards[1]).mean()), abs=1e-5)


def test_orpo_equals_trl(chat_inputs, chat_tokenizer, tiny_llama, tmp_path):
    """The odds ratio is TRL's. Its NLL is also that of prompts, and one mean over all tokens of a batch."""
    from trl.experimental.orpo import ORPOTrainer

    objective = Orpo(batch_tokens=ALL, micro_tokens=100, beta=0.7)
    data = objective.open(setting(chat_inputs, chat_tokenizer, tmp_path), tiny_llama)
    ours, gradient, losses = step(objective, tiny_llama, data)
    chosen, rejected = trl_means(ORPOTrainer, tiny_llama, data.rows)
    theirs = ORPOTrainer.odds_ratio_loss(SimpleNamespace(beta=0.7, accelerator=HERE), chosen, rejected)[0]
    loss = -chosen.mean() - theirs.mean()
    assert len(losses) > 1 and ours == pytest.approx(float(loss), abs=1e-5)
    assert same(gradient, gradient_of(loss, tiny_llama))


def test_orpo_is_finite_for_answers_that_are_certain_or_impossible():
    from windtunnel.trainer.losses.preference import orpo

    values = torch.tensor([0.0, -1e-9, -0.6, -0.7, -20.0, -500.0], requires_grad=True)
    loss = orpo(values, values.flip(0), 0.5)
    loss.sum().backward()
    assert loss.isfinite().all() and values.grad.isfinite().all()


@pytest.mark.parametrize("name", SPECS)
def test_it_learns_to_prefer_and_resumes_to_the_same_bits(name, labelled, tmp_path):
    class Killed(Exception):
        pass

    def kill(step, *_):
        if step == 5:
            raise Killed

    def run(folder: str, **more):
        spec = {name: {**SPECS[name], "batch_tokens": 64, "epochs": 4}}
        return train(Stage.from_specs("mix", 0, MODEL, {"constant": {}}, spec), labelled, tmp_path / folder, **more)

    result = run("whole")
    log = pl.read_parquet(tmp_path / "whole" / "log.parquet")
    assert log["accuracy"][-4:].mean() > 0.9 > log["accuracy"][:2].mean()
    pairs = pl.read_parquet(tmp_path / "whole" / "preferences.parquet")
    measure = "implicit_reward" if name.startswith("kto") else "nats_per_token"
    assert set(pairs["measure"]) == {measure} and result.held_out.documents == 16
    if name != "kto_unpaired":
        assert result.metrics["preference_accuracy"] > 0.9
    with pytest.raises(Killed):
        run("cut", report=kill, checkpoint_steps=2)
    run("cut")
    for file in ("model/model.safetensors", "log.parquet", "preferences.parquet"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "cut" / file).read_bytes()


def turn(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


@pytest.mark.parametrize("name", ["dpo", "kto", "orpo", "simpo", "reward"])
def test_bad_pairs_are_dropped_before_training_and_counted(name, chat_inputs, chat_tokenizer, tmp_path):
    (file,) = chat_inputs["preferences"].files("rows")
    good = pq.read_table(file).to_pylist()
    question, yes, no = turn("user", "Ready?"), turn("assistant", "yes"), turn("assistant", "no")
    bad = {
        "chosen_equals_rejected": {"prompt": question, "chosen": yes, "rejected": yes},
        "too_long": {"prompt": turn("user", "word " * 300), "chosen": yes, "rejected": no},
        "no_assistant_turn": {"prompt": question, "chosen": [], "rejected": no},
    }
    made = [{"id": reason, "source": "bad", **row} for reason, row in bad.items()]
    pq.write_table(pa.Table.from_pylist([*made, *good], PREFERENCE), file)
    spec = {name: {"lr": 1e-4, "batch_tokens": 128}}
    train(Stage.from_specs("mix", 0, MODEL, {"constant": {}}, spec), chat_inputs, tmp_path / "run")
    realised = pl.read_parquet(tmp_path / "run" / "realised.parquet")
    assert realised["documents"].sum() == len(good) and "bad" not in realised["source"].to_list()
    if name != "reward":  # which writes no scores of conversations, nor what became of the rows
        told = json.loads((tmp_path / "run" / "encoded.json").read_bytes())
        (refused,) = (each["refused"] for each in told if each["source"] == "bad")
        assert refused == dict.fromkeys(sorted(bad), 1)


def test_answers_that_a_template_makes_equal_are_no_pair(chat_tokenizer):
    from windtunnel.trainer.data.chat import ChatEncoder
    from windtunnel.trainer.data.chat_errors import ChatError
    from windtunnel.trainer.data.row_encoders import Limits, encode_preference

    chat_tokenizer.chat_template = chat_tokenizer.chat_template.replace("message['content']", "message['content']|trim")
    row = {"prompt": turn("user", "Well?"), "chosen": turn("assistant", "So."), "rejected": turn("assistant", "So. ")}
    with pytest.raises(ChatError, match="chosen_equals_rejected"):
        encode_preference(ChatEncoder(chat_tokenizer), Limits(99, False), row)


def test_labelled_answers_that_cannot_be_learnt_are_counted(labelled, chat_tokenizer, tiny_llama, tmp_path):
    (file,) = labelled["conversations"].files("rows")
    good = pq.read_table(file).to_pylist()
    bad = {
        "no_last_answer": turn("user", "Hm?") + turn("assistant", "Yes.") + turn("user", "Sure?"),
        "no_assistant_turn": turn("user", "Hm?"),
        "too_long": turn("user", "word " * 300) + turn("assistant", "Yes."),
    }
    made = [{"id": r, "source": "bad", "messages": m, "label": True} for r, m in bad.items()]
    pq.write_table(pa.Table.from_pylist([*made, *good], OWN_CONVERSATION), file)
    data = KtoUnpaired(batch_tokens=ALL).open(setting(labelled, chat_tokenizer, tmp_path), tiny_llama)
    assert data.rows.counts.dropped == {**dict.fromkeys(bad, 1), "no_label": 4} and data.rows.counts.kept == 28
    assert sum(data.rows.desirable.to_pylist()) == sum(k % 3 > 0 and k % 8 < 7 for k in range(32))
    last = good[0]["messages"][-1]["content"]
    row = next(data.rows[k] for k in range(28) if data.rows.ids[k].as_py() == good[0]["id"])
    assert chat_tokenizer.decode(row.ids[row.target]).startswith(last)
    assert np.array_equal(row.target, row.branch == 1) or not row.target[row.branch == 0].any()
