"""The formats of a user's own files, by their names: the sources that read them, and the columns that they have."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa

from windtunnel.pipelines.readers.columns import without_views
from windtunnel.pipelines.readers.listing import COMPRESSIONS, LeftOut, is_saved, listed, saved_files
from windtunnel.pipelines.remote.address import scheme_of
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.sources._columnar import ColumnSource
from windtunnel.pipelines.sources._source import RecordSource
from windtunnel.pipelines.sources.arrow import Arrow
from windtunnel.pipelines.sources.jsonl import Jsonl
from windtunnel.pipelines.sources.parquet import Parquet
from windtunnel.pipelines.sources.warc import COLUMNS, Warc
from windtunnel.schemas.errors import InputError, nearest

TEXT_OPTION = "name the column that holds the text by `--text COLUMN`"
Reader = Parquet | Arrow | Jsonl | Warc
_CLASSES: dict[str, type[Reader]] = {suffix: cls for cls in (Parquet, Jsonl, Arrow, Warc) for suffix in cls.suffixes}


def files_of(source: Path | str) -> list[File]:
    """Return the files of a path or an address; of a data set that the datasets library has saved, its Arrow files."""
    if not scheme_of(str(source)) and is_saved(Path(source)):
        return [*saved_files(Path(source))]
    return listed(str(source), tuple(_CLASSES)).files


def others_beside(source: str) -> list[LeftOut]:
    """Return what lies in a directory beside the files that are read."""
    saved = not scheme_of(source) and is_saved(Path(source))
    return [] if saved or not source else listed(source, tuple(_CLASSES)).left_out


def reader_of(path: str, text: str) -> Reader:
    """Return the source that reads a file; raises InputError where its name does not tell which, or it is packed.

    Columns and fields stay as they are: none but the text is taken for a part of the document.
    """
    name = Path(path).name.lower()
    bare = Path(name).stem if name.endswith(COMPRESSIONS) else name
    cls = _CLASSES.get(Path(bare).suffix)
    if cls is None:
        raise InputError(
            f"{path} is neither Parquet, Arrow, JSON lines nor WARC by its name: name it .jsonl if it holds JSON lines "
            "(.json for an array), or convert it to Parquet"
        )
    if issubclass(cls, ColumnSource) and bare != name:
        raise InputError(f"{path} is packed, which its format does not allow for: unpack it")
    fields = {"text": text, "url": None, "lang": None} if issubclass(cls, RecordSource) else {}
    return cls.model_validate({"path": path, **fields})


def check_columns(reader: ColumnSource, path: File, text: str, meta: tuple[str, ...]) -> None:
    """Raise InputError for a file that cannot be read, or lacks a column or has it twice, or whose text is none."""
    try:
        schema = reader.schema(path)
    except (OSError, pa.ArrowException) as error:
        kind = type(reader).__name__
        raise InputError(f"{path} is not a whole {kind} file ({str(error)[:120]}): fetch it again") from error
    for name in (text, *meta):
        if name not in schema.names:
            advice = f"; {TEXT_OPTION}" if name == text else ""
            raise InputError(f"{path} has no column {name!r}: {nearest(name, schema.names)}{advice}")
    twice = [name for name, times in Counter(schema.names).items() if times > 1]
    if twice:
        raise InputError(f"{path} has several columns called {twice[0]!r}: rename them, few tools read such a file")
    if not is_text(schema.field(text).type):
        raise InputError(f"{path}: the column {text!r} holds {schema.field(text).type}, not text; {TEXT_OPTION}")


def stored_schema(reader: Reader, path: File, text: str) -> pa.Schema | None:
    """Return the columns in which a file's rows are written; None where its lines have to be looked at for that.

    Text with a dictionary is written out, since edited text is in no dictionary.
    """
    if isinstance(reader, Warc):
        return pa.schema([(text, pa.large_string()), *((name, pa.string()) for name in COLUMNS if name != text)])
    if not isinstance(reader, ColumnSource):
        return None
    schema = pa.schema([field.with_type(without_views(field.type)) for field in reader.schema(path)])
    place = schema.get_field_index(text)
    if place < 0:  # the text of a row that is a conversation
        return schema.append(pa.field(text, pa.large_string()))
    kind = schema.field(place).type
    return schema.set(place, schema.field(place).with_type(kind.value_type)) if pa.types.is_dictionary(kind) else schema


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column of this type can hold the text: strings or bytes, also with a dictionary."""
    kind = without_views(kind.value_type if pa.types.is_dictionary(kind) else kind)
    return any(is_(kind) for is_ in (pa.types.is_string, pa.types.is_large_string, *_BINARY))


_BINARY = (pa.types.is_binary, pa.types.is_large_binary)
