"""Windows whose documents do not see one another: the same predictions as each document by itself, and none lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.data.domain import Domain
from windtunnel.trainer.data.sampler import Share, Windows
from windtunnel.trainer.losses.cross_entropy import token_nats
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.modules.export import open_tokenizer
from windtunnel.trainer.modules.heads import body, output_weight
from windtunnel.trainer.objectives._objective import Setting
from windtunnel.trainer.objectives.causal_lm import CausalLM

CONTEXT, VOCABULARY, END = 64, 400, 0
SIZES = {"width": 32, "layers": 2, "heads": 2, "context": CONTEXT}


def windows(world, piece=48, number=200):
    domain = Domain("wide", world.artifact("tokens_wide"), 0, CONTEXT, piece)
    return Windows([Share("wide", 1.0)], {"wide": domain}, CONTEXT, number)


def end_of_text(world):
    return int(open_tokenizer(world.artifact("tokenizer").path / "tokenizer").eos_token_id)


def model_of(name, **more):
    torch.manual_seed(0)
    model = make(Model, {name: {**SIZES, **more}}).build(VOCABULARY, END).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0 if parameter.ndim > 1 else 1.0)  # so that attention is far from uniform
    return model


def setting(world, tmp_path):
    tokenizer = open_tokenizer(world.artifact("tokenizer").path / "tokenizer")
    return Setting(world.inputs("wide"), tokenizer, CONTEXT, 0, tmp_path)


def test_the_predicted_tokens_are_those_of_windows_that_run_on(world):
    plan, end = windows(world), end_of_text(world)
    found, running = plan.separate(0, 200, end), plan.tokens(0, 200)
    assert np.array_equal(found.targets, running[:, 1:])
    begins = np.diff(found.parts, axis=1, prepend=-1) != 0
    assert np.array_equal(found.ids[~begins], running[:, :-1][~begins])
    assert begins.sum() > 400


def test_what_stands_before_a_part_is_end_of_text_or_the_token_before_it(world):
    """Every token but the first of a document follows the token that it follows in the corpus."""
    plan, end = windows(world), end_of_text(world)
    found = plan.separate(0, 200, end)
    files = world.artifact("tokens_wide").files("tokens", ".ds")
    tokens = np.concatenate([np.fromfile(f, "<u2") for f in files]).astype(np.int64)
    pairs = set(zip([end, *tokens[:-1].tolist()], tokens.tolist(), strict=True))
    assert set(zip(found.ids.ravel().tolist(), found.targets.ravel().tolist(), strict=True)) <= pairs
    running = plan.tokens(0, 200)
    assert not set(zip(running[:, :-1].ravel().tolist(), running[:, 1:].ravel().tolist(), strict=True)) <= pairs


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_the_loss_is_that_of_each_part_by_itself(world, tmp_path, name):
    model = model_of(name)
    objective = CausalLM(documents="separate", batch_tokens=4 * CONTEXT)
    (batch,) = objective.open(setting(world, tmp_path), model).batch(3)
    together, balance = objective.loss(model, batch), 0.0
    ids, targets, parts = (batch.tensors[key] for key in ("ids", "targets", "parts"))
    nats, number = 0.0, 0
    with torch.inference_mode():
        for row in range(len(ids)):
            for part in parts[row].unique():
                own = parts[row] == part
                hidden = body(model)(input_ids=ids[row, own][None], use_cache=False).last_hidden_state[0]
                nats += float(token_nats(hidden, output_weight(model), targets[row, own]).sum())
                number += 1
    if name == "mixtral":  # which is of the batch, and not of a part
        from windtunnel.trainer.data.packing import separated
        from windtunnel.trainer.modules.routing import routed_hidden_states

        routed = routed_hidden_states(model, ids, **separated(parts, model.dtype))
        balance = float(routed.balance) * targets.numel()
    assert together.normaliser == targets.numel() == 4 * CONTEXT and number > 8
    assert float(together.total.detach()) - balance == pytest.approx(nats, rel=1e-5)
    running = CausalLM(batch_tokens=4 * CONTEXT)
    other = running.loss(model, running.open(setting(world, tmp_path), model).batch(3)[0])
    assert abs(float(other.total.detach()) - float(together.total.detach())) > 1e-3 * nats


def test_micro_batches_add_up_and_the_span_of_attention_is_that_of_parts(world, tmp_path):
    model, whole = model_of("llama"), CausalLM(documents="separate", batch_tokens=4 * CONTEXT)
    data = whole.open(setting(world, tmp_path), model)
    (one,) = data.batch(2)
    split = whole.model_copy(update={"micro_tokens": CONTEXT}).open(setting(world, tmp_path), model).batch(2)
    losses = [whole.loss(model, batch) for batch in split]
    assert len(split) == 4 and sum(loss.normaliser for loss in losses) == 4 * CONTEXT
    assert sum(float(loss.total) for loss in losses) == pytest.approx(float(whole.loss(model, one).total), rel=1e-5)
    assert CausalLM(batch_tokens=4 * CONTEXT).open(setting(world, tmp_path), model).window is None
    assert 16 < data.window < CONTEXT


@pytest.mark.parametrize(
    ("delta", "change"), [("prefix", {}), (None, {"sliding_window": 8, "layer_types": ["sliding_attention"] * 2})]
)
def test_what_cannot_keep_documents_apart_is_refused(world, tmp_path, delta, change):
    model = model_of("llama")
    model.config.update(change)
    with pytest.raises(RecipeError, match="`documents: separate` needs a model whose layers all see"):
        CausalLM(documents="separate", delta=delta).open(setting(world, tmp_path), model)


def test_documents_apart_are_computed_in_the_precision_of_the_model(world, tmp_path):
    objective = CausalLM(documents="separate", batch_tokens=2 * CONTEXT)
    model = model_of("llama")
    batch = objective.open(setting(world, tmp_path), model).batch(0)[0]
    exact = float(objective.loss(model, batch).total)
    assert float(objective.loss(model.to(torch.bfloat16), batch).total) == pytest.approx(exact, rel=0.02)
