"""The UTF-8 bytes of Arrow text columns, as the compiled kernels take them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from windtunnel.schemas.errors import InputError

PADDING = 8  # bytes; some kernels read eight at a time


def text_buffers(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return (UTF-8 bytes u8, offsets i64[n + 1]) of a string column; the buffers of large strings are not copied."""
    large = column if pa.types.is_large_string(column.type) else column.cast(pa.large_string())
    _, offsets, data = large.buffers()
    places = np.frombuffer(offsets, np.int64)[large.offset : large.offset + len(large) + 1]
    raw = np.zeros(1, np.uint8) if data is None or data.size == 0 else np.frombuffer(data, np.uint8)
    return raw, places


def padded_buffers(text: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return `text_buffers` with null as empty text and at least eight bytes after the last document.

    Raises InputError when the column is not UTF-8.
    """
    array = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], pa.large_string())
    array = (array.fill_null("") if array.null_count else array).cast(pa.large_string())
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(f"the text column is not valid UTF-8: {error}") from error
    if len(array) == 0:
        return np.zeros(PADDING, np.uint8), np.zeros(1, np.int64)
    raw, places = text_buffers(array)
    if len(raw) - places[-1] < PADDING:
        first = places[0]
        raw = np.concatenate([raw[first : places[-1]], np.zeros(PADDING, np.uint8)])
        places = places - first
    return raw, places
