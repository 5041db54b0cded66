"""Words as spaCy's blank pipelines find them: the reference that the fast rule is checked against.

datatrove takes these tokens for its filters; here only the tokenizer runs, once a text, and gives byte spans.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.schemas.errors import RecipeError

if TYPE_CHECKING:
    from spacy.tokenizer import Tokenizer

LONGEST_CHARS = 1 << 20  # spaCy's own limit; longer texts are cut at white space


def word_spans(data: np.ndarray, offsets: np.ndarray, language: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (spans i64[words, 2] in bytes of their document, i64[documents + 1] where each document's begin).

    Tokens of white space are left out. Raises RecipeError when spaCy or its rules for the language are missing.
    """
    tokenizer = _tokenizer(language)
    found: list[np.ndarray] = []
    starts = np.zeros(len(offsets), dtype=np.int64)
    for k in range(len(offsets) - 1):
        spans = _document(bytes(data[offsets[k] : offsets[k + 1]]).decode(), tokenizer)
        found.append(spans)
        starts[k + 1] = starts[k] + len(spans)
    return (np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)), starts


def _document(text: str, tokenizer: Tokenizer) -> np.ndarray:
    """Return the byte spans of one text's words."""
    chars: list[tuple[int, int]] = []
    for begin, part in _parts(text):
        # tokens hold on to a document's memory, so only their places leave this loop
        chars.extend((begin + t.idx, begin + t.idx + len(t)) for t in tokenizer(part) if not t.is_space)
    places = np.array(chars, dtype=np.int64).reshape(-1, 2)
    if text.isascii():
        return places
    sizes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    width = 1 + (sizes >= 0x80) + (sizes >= 0x800) + (sizes >= 0x10000)
    return np.concatenate([[0], np.cumsum(width)])[places]


def _parts(text: str) -> list[tuple[int, str]]:
    """Return (first character, piece) of a text cut after white space so that no piece is much too long."""
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
        raise RecipeError("`words: exact` needs spaCy: `pip install spacy`, or take `words: fast`") from error
    try:
        settings = {"nlp": {"tokenizer": {"segmenter": "jieba"}}} if language == "zh" else {}  # not every character
        return spacy.blank(language, config=settings).tokenizer  # type: ignore[return-value]
    except Exception as error:
        raise RecipeError(f"`words: exact`: spaCy has no tokenizer for language {language!r}: {error}") from error
