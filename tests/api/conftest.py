"""Frames that the tests of the public functions share."""

from __future__ import annotations

import random

import polars as pl
import pytest


@pytest.fixture(scope="session")
def texts() -> pl.DataFrame:
    """60 rows: long, short and repeated texts, one null and one empty, with columns of many types."""
    draw = random.Random(3)
    words = [
        "the",
        "of",
        "and",
        "to",
        "a",
        "in",
        "was",
        "with",
        "river",
        "winter",
        "engine",
        "garden",
        "stone",
        "light",
        "have",
        "that",
    ]
    long = [" ".join(draw.choices(words, k=80)) + "." for _ in range(30)]
    rows = [*long, *(f"short {i}" for i in range(20)), long[0], long[1] + " Indeed.", None, "", *long[2:8]]
    return pl.DataFrame(
        {
            "number": range(60),
            "text": rows,
            "kind": pl.Series(["a", "b"] * 30, dtype=pl.Enum(["a", "b"])),
            "group": pl.Series(["x", "y", None] * 20, dtype=pl.Categorical),
            "score": [i % 7 / 7 for i in range(60)],
            "tags": [[str(i)] for i in range(60)],
            "url": [f"https://example.org/{i}" for i in range(60)],
        }
    )
