"""fastText classifiers: opened once a process, asked for one label's probability, text made safe for them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.schemas.errors import InputError

if TYPE_CHECKING:
    from fasttext.FastText import _FastText

SAMPLE = "lid.176"  # the language model that comes as a sample
PREFIX = "__label__"


def path_of(name: str) -> Path:
    """Return the file of a model: a path, or `lid.176`, fetched where needed. Raises InputError if there is none."""
    if name == SAMPLE:
        from windtunnel.pipelines.samples.sample_set import model_path

        return model_path(name)
    path = Path(name)
    if not path.is_file():
        raise InputError(f"no fastText model at {path}")
    return path


@cache
def opened(path: Path) -> _FastText:
    """Return the model of a file; raises InputError when it is none that classifies."""
    from fasttext.FastText import _FastText

    with path.open("rb") as handle:
        if handle.read(4) != b"\xba\x16\x4f\x2f":  # fastText's magic number, 793712314
            raise InputError(f"{path} is no fastText model")
    try:
        return _FastText(str(path))
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path} is no fastText model that can be read: {error}") from error


def lines(texts: pl.Series) -> pl.Series:
    """Return each text as one line that holds neither a label nor an end of line.

    Newlines become spaces, so that the words on either side of them stay apart; fastText's own words `__label__...`
    and `</s>` are broken up, since text that has them would otherwise label or cut itself.
    """
    flat = texts.fill_null("").str.replace_all(r"[\r\n\x00\x0b\x0c]+", " ")
    return flat.str.replace_all(PREFIX, "__label _", literal=True).str.replace_all("</s>", "< /s>", literal=True)


def probabilities(model: _FastText, texts: pl.Series, label: str) -> np.ndarray:
    """Return the probability of `label` for each text, 0 to 1, float64; nan for a text without a known word.

    Raises InputError for a label that the model has not.
    """
    wanted = PREFIX + label
    if wanted not in model.get_labels():
        known = ", ".join(name.removeprefix(PREFIX) for name in model.get_labels()[:12])
        raise InputError(f"the model has no label {label!r}; its labels are {known}")
    if not len(texts):
        return np.zeros(0)
    names, scores = model.predict(lines(texts).to_list(), k=-1)
    found = np.full(len(texts), np.nan)
    for row, (given, values) in enumerate(zip(names, scores, strict=True)):
        place = next((i for i, name in enumerate(given) if name == wanted), None)
        if place is not None:
            found[row] = values[place]
    return np.clip(found, 0.0, 1.0)
