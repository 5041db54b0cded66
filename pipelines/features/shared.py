"""All shared measurements of a text column in one pass, from which the rules derive their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from windtunnel.pipelines.features.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa


def features(text: pa.Array | pa.ChunkedArray, settings: Settings | None = None) -> pl.DataFrame:
    """Return the shared columns of a string or large_string column, one row per document; null counts as empty."""
    from windtunnel.pipelines.features.pass_over import measure_column

    return measure_column(text, settings or Settings())
