"""Conversion of an exported model to a GGUF file: float32 weights, sizes, and the tokenizer where llama.cpp has it.

Names and forms are those of llama.cpp's convert_hf_to_gguf.py: rows of queries and keys in the order of its rotation,
GPT-2's matrices transposed, the experts of a layer in one tensor. Its `llama-quantize` makes smaller files of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from windtunnel.schemas.artifact import writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.model_delta import refuse_delta
from windtunnel.schemas.weight_files import check_weights
from windtunnel.trainer.gguf.words import Words, read_words

Tensor = tuple[str, np.ndarray]
ARCHITECTURES = {"llama": "llama", "mixtral": "llama", "gpt2": "gpt2"}  # model type -> GGUF architecture
EXPERT = re.compile(r"(.+\.experts)\.(\d+)\.(w[123])\.weight")


def write_gguf(directory: Path, out: Path, tokenizer: Literal["own", "ids"] = "own", name: str = "") -> None:
    """Write the model of a directory as a GGUF file; equal models give equal bytes.

    With `tokenizer="ids"` the file says nothing of how text is split: programs bring token ids, and get text back.
    Raises InputError for a model or a tokenizer that GGUF or llama.cpp has no form for, and where the package `gguf` is
    missing.
    """
    try:
        import gguf
    except ImportError as error:
        raise InputError("GGUF files need the package `gguf`: pip install 'windtunnel[gguf]'") from error

    refuse_delta(directory, "llama.cpp")
    check_weights(directory)
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    architecture = _architecture(directory, config)
    layers = config["n_layer"] if architecture == "gpt2" else config["num_hidden_layers"]
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture.upper()), layers)
    with writing(out) as partial:
        writer = gguf.GGUFWriter(partial, architecture)
        writer.add_name(name or directory.name)
        writer.add_file_type(0)  # all float32
        (_sizes_of_gpt2 if architecture == "gpt2" else _sizes_of_llama)(writer, config, layers)
        _add_words(writer, read_words(directory, config["vocab_size"], split=tokenizer == "own"))
        for key, tensor in _tensors(directory, config):
            known = names.get_name(key, (".weight", ".bias"))
            if known is None:
                raise InputError(f"{directory}: GGUF has no name for the tensor {key!r} of a {architecture}")
            writer.add_tensor(known, np.ascontiguousarray(tensor, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _architecture(directory: Path, config: dict[str, Any]) -> str:
    """Return the architecture of a configuration. Raises InputError for one whose computation would be another."""
    kind, of_class = config.get("model_type"), str((config.get("architectures") or [""])[0])
    if kind not in ARCHITECTURES or not of_class.endswith(("ForCausalLM", "LMHeadModel")):
        raise InputError(
            f"{directory}: a {of_class or kind} is not converted to GGUF; it takes causal models of "
            f"{', '.join(ARCHITECTURES)}"
        )
    rope = config.get("rope_parameters") or {}
    odd = {
        "rope_type": rope.get("rope_type", "default") != "default",
        "rope_scaling": bool(config.get("rope_scaling")),
        "sliding_window": kind == "mixtral" and config.get("sliding_window") is not None,
        "hidden_act": kind != "gpt2" and config.get("hidden_act") != "silu",
        "activation_function": kind == "gpt2" and config.get("activation_function") != "gelu_new",
        "scale_attn_by_inverse_layer_idx": bool(config.get("scale_attn_by_inverse_layer_idx")),
    }
    if wrong := [name for name, it in odd.items() if it]:
        raise InputError(f"{directory}: llama.cpp does not compute a {kind} with this {' and '.join(wrong)}")
    return ARCHITECTURES[kind]


def _sizes_of_llama(writer: Any, config: dict[str, Any], layers: int) -> None:
    heads, width = config["num_attention_heads"], config["hidden_size"]
    head = config.get("head_dim") or width // heads
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    rope = config.get("rope_parameters") or {}
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if config["model_type"] == "mixtral":
        writer.add_expert_count(config["num_local_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])


def _sizes_of_gpt2(writer: Any, config: dict[str, Any], layers: int) -> None:
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])


def _tensors(directory: Path, config: dict[str, Any]) -> Iterator[Tensor]:
    """Yield the weights by their names in transformers, in the form that llama.cpp computes with."""
    stacks: dict[str, dict[int, np.ndarray]] = {}
    tied = config.get("tie_word_embeddings", config["model_type"] == "gpt2")
    for key, tensor in _stored(directory):
        if key.endswith((".attn.bias", ".attn.masked_bias")) or (tied and key == "lm_head.weight"):
            continue  # causal masks of old GPT-2 files; a head that is the embedding
        if expert := EXPERT.fullmatch(key):
            stacks.setdefault(f"{expert[1]}.{expert[3]}.weight", {})[int(expert[2])] = tensor
        elif key.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            yield key, tensor.T
        elif heads := _rotated_heads(key, config):
            yield key, _in_pairs(tensor, heads)
        else:
            yield key, tensor
    for key, stack in stacks.items():
        yield key, np.stack([stack[number] for number in range(config["num_local_experts"])])


def _stored(directory: Path) -> Iterator[Tensor]:
    from safetensors import safe_open

    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, "pt") as held:  # numpy knows no bfloat16
            for key in sorted(held.keys()):
                yield key, held.get_tensor(key).float().numpy()


def _rotated_heads(key: str, config: dict[str, Any]) -> int | None:
    """Return the number of heads of a matrix whose rows are rotated; None for any other tensor."""
    if ".q_proj." in key:
        return config["num_attention_heads"]
    if ".k_proj." in key:
        return config.get("num_key_value_heads") or config["num_attention_heads"]
    return None


def _in_pairs(rows: np.ndarray, heads: int) -> np.ndarray:
    """Return rows [heads x head width, ...] with the two rows that are rotated together beside each other."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _add_words(writer: Any, words: Words) -> None:
    writer.add_tokenizer_model("gpt2")
    if words.pre is not None:  # without it llama.cpp warns wherever it is given text
        writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    for kind, id in words.ids.items():
        if id is not None:
            getattr(writer, f"add_{kind}_token_id")(id)
    writer.add_add_bos_token(words.begins)
    writer.add_add_eos_token(words.ends)
    if words.chat_template is not None:
        writer.add_chat_template(words.chat_template)
