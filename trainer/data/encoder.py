"""Tokenization with the backend of a tokenizer directory, without importing transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from windtunnel.schemas.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PIECE = 1 << 20  # characters encoded at once, which bounds the memory for very long documents
GROUP = 4 * PIECE


class Encoder(NamedTuple):
    """A tokenizer's backend; special tokens that occur in a text are encoded as ordinary characters."""

    backend: Tokenizer
    end_of_text: int
    vocabulary: int  # largest token id plus one

    def encode(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield each text's token ids, int64, without end-of-text; encodes at most GROUP characters at a time."""
        parts: list[np.ndarray] = []
        for group in _groups(texts):
            encodings = self.backend.encode_batch_fast([piece for piece, _ in group], add_special_tokens=False)
            for (_, last), encoding in zip(group, encodings, strict=True):
                parts.append(np.array(encoding.ids, np.int64))
                if last:
                    yield parts[0] if len(parts) == 1 else np.concatenate(parts)
                    parts = []


def open_encoder(directory: Path) -> Encoder:
    """Return the encoder of a fast tokenizer's directory. Raises InputError if it has no end-of-text token."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(directory / "tokenizer.json"))
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    token = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8")).get("eos_token")
    text = token["content"] if isinstance(token, dict) else token
    end = backend.token_to_id(text) if text else None
    if end is None:
        raise InputError(f"{directory}: eos_token is {text!r}, which is not in the vocabulary")
    return Encoder(backend, end, max(backend.get_vocab(with_added_tokens=True).values()) + 1)


def _groups(texts: Sequence[str]) -> Iterator[list[tuple[str, bool]]]:
    """Yield lists of (piece of a text, whether it is the last of the text), at most GROUP characters each."""
    group: list[tuple[str, bool]] = []
    size = 0
    for text in texts:
        for start in range(0, max(len(text), 1), PIECE):
            piece = text[start : start + PIECE]
            if group and size + len(piece) > GROUP:
                yield group
                group, size = [], 0
            group.append((piece, start + PIECE >= len(text)))
            size += len(piece)
    if group:
        yield group
