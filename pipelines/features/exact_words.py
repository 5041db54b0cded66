"""Word spans by the tokenizers of spaCy's blank pipelines, the reference for the fast word rule.

datatrove's filters use these tokens. Here only the tokenizer runs, once per text, and returns byte spans.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.schemas.errors import RecipeError

if TYPE_CHECKING:
    from spacy.tokenizer import Tokenizer

LONGEST_CHARS = 1 << 20  # spaCy's limit; longer texts are split at white space


def word_spans(data: np.ndarray, offsets: np.ndarray, language: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (spans i64[words, 2] in bytes of their document, offsets i64[documents + 1] of each document's spans).

    White space tokens are omitted. Raises RecipeError if spaCy or its tokenizer for the language is missing.
    """
    tokenizer = _tokenizer(language)
    parts: list[np.ndarray] = []
    starts = np.zeros(len(offsets), dtype=np.int64)
    for k in range(len(offsets) - 1):
        spans = _document(bytes(data[offsets[k] : offsets[k + 1]]).decode(), tokenizer)
        parts.append(spans)
        starts[k + 1] = starts[k] + len(spans)
    return (np.concatenate(parts) if parts else np.zeros((0, 2), dtype=np.int64)), starts


def _document(text: str, tokenizer: Tokenizer) -> np.ndarray:
    """Return the byte spans of the words of one text."""
    chars: list[tuple[int, int]] = []
    for begin, part in _parts(text):
        # tokens reference the memory of their document, so only positions are kept
        chars.extend((begin + t.idx, begin + t.idx + len(t)) for t in tokenizer(part) if not t.is_space)
    places = np.array(chars, dtype=np.int64).reshape(-1, 2)
    if text.isascii():
        return places
    sizes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    width = 1 + (sizes >= 0x80) + (sizes >= 0x800) + (sizes >= 0x10000)
    return np.concatenate([[0], np.cumsum(width)])[places]


def _parts(text: str) -> list[tuple[int, str]]:
    """Return (first character, piece) of a text split after white space into pieces of at most LONGEST_CHARS."""
    parts, begin = [], 0
    while len(text) - begin > LONGEST_CHARS:
        end = begin + LONGEST_CHARS
        while end > begin and not text[end - 1].isspace():
            end -= 1
        end = end if end > begin else begin + LONGEST_CHARS
        parts.append((begin, text[begin:end]))
        begin = end
    parts.append((begin, text[begin:]))
    return parts


@cache
def _tokenizer(language: str) -> Tokenizer:
    try:
        import spacy
    except ImportError as error:
        raise RecipeError("`words: exact` needs spaCy: `pip install spacy`, or use `words: fast`") from error
    try:
        settings = (
            {"nlp": {"tokenizer": {"segmenter": "jieba"}}} if language == "zh" else {}
        )  # the default splits into characters
        return spacy.blank(language, config=settings).tokenizer  # type: ignore[return-value]
    except Exception as error:
        raise RecipeError(f"`words: exact`: spaCy has no tokenizer for language {language!r}: {error}") from error
