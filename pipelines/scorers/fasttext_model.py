"""fastText classifiers: loading, input sanitisation, and the probability of one label."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.pipelines.samples.sample_set import model_path
from windtunnel.schemas.errors import InputError

if TYPE_CHECKING:
    from fasttext.FastText import _FastText

SAMPLE = "lid.176"  # the language identification model of the samples
PREFIX = "__label__"


def path_of(name: str) -> Path:
    """Return the file of a model: a path, or `lid.176`, which is fetched if necessary. Raises InputError if missing."""
    if name == SAMPLE:
        return model_path(name)
    path = Path(name)
    if not path.is_file():
        raise InputError(f"no fastText model at {path}")
    return path


@cache
def opened(path: Path) -> _FastText:
    """Return the model of a file, cached per process. Raises InputError if it is not a fastText model."""
    from fasttext.FastText import _FastText

    with path.open("rb") as handle:
        if handle.read(4) != b"\xba\x16\x4f\x2f":  # fastText's magic number, 793712314
            raise InputError(f"{path} is not a fastText model")
    try:
        return _FastText(str(path))
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path} is not a readable fastText model: {error}") from error


def lines(texts: pl.Series) -> pl.Series:
    """Return each text as one line without fastText's control tokens.

    Newlines become spaces, which separate words. The tokens `__label__...` and `</s>` are split, because fastText would
    interpret them as a label or the end of the text.
    """
    flat = texts.fill_null("").str.replace_all(r"[\r\n\x00\x0b\x0c]+", " ")
    return flat.str.replace_all(PREFIX, "__label _", literal=True).str.replace_all("</s>", "< /s>", literal=True)


def probabilities(model: _FastText, texts: pl.Series, label: str) -> np.ndarray:
    """Return the probability of `label` for each text, float64; nan for a text without a known word.

    Raises InputError if the model does not have the label.
    """
    prefixed = PREFIX + label
    if prefixed not in model.get_labels():
        known = ", ".join(name.removeprefix(PREFIX) for name in model.get_labels()[:12])
        raise InputError(f"the model has no label {label!r}; its labels are {known}")
    if not len(texts):
        return np.zeros(0)
    names, scores = model.predict(lines(texts).to_list(), k=-1)
    result = np.full(len(texts), np.nan)
    for row, (labels, values) in enumerate(zip(names, scores, strict=True)):
        place = next((i for i, name in enumerate(labels) if name == prefixed), None)
        if place is not None:
            result[row] = values[place]
    return np.clip(result, 0.0, 1.0)
