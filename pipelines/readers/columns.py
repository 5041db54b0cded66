"""Converts Arrow columns into documents, for Parquet, Arrow files and datasets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from windtunnel.pipelines.readers.fields import RecordReader


class Slice(NamedTuple):
    """Some rows of a file; `where` names the file and the row group or record batch, in which `first` is the first."""

    batch: pa.RecordBatch
    where: str
    first: int


def records(rows_of: Slice, reader: RecordReader) -> Iterator[Any]:
    """Yield what `reader` makes of each row of a slice, with the columns that it wants.

    Strings are validated as UTF-8, which Arrow does not do on reading: those that are not are bytes.
    """
    batch = rows_of.batch
    names = reader.wanted(batch.schema.names)
    columns = [python_values(batch.column(batch.schema.names.index(name))) for name in names]
    for index in range(batch.num_rows):
        record = {name: values[index] for name, values in zip(names, columns, strict=True)}
        yield reader.row(record, f"{rows_of.where}:{rows_of.first + index}")


def python_values(column: pa.Array) -> list[Any]:
    """Return Python values; values of string or binary columns that are not UTF-8 remain bytes."""
    if pa.types.is_dictionary(column.type):
        return python_values(_viewless(column.dictionary).take(column.indices))  # dictionaries of views cannot be cast
    column = _viewless(column)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            binary = pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()
            return [_text(value) for value in column.view(binary).to_pylist()]
    try:
        values = column.to_pylist()
    except (ValueError, ArithmeticError, LookupError):  # dates out of range, time zones that do not exist
        values = [_value(value) for value in column]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return [_text(value) for value in values]
    return values


def check_names(schema: pa.Schema) -> None:
    """Raise ArrowInvalid for names of columns that are not UTF-8."""
    try:
        _ = schema.names
    except UnicodeDecodeError as error:
        raise pa.ArrowInvalid(f"the name of a column is not UTF-8: {error}") from error


def check_layout(batch: pa.RecordBatch) -> None:
    """Raise ArrowInvalid for values that lie outside of their buffers, which would crash whatever reads them.

    Strings may be anything: whether they are UTF-8 is a matter of their row.
    """
    batch.validate()
    for column in batch.columns:
        kind = _retyped(column.type, _AS_BYTES)
        (column if kind == column.type else column.view(kind)).validate(full=True)


def without_views(kind: pa.DataType) -> pa.DataType:
    """Return a type with strings in place of string views, which many Arrow functions do not support."""
    return _retyped(kind, _AS_COPIES)


_AS_COPIES = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_AS_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}


def _retyped(kind: pa.DataType, leaves: dict[pa.DataType, pa.DataType]) -> pa.DataType:
    """Return a type with others for its leaves, at every depth of lists, structs and maps."""

    def inner(field: pa.Field) -> pa.Field:
        return field.with_type(_retyped(field.type, leaves))

    if pa.types.is_list(kind):
        return pa.list_(inner(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(inner(kind.value_field))
    if pa.types.is_struct(kind):
        return pa.struct([inner(field) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(inner(kind.key_field), inner(kind.item_field), kind.keys_sorted)
    return leaves.get(kind, kind)


def _viewless(column: pa.Array) -> pa.Array:
    kind = without_views(column.type)
    return column if kind == column.type else column.cast(kind)


class _NoValue:
    """A value that Python has no form for; whoever writes it into a document gets the reason as a ValueError."""

    def __init__(self, why: Exception) -> None:
        self._why = why

    def __str__(self) -> str:
        raise ValueError(str(self._why)) from self._why


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, ArithmeticError, LookupError) as error:
        return _NoValue(error)


def _text(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value
