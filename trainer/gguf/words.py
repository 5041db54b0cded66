"""A byte-level BPE tokenizer as the metadata of a GGUF file.

llama.cpp splits text by regular expressions of its own, chosen by a name in the file. A tokenizer that splits in
another way has no name, and is refused: another split gives other tokens, and the model was not trained on those.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from windtunnel.schemas.errors import InputError

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # gguf.TokenType
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
AFTER_NUMBERS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + AFTER_NUMBERS
QWEN_2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + AFTER_NUMBERS
# what splits a text, whether words of the vocabulary are taken whole -> llama.cpp's name (llama-vocab.cpp)
NAMES = {
    (("bytes and words",), False): "gpt-2",
    (("digits", "bytes and words"), False): "smollm",
    ((LLAMA_3, "bytes"), True): "llama-bpe",
    ((LLAMA_3, "bytes"), False): "dbrx",
    ((QWEN_2, "bytes"), False): "qwen2",
}


@dataclass(frozen=True)
class Words:
    """What a GGUF file says of a tokenizer; ids are None where the tokenizer has no such token."""

    pre: str | None  # llama.cpp's name of how text is split; None: text is encoded elsewhere
    tokens: list[str]
    types: list[int]
    merges: list[str]
    ids: dict[str, int | None]  # bos, eos, pad
    begins: bool  # whether the tokenizer puts the first token before a text
    ends: bool
    chat_template: str | None


def read_words(directory: Path, vocabulary: int, split: bool = True) -> Words:
    """Return the tokenizer of a model directory, its tokens filled up to the model's `vocabulary`.

    Raises InputError with the reason where llama.cpp would split texts into other tokens, or read ids as other texts;
    without `split` the latter alone.
    """
    from tokenizers import Tokenizer

    whole = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    model = whole["model"]
    _check(directory, whole)
    pre = _name(directory, whole) if split else None
    backend = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokens = [f"[PAD{id}]" for id in range(vocabulary)]
    types = [UNUSED] * vocabulary
    added = {token["id"]: token for token in whole["added_tokens"]}
    for text, id in backend.get_vocab(with_added_tokens=True).items():
        if id >= vocabulary:
            raise InputError(f"{directory}: the tokenizer has the id {id} and the model {vocabulary} rows")
        tokens[id] = text
        types[id] = NORMAL if id not in added else CONTROL if added[id]["special"] else USER_DEFINED
    ids = {name: _id(backend, config.get(f"{name}_token")) for name in ("bos", "eos", "pad")}
    frame = backend.encode("").ids
    shapes = {(): (False, False), (ids["bos"],): (True, False), (ids["bos"], ids["eos"]): (True, True)}
    if split and tuple(frame) not in shapes:
        raise _refused(directory, f"it frames a text by the tokens {frame}, and only bos and eos are known there")
    begins, ends = shapes.get(tuple(frame), (False, False))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return Words(pre, tokens, types, merges, ids, begins, ends, _template(directory, config))


def _check(directory: Path, whole: dict[str, Any]) -> None:
    """Raise InputError for a tokenizer that is no byte-level BPE."""
    model, decoder = whole["model"], whole.get("decoder") or {}
    marks = model.get("byte_fallback") or model.get("end_of_word_suffix") or model.get("continuing_subword_prefix")
    if model["type"] != "BPE" or decoder.get("type") != "ByteLevel" or marks:
        raise InputError(f"{directory}: the tokenizer is no byte-level BPE, and others are not written to GGUF files")


def _name(directory: Path, whole: dict[str, Any]) -> str:
    """Return llama.cpp's name of how a tokenizer splits text. Raises InputError where it has none."""
    if whole.get("normalizer") is not None or whole["model"].get("dropout"):
        raise _refused(directory, "it changes texts before it splits them, or merges at random")
    pre: dict[str, Any] = whole.get("pre_tokenizer") or {"type": "nothing"}
    parts: list[dict[str, Any]] = pre["pretokenizers"] if pre["type"] == "Sequence" else [pre]
    found = tuple(map(_part, parts)), bool(whole["model"].get("ignore_merges"))
    if found not in NAMES:
        raise _refused(
            directory,
            f"none of its names ({', '.join(sorted(NAMES.values()))}) splits text as this tokenizer does",
        )
    return NAMES[found]


def _part(part: dict[str, Any]) -> str:
    """Return what a pre-tokenizer does, in the words of NAMES; an own word for what has none there."""
    kind = part["type"]
    if kind == "ByteLevel" and not part.get("add_prefix_space"):
        return "bytes and words" if part.get("use_regex", True) else "bytes"
    if kind == "Digits" and part.get("individual_digits"):
        return "digits"
    if kind == "Split" and part["behavior"] == "Isolated" and not part.get("invert"):
        return str(part["pattern"].get("Regex"))
    return f"another {kind}"


def _refused(directory: Path, reason: str) -> InputError:
    return InputError(
        f"{directory}: llama.cpp would not give this tokenizer's tokens: {reason}. Write it for "
        "programs that bring token ids (`--tokenizer ids`), or train with a tokenizer of GPT-2's or Llama 3's "
        "form, `tokens: {tokenizer: {path: DIRECTORY}}`"
    )


def _id(backend: Any, token: Any) -> int | None:
    text = token.get("content") if isinstance(token, dict) else token
    return backend.token_to_id(text) if text else None


def _template(directory: Path, config: dict[str, Any]) -> str | None:
    file = directory / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    held = config.get("chat_template")
    return held if isinstance(held, str) else None
