"""One pass over a text column that fills every shared measurement.

Words, lines and paragraphs are found once; every rule's column comes from the same walk over the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from windtunnel.pipelines.features.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa


def features(text: pa.Array | pa.ChunkedArray, settings: Settings | None = None) -> pl.DataFrame:
    """Return the shared columns, one row a document, for a string or large_string column; null text counts as empty."""
    from windtunnel.pipelines.features.pass_over import measure_column

    return measure_column(text, settings or Settings())
