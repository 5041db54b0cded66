"""Diversity of a set of texts: distinct n-grams, nearest neighbours, lengths, and the openings of instructions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from windtunnel.generators.text.novelty import RougeGate

NEAREST_SAMPLE = 2000  # texts whose nearest neighbour is looked up; the neighbour may be any text of the set
OPENINGS = 20
# runs of letters and digits; letters of scripts without spaces count one by one
_WORD = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]"
    r"|[[\p{L}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]+"
)
# words between the verb and its object that do not describe the task
_LIGHT = """
a an the this that these those my your our his her its their some any all each every one two three four five of to for
in on at with and or me us you it i is are was were do does did can could would should will please following given short
brief simple list
"""


class Diversity(BaseModel):
    """Measures of a set of texts; `openings` holds (verb, object, texts) of the most frequent openings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    texts: int
    words: int
    distinct_1: float
    distinct_2: float
    distinct_3: float
    nearest_rouge_l: float | None
    words_p10: float
    words_p50: float
    words_p90: float
    words_mean: float
    first_words: int  # different first words
    openings: tuple[tuple[str, str, int], ...]


def measure(texts: Sequence[str], seed: int = 0) -> Diversity:
    """Return the measures of a set of texts.

    distinct_n = different n-grams / all n-grams (Li et al. 2016), n-grams within a text. `nearest_rouge_l` is the mean
    ROUGE-L F of a text to the nearest other one (of a sample of 2,000); None for fewer than two texts.
    """
    words = _words(texts)
    lengths = np.bincount(words["text"].to_numpy(), minlength=len(texts)) if len(texts) else np.zeros(1)
    p10, p50, p90 = np.quantile(lengths, [0.1, 0.5, 0.9]).tolist()
    first = words.unique("text", keep="first", maintain_order=True)
    return Diversity(
        texts=len(texts),
        words=len(words),
        distinct_1=_distinct(words, 1),
        distinct_2=_distinct(words, 2),
        distinct_3=_distinct(words, 3),
        nearest_rouge_l=nearest_rouge_l(texts, seed),
        words_p10=p10,
        words_p50=p50,
        words_p90=p90,
        words_mean=float(lengths.mean()),
        first_words=first["word"].n_unique(),
        openings=openings(texts),
    )


def nearest_rouge_l(texts: Sequence[str], seed: int = 0) -> float | None:
    """Return the mean ROUGE-L F of a sample of texts to the nearest other text of the whole set."""
    if len(texts) < 2:
        return None
    gate = RougeGate("unicode")
    texts = list(texts)
    for text in texts:
        gate.add(text)
    rng = np.random.default_rng(seed)
    sample = sorted(int(i) for i in rng.choice(len(texts), min(len(texts), NEAREST_SAMPLE), replace=False))
    return sum(gate.nearest(texts[i], skip=i).similarity for i in sample) / len(sample)


def openings(texts: Sequence[str], most: int = OPENINGS) -> tuple[tuple[str, str, int], ...]:
    """Return (first word, first content word after it, texts), the most frequent first.

    It approximates verb and object without a parser, for instructions, which begin with a verb. A text of one word has
    an empty second part.
    """
    words = _words(texts).with_columns(pl.int_range(pl.len()).over("text").alias("place"))
    verbs = words.filter(pl.col("place") == 0).select("text", verb="word")
    heavy = words.filter((pl.col("place") > 0) & ~pl.col("word").is_in(_LIGHT.split()))
    objects = heavy.unique("text", keep="first", maintain_order=True).select("text", object="word")
    table = verbs.join(objects, on="text", how="left").with_columns(pl.col("object").fill_null(""))
    counts = table.group_by("verb", "object").len().sort("len", "verb", "object", descending=[True, False, False])
    return tuple((row[0], row[1], row[2]) for row in counts.head(most).iter_rows())


def _words(texts: Sequence[str]) -> pl.DataFrame:
    """Return one row per word, with the number of its text and the word in lower case."""
    frame = pl.DataFrame({"word": list(texts)}, schema={"word": pl.String}).with_row_index("text")
    lists = frame.with_columns(pl.col("word").str.to_lowercase().str.extract_all(_WORD))
    return lists.explode("word").filter(pl.col("word").is_not_null())


def _distinct(words: pl.DataFrame, n: int) -> float:
    """Return different n-grams over all n-grams; 0 when no text has n words."""
    parts = [pl.col("word").shift(-i).over("text").alias(f"w{i}") for i in range(n)]
    grams = words.select(parts).drop_nulls()
    return grams.n_unique() / len(grams) if len(grams) else 0.0
