"""Exported models in transformers' Auto classes: the outputs of training, the tokens that a text is framed with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from windtunnel.schemas.results import RunResult
from windtunnel.trainer.loop.loop import Loop
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.models._model import load
from windtunnel.trainer.modules.static_vectors import StaticVectors

SIZE = {"width": 32, "layers": 2, "heads": 2, "context": 32}
WSD = {"wsd": {"warmup": 0.1, "decay": 0.2}}
STEP = {"lr": 1e-2, "batch_tokens": 1024}
CAUSAL, MASKED = "AutoModelForCausalLM", "AutoModelForMaskedLM"
RUNS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # Auto class, model, objective
    "llama": (CAUSAL, {"llama": SIZE}, {"causal_lm": STEP}),
    "grouped": (CAUSAL, {"llama": {**SIZE, "kv_heads": 1, "tied": False}}, {"causal_lm": STEP}),
    "mup": (CAUSAL, {"llama": {**SIZE, "mup": {"width": 16, "layers": 1}}}, {"causal_lm": STEP}),
    "gpt2": (CAUSAL, {"gpt2": SIZE}, {"causal_lm": STEP}),
    "mixtral": (CAUSAL, {"mixtral": {**SIZE, "experts": 4}}, {"causal_lm": STEP}),
    "prefix": (CAUSAL, {"llama": SIZE}, {"prefix_lm": STEP}),
    "further": (CAUSAL, {"llama": SIZE}, {"causal_lm": {**STEP, "predict": 2}}),
    "bert": (MASKED, {"bert": SIZE}, {"masked_lm": STEP}),
    "next": (MASKED, {"bert": SIZE}, {"masked_lm": {**STEP, "next_sentence": True}}),
    "t5": ("AutoModelForSeq2SeqLM", {"t5": SIZE}, {"span_corruption": STEP}),
}
TEXT = "the whole of it\n"


class Exported(NamedTuple):
    """A run's model directory, its Auto class, and logits of `IDS` from the model as it was trained."""

    name: str
    path: Path
    auto: str
    logits: torch.Tensor
    result: RunResult


IDS = torch.arange(3, 27).view(2, 12)


def inputs_of(auto: str) -> dict[str, torch.Tensor]:
    return {"input_ids": IDS, **({"decoder_input_ids": IDS.flip(1)} if "Seq2Seq" in auto else {})}


@pytest.fixture(scope="module", params=list(RUNS))
def run(request, world, tmp_path_factory) -> Exported:
    auto, model, objective = RUNS[request.param]
    out, seen = tmp_path_factory.mktemp(request.param), {}
    written = Loop.export

    def remembered(loop: Loop, model: Any, *places: Path) -> None:
        with torch.no_grad():
            out = model(**inputs_of(auto))
        seen["logits"] = out.prediction_logits if "prediction_logits" in out else out.logits
        written(loop, model, *places)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "export", remembered)
        result = train(Stage.from_specs("both", 0, model, WSD, objective), world.inputs(), out)
    return Exported(request.param, out / "model", auto, seen["logits"], result)


def opened(run: Exported) -> tuple[Any, Any]:
    import transformers

    model, info = getattr(transformers, run.auto).from_pretrained(str(run.path), output_loading_info=True)
    assert not any(info.values()), info  # nothing missing, unexpected or of another shape
    return model, transformers.AutoTokenizer.from_pretrained(str(run.path))


def test_the_auto_class_gives_the_outputs_of_training(run):
    model, _ = opened(run)
    assert model.dtype == torch.float32 and not model.training
    with torch.no_grad():
        logits = model(**inputs_of(run.auto)).logits
    torch.testing.assert_close(logits, run.logits, rtol=0, atol=1e-5)
    assert run.result.final_loss > 0


def test_ids_of_special_tokens_agree_everywhere(run):
    model, tokenizer = opened(run)
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == model.config.eos_token_id == end
    assert model.config.vocab_size == len(tokenizer)
    if run.auto == CAUSAL:
        assert model.config.pad_token_id is None  # transformers would hold its embedding, that of end-of-text, at zero
    written = run.path / "generation_config.json"
    assert written.exists() == (run.auto != MASKED)
    if written.exists():
        settings = json.loads(written.read_text())
        assert settings["eos_token_id"] == settings["pad_token_id"] == end
        assert not {"_from_model_config", "temperature", "do_sample"} & settings.keys()
    kept = json.loads((run.path / "tokenizer_config.json").read_text())
    assert not {"is_local", "local_files_only", "name_or_path"} & set(kept)


def test_the_tokenizer_frames_a_text_as_training_did(run):
    model, tokenizer = opened(run)
    plain = tokenizer(TEXT, add_special_tokens=False).input_ids
    assert tokenizer.decode(plain) == TEXT
    framed = tokenizer(TEXT, return_tensors="pt")
    end, first, last = tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id
    wanted = {MASKED: [first, *plain, last], CAUSAL: plain}.get(run.auto, [*plain, end])
    assert framed.input_ids[0].tolist() == wanted
    if run.auto == MASKED:
        pair = tokenizer(TEXT, TEXT)
        assert pair.input_ids == [first, *plain, last, *plain, last]
        assert tokenizer(f"{TEXT}[MASK]").input_ids[-2] == tokenizer.mask_token_id
    elif run.auto != CAUSAL:
        assert tokenizer("<extra_id_7>").input_ids == [tokenizer.convert_tokens_to_ids("<extra_id_7>"), end]
    with torch.no_grad():
        model(**framed, **({} if run.auto in (CAUSAL, MASKED) else {"decoder_input_ids": framed.input_ids}))


def test_it_generates_in_padded_batches_without_a_word(run, caplog, recwarn):
    if run.auto == MASKED:
        pytest.skip("masked models do not generate")
    model, tokenizer = opened(run)
    tokenizer.padding_side = "left"
    batch = tokenizer([TEXT, "it"], return_tensors="pt", padding=True)
    options = {"max_new_tokens": 6, "do_sample": False}
    both = model.generate(**batch, **options)[1].tolist()
    short = tokenizer(["it"], return_tensors="pt")
    alone = model.generate(**short, **options)[0].tolist()
    if run.auto == CAUSAL:
        both, alone = both[batch.input_ids.shape[1] :], alone[short.input_ids.shape[1] :]
    assert both[: len(alone)] == alone and set(both[len(alone) :]) <= {tokenizer.pad_token_id}
    assert not [record for record in caplog.records if "pad" in record.message]
    assert not [warning for warning in recwarn if "pad" in str(warning.message)]


@pytest.mark.parametrize("name", ["elmo", "static"])
def test_what_transformers_has_no_class_for_loads_here(name, world, tmp_path):
    from transformers import AutoModel

    model, objective = {
        "elmo": ({"elmo": {"width": 32, "cell": 48, "context": 32}}, {"bidirectional_lm": STEP}),
        "static": ({"static": {"width": 16, "fewest": 2, "buckets": 500}}, {"skipgram": {}}),
    }[name]
    train(Stage.from_specs("both", 0, model, WSD, objective), world.inputs(), tmp_path)
    path = tmp_path / "model"
    if name == "elmo":
        with torch.no_grad():
            assert load(path)(IDS).logits.shape == (2, 12, 400)
    else:
        assert StaticVectors.load(path).vectors.shape[1] == 16
    with pytest.raises(ValueError, match="windtunnel"):  # the model type, which says where to look
        AutoModel.from_pretrained(str(path))
