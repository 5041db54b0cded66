"""GGUF files: read back by gguf and by transformers; what llama.cpp would compute or split otherwise is refused."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import new_chat_tokenizer
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.gguf.convert import _in_pairs, write_gguf
from windtunnel.trainer.gguf.words import LLAMA_3, read_words
from windtunnel.trainer.models._model import Model

SIZE = {"width": 64, "layers": 2, "heads": 4, "context": 64}
MODELS = {
    "llama": {"llama": {**SIZE, "init_std": 0.2}},
    "grouped": {"llama": {**SIZE, "kv_heads": 2, "tied": False, "rope_theta": 500.0, "norm_eps": 1e-3}},
    "mup": {"llama": {**SIZE, "mup": {"width": 32, "layers": 1}}},
    "gpt2": {"gpt2": {**SIZE, "init_std": 0.2, "context": 1024}},  # transformers' reader knows no other length
    "mixtral": {"mixtral": {**SIZE, "experts": 4, "init_std": 0.2}},
}


def write_model(folder: Path, spec: Any, tokenizer: Any = None) -> Any:
    """Write a model with weights of which none is a default, and a tokenizer; return the model."""
    from windtunnel.trainer.modules.export import export

    tokenizer = tokenizer or new_chat_tokenizer()
    torch.manual_seed(0)
    model: Any = make(Model, spec).build_for(tokenizer).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    export(model, tokenizer, folder)
    return model


@pytest.fixture(params=list(MODELS))
def made(request, tmp_path) -> tuple[str, Path, Any]:
    return request.param, tmp_path, write_model(tmp_path / "model", MODELS[request.param])


def test_every_tensor_and_size_is_there(made):
    import gguf

    name, folder, model = made
    write_gguf(folder / "model", folder / "m.gguf", name="a name")
    reader = gguf.GGUFReader(folder / "m.gguf")
    fields = {key: field.contents() for key, field in reader.fields.items()}
    kind = "gpt2" if name == "gpt2" else "llama"
    assert fields["general.architecture"] == kind and fields["general.name"] == "a name"
    assert fields[f"{kind}.context_length"] == (1024 if name == "gpt2" else 64) and fields[f"{kind}.block_count"] == 2
    assert fields[f"{kind}.vocab_size"] == 320 == len(fields["tokenizer.ggml.tokens"])
    tensors = {t.name: t.data for t in reader.tensors}
    written = sum(data.size for data in tensors.values())
    assert written == sum(p.numel() for p in model.parameters())  # a tied head is one of them, once
    assert ("output.weight" in tensors) == (name == "grouped")
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    if name == "gpt2":
        assert np.array_equal(tensors["blk.1.attn_qkv.weight"], state["transformer.h.1.attn.c_attn.weight"].T)
        assert np.array_equal(tensors["position_embd.weight"], state["transformer.wpe.weight"])
    else:
        heads = fields["llama.attention.head_count_kv"]
        assert heads == (2 if name == "grouped" else 4)
        assert np.array_equal(
            tensors["blk.1.attn_k.weight"], _in_pairs(state["model.layers.1.self_attn.k_proj.weight"], heads)
        )
        assert np.array_equal(tensors["blk.0.attn_v.weight"], state["model.layers.0.self_attn.v_proj.weight"])
    if name == "mixtral":
        stored = state["model.layers.1.mlp.experts.down_proj"]
        assert np.array_equal(tensors["blk.1.ffn_down_exps.weight"], stored)
        assert fields["llama.expert_used_count"] == 2
    again = folder / "again.gguf"
    write_gguf(folder / "model", again, name="a name")
    assert again.read_bytes() == (folder / "m.gguf").read_bytes()


def test_transformers_reads_it_as_the_same_model(made):
    name, folder, model = made
    if name == "mixtral":
        pytest.skip("transformers reads no mixture of experts from a file of the llama architecture")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_gguf(folder / "model", folder / "gguf" / "m.gguf")
    read = AutoModelForCausalLM.from_pretrained(str(folder / "gguf"), gguf_file="m.gguf", dtype=torch.float32).eval()
    ids = torch.arange(4, 44).view(2, 20)
    with torch.no_grad():
        torch.testing.assert_close(read(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)
    words = AutoTokenizer.from_pretrained(str(folder / "gguf"), gguf_file="m.gguf")
    text = "The quick brown fox; 3 1 2, and Sch\u00f6nes!"
    assert words(text, add_special_tokens=False).input_ids == new_chat_tokenizer()(text).input_ids
    assert words.eos_token == "<|im_end|>"


def test_special_tokens_and_rows_without_a_token_are_marked(tmp_path):
    tokenizer = new_chat_tokenizer()
    tokenizer.add_tokens(["<tool>"])
    write_model(tmp_path / "model", MODELS["llama"], tokenizer)
    words = read_words(tmp_path / "model", 324)
    assert words.tokens[:4] == ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "!"] and words.types[:4] == [3, 3, 3, 1]
    assert words.tokens[320:] == ["<tool>", "[PAD321]", "[PAD322]", "[PAD323]"] and words.types[320:] == [4, 5, 5, 5]
    assert words.ids == {"bos": None, "eos": 2, "pad": 0} and not (words.begins or words.ends)
    assert words.pre == "gpt-2" and "im_start" in str(words.chat_template)
    with pytest.raises(InputError, match="the id 320 and the model 320 rows"):
        read_words(tmp_path / "model", 320)


def split_by(pattern: str, **model: Any) -> Any:
    """Return the chat tokenizer with another expression that splits its text."""
    from tokenizers import Regex, Tokenizer, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = json.loads(new_chat_tokenizer().backend_tokenizer.to_str())
    changed = Tokenizer.from_str(json.dumps({**backend, "model": {**backend["model"], **model}}))
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    changed.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=changed, eos_token="<|im_end|>", pad_token="<|endoftext|>")


@pytest.mark.parametrize(("ignore", "name"), [(True, "llama-bpe"), (False, "dbrx")])
def test_what_splits_as_llama_3_is_called_so(tmp_path, ignore, name):
    write_model(tmp_path / "model", MODELS["llama"], split_by(LLAMA_3, ignore_merges=ignore))
    assert read_words(tmp_path / "model", 320).pre == name


def test_a_tokenizer_that_llama_cpp_lacks_is_refused_and_goes_for_ids_alone(tmp_path):
    import gguf

    write_model(tmp_path / "model", MODELS["llama"], split_by(LLAMA_3.replace("{1,3}", "{1,2}")))
    with pytest.raises(InputError, match=r"splits text as this tokenizer does.*--tokenizer ids"):
        write_gguf(tmp_path / "model", tmp_path / "m.gguf")
    assert not list(tmp_path.glob("*.gguf*"))
    write_gguf(tmp_path / "model", tmp_path / "m.gguf", tokenizer="ids")
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    assert "tokenizer.ggml.pre" not in fields and len(fields["tokenizer.ggml.tokens"].contents()) == 320
    file = tmp_path / "model" / "tokenizer.json"
    file.write_text(file.read_text().replace('"ByteLevel"', '"Fuse"'))
    with pytest.raises(InputError, match="no byte-level BPE"):
        write_gguf(tmp_path / "model", tmp_path / "m.gguf", tokenizer="ids")


def test_another_model_is_refused_with_the_reason(tmp_path):
    write_model(tmp_path / "bert", {"bert": SIZE})
    with pytest.raises(InputError, match="BertForMaskedLM is not converted"):
        write_gguf(tmp_path / "bert", tmp_path / "m.gguf")
    write_model(tmp_path / "model", MODELS["llama"])
    file = tmp_path / "model" / "config.json"
    scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    file.write_text(json.dumps({**json.loads(file.read_text()), "rope_parameters": scaled}))
    with pytest.raises(InputError, match="rope_type"):
        write_gguf(tmp_path / "model", tmp_path / "m.gguf")


def llama_cpp(file: Path) -> Any:
    """Return a function that asks llama.cpp for the next token of a prompt, text or ids, with all probabilities."""
    xllamacpp = pytest.importorskip("xllamacpp")  # a build of llama.cpp; no dependency of ours
    settings = xllamacpp.CommonParams()
    settings.model.path = str(file)
    # by default it rounds keys, values and queries to 16 bits
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.n_ctx, settings.warmup, settings.n_parallel = 64, False, 1
    server = xllamacpp.Server(settings)
    asked = {"n_predict": 1, "n_probs": 320, "temperature": 0.0, "cache_prompt": False, "post_sampling_probs": False}

    def ask(prompt: str | list[int]) -> dict[str, Any]:
        body = json.dumps({"prompt": prompt, **asked}).encode()
        with urllib.request.urlopen(f"{server.listening_address}/completion", body) as reply:
            return json.loads(reply.read())

    return ask


@pytest.mark.slow
def test_llama_cpp_gives_the_probabilities_of_transformers_and_its_tokens(made):
    name, folder, model = made
    write_gguf(folder / "model", folder / "m.gguf")
    write_gguf(folder / "model", folder / "ids.gguf", tokenizer="ids")
    text, tokenizer = "The quick brown fox jumps 3 1 2", new_chat_tokenizer()
    while True:  # until the likeliest token is a letter: of ends and parts of letters it tells no probabilities
        ids = tokenizer(text).input_ids
        with torch.no_grad():
            wanted = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        likeliest = tokenizer.decode([int(wanted.argmax())], skip_special_tokens=True)
        if likeliest.strip().isalpha():
            break
        text += " 2"
    whole, by_ids = llama_cpp(folder / "m.gguf"), llama_cpp(folder / "ids.gguf")
    for answer in (whole(text), whole(ids), by_ids(ids)):
        (first,) = answer["completion_probabilities"]
        assert answer["tokens_evaluated"] == len(ids) and answer["content"] == likeliest
        found = {one["id"]: one["logprob"] for one in first["top_logprobs"]}
        assert len(found) == 320
        rounded = 1e-2 if name == "gpt2" else 2e-3  # it takes GELU from a table of 16 bits
        assert max(abs(found[id] - float(wanted[id])) for id in found) < rounded, name
