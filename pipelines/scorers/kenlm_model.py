"""Scores documents with a KenLM model by CCNet's conventions: one sentence per line, SentencePiece tokens."""

from __future__ import annotations

import importlib.util
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from windtunnel.schemas.errors import InputError, WindtunnelError

# CCNet's replacements of non-ASCII punctuation
_PUNCTUATION = {
    **dict.fromkeys("”“„«»「」《》", '"'),
    **dict.fromkeys("’´", "'"),
    **dict.fromkeys("、，", ","),
    **dict.fromkeys("：∶", ":"),
    **dict.fromkeys("–━►", "-"),
    **dict.fromkeys("〈", "<"),
    **dict.fromkeys("〉", ">"),
    **dict(zip("。？！（）；～【】％", ".?!();~[]%", strict=True)),
    "—": " - ",
    "．": ". ",
    "…": "...",
}


def require(*packages: str) -> None:
    """Raise WindtunnelError with the name of the extra unless the packages are installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise WindtunnelError(f"KenLM files are read by {' and '.join(missing)}: pip install 'windtunnel[kenlm]'")


def normalised(texts: pl.Series) -> pl.Series:
    """Return texts normalised as in CCNet (Wenzek et al. 2020).

    Lower case, no accents, digits as 0, ASCII punctuation, no control characters including line ends.
    """
    plain = texts.str.strip_chars().str.to_lowercase().str.normalize("NFD").str.replace_all(r"\p{Mn}", "")
    plain = plain.str.replace_all(r"\d", "0").str.replace_many(_PUNCTUATION)
    return plain.str.replace_all(r"[\x00-\x1f\x7f-\x9f]", "")


def scores(texts: pl.Series, model: Path, sentencepiece: Path | None, normalise: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return (nats float64, tokens int64) of each text; a text without a word has 0 tokens.

    Every line is a sentence, whose score and number of tokens include the end of sentence. Tokens are SentencePiece
    pieces, or words separated by white space. CCNet's perplexity, 10 ** (-log10 score / tokens), is exp(nats / tokens).
    """
    language_model = opened(model)
    lines = normalised(texts) if normalise else texts
    cut = lines.to_list() if sentencepiece is None else _pieces(lines.to_list(), sentencepiece)
    nats, tokens = np.zeros(len(cut)), np.zeros(len(cut), np.int64)
    for row, text in enumerate(cut):
        if text.strip():
            sentences = text.split("\n")
            nats[row] = -math.log(10) * sum(language_model.score(line) for line in sentences)
            tokens[row] = len(text.split()) + len(sentences)
    return nats, tokens


@cache
def opened(path: Path) -> Any:
    """Return the model of an .arpa or binary file, memory-mapped if the format allows."""
    require("kenlm")
    import kenlm  # pyright: ignore[reportMissingImports]  # an extra

    if not path.is_file():
        raise InputError(f"no KenLM file at {path}")
    config = kenlm.Config()
    config.show_progress = False
    try:
        return kenlm.Model(str(path), config)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} is not a readable KenLM file: {error}") from error


def _pieces(texts: list[str], path: Path) -> list[str]:
    return [" ".join(pieces) for pieces in _processor(path).encode(texts, out_type=str)]


@cache
def _processor(path: Path) -> Any:
    require("sentencepiece")
    import sentencepiece  # pyright: ignore[reportMissingImports]  # an extra

    if not path.is_file():
        raise InputError(f"no SentencePiece model at {path}")
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} is not a readable SentencePiece model: {error}") from error
