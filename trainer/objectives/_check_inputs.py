"""Small inputs for the check of an objective: a byte tokenizer, and a mix, conversations and preferences to learn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest, write_text
from windtunnel.schemas.records import DOCUMENT, OWN_CONVERSATION, PREFERENCE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
TOKEN_BUDGET = 2048
ROWS = 16


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of single bytes with ChatML's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([END_OF_TEXT, START, END])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT)


def inputs(folder: Path) -> dict[str, Artifact]:
    """Write all inputs below `folder` and return them by role: to learn from, and held out."""
    tokenizer().save_pretrained(str(folder / "tokenizer" / "tokenizer"))
    chats = [_conversation(k) for k in range(2 * ROWS)]
    pairs = [_preference(k) for k in range(2 * ROWS)]
    _write(folder / "held_out" / "documents", [_document(k) for k in range(8)], DOCUMENT)
    _write(folder / "conversations" / "rows", chats[:ROWS], OWN_CONVERSATION)
    _write(folder / "held_out_conversations" / "rows", chats[ROWS:], OWN_CONVERSATION)
    _write(folder / "preferences" / "rows", pairs[:ROWS], PREFERENCE)
    _write(folder / "held_out_preferences" / "rows", pairs[ROWS:], PREFERENCE)
    _tokens(folder / "tokens.corpus", [_document(k) for k in range(32)])
    mix = {"domains": [{"name": "corpus", "weight": 1.0}], "token_budget": TOKEN_BUDGET}
    (folder / "mix").mkdir()
    write_text(folder / "mix" / "mix.json", json.dumps(mix))
    for path in folder.iterdir():
        manifest = Manifest(step=path.name, version=1, key=path.name.ljust(32, "0"), config={})
        manifest.write(path / MANIFEST)
    return {path.name.replace("tokens.", "tokens:"): Artifact(path) for path in folder.iterdir()}


def _document(k: int) -> dict[str, Any]:
    text = " ".join(NUMBERS[(k + i) % len(NUMBERS)] for i in range(20 + k))
    return {"id": f"d{k}", "text": text, "source": "counting"}


def _answers(k: int, *words: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": " ".join([*words, f"{NUMBERS[k % len(NUMBERS)]}."])}]


def _question(k: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"After {NUMBERS[k % len(NUMBERS)]}{' please' * (k % 3)}?"}]


def _conversation(k: int) -> dict[str, Any]:
    messages = [*_question(k), *_answers(k + 1), *_question(k + 3), *_answers(k + 4)]
    return {"id": f"c{k}", "messages": messages, "source": "counting", "label": k % 4 != 3}


def _preference(k: int) -> dict[str, Any]:
    answers = {"prompt": _question(k), "chosen": _answers(k + 1), "rejected": _answers(k + 2, "not")}
    ratings = {"rating_chosen": 5.0, "rating_rejected": float(k % 4 + 1)}
    return {"id": f"p{k}", **answers, **ratings, "source": "counting"}


def _write(folder: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "00000.parquet")


def _tokens(folder: Path, documents: list[Mapping[str, Any]]) -> None:
    """Write documents as a tokens artifact: two-byte ids with their ends, and a sidecar of one row a document."""
    end = tokenizer().convert_tokens_to_ids(END_OF_TEXT)
    ids = [np.array([*tokenizer().encode(d["text"], add_special_tokens=False), end], "<u2") for d in documents]
    (folder / "tokens").mkdir(parents=True)
    np.concatenate(ids).tofile(folder / "tokens" / "00000.ds")
    np.cumsum([len(row) for row in ids]).astype("<u8").tofile(folder / "tokens" / "00000.ds.index")
    sizes = {"bytes": [len(d["text"].encode()) for d in documents], "tokens": [len(row) for row in ids]}
    columns = {name: [d[name] for d in documents] for name in ("id", "source")}
    (folder / "documents").mkdir()
    pq.write_table(pa.table(columns | sizes), folder / "documents" / "00000.parquet")
