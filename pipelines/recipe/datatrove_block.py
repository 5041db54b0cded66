"""datatrove's blocks from the text of a call, parsed and never evaluated: only these blocks can be named."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from windtunnel.schemas.errors import RecipeError

if TYPE_CHECKING:
    from datatrove.data import Document

PACKAGE = "datatrove.pipeline."
_PATH = re.compile(r"datatrove\.pipeline(\.[A-Za-z][A-Za-z0-9_]*){2,}")
_METADATA = ("url", "source", "lang", "meta")


class Kind(StrEnum):
    """Kinds of datatrove block that a recipe can name."""

    FILTER = "filter"
    FORMATTER = "formatter"
    EXTRACTOR = "extractor"
    READER = "reader"


class Call(NamedTuple):
    """A block's class by its dotted path, and the literals it is called with."""

    path: str
    positional: tuple[Any, ...]
    named: dict[str, Any]

    @property
    def class_name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


class Outcome(NamedTuple):
    """The verdict of a block on one document; `error` is the name of the exception that it raised instead."""

    kept: bool | None
    reason: str | None
    error: str | None
    text: str


def parse(call: str) -> Call:
    """Return the parts of a call such as `datatrove.pipeline.filters.RegexFilter(regex_exp='x')`.

    Raises RecipeError for anything that is not one call, of a dotted name below `datatrove.pipeline.`, with literals.
    """
    try:
        tree = ast.parse(call.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RecipeError(f"block {call!r} is no Python call: {error}") from error
    if not isinstance(tree, ast.Call):
        raise RecipeError(f"block {call!r} is no call: write {PACKAGE}filters.RegexFilter(regex_exp='...')")
    path = ast.unparse(tree.func)
    if not _PATH.fullmatch(path):
        raise RecipeError(f"block {path!r} is no class of {PACKAGE[:-1]}: nothing else can stand in a recipe")
    named = {}
    try:
        positional = tuple(ast.literal_eval(argument) for argument in tree.args)
        for keyword in tree.keywords:
            if keyword.arg is None:
                raise ValueError("** is not allowed")
            named[keyword.arg] = ast.literal_eval(keyword.value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise RecipeError(f"block {path}: its arguments must be literals (text, numbers, lists): {error}") from error
    return Call(path, positional, named)


def kind_of(call: Call) -> Kind:
    """Return a block's kind; raises RecipeError for other classes and for arguments that the class does not take."""
    cls, kind = _class(call)
    try:
        inspect.signature(cls).bind(*call.positional, **call.named)
    except TypeError as error:
        raise RecipeError(f"block {call.path}: {error}; it takes {inspect.signature(cls)}") from error
    return kind


def build(call: Call) -> Any:
    """Return the block; raises RecipeError when its class refuses the arguments or a package is missing."""
    try:
        return _class(call)[0](*call.positional, **call.named)
    except Exception as error:
        raise RecipeError(f"block {call.path} cannot be built: {type(error).__name__}: {error}") from error


def _class(call: Call) -> tuple[type, Kind]:
    os.environ.setdefault("LOGURU_LEVEL", "ERROR")  # datatrove logs to standard error from its import on
    from datatrove.pipeline.extractors.base import BaseExtractor
    from datatrove.pipeline.filters.base_filter import BaseFilter
    from datatrove.pipeline.formatters.base import BaseFormatter
    from datatrove.pipeline.readers.base import BaseDiskReader

    bases: dict[type, Kind] = {
        BaseFilter: Kind.FILTER,
        BaseFormatter: Kind.FORMATTER,
        BaseExtractor: Kind.EXTRACTOR,
        BaseDiskReader: Kind.READER,
    }
    module_name, _, name = call.path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise RecipeError(f"block {call.path}: {error}") from error
    if isinstance(cls, type) and cls.__module__.startswith(PACKAGE):
        for base, kind in bases.items():
            if issubclass(cls, base):
                return cls, kind
    raise RecipeError(f"block {call.path}: {module_name} has no {', '.join(Kind)} of files of that name")


def documents_of(batch: pa.RecordBatch) -> list[Document]:
    """Return datatrove Documents: id, text, and as metadata the fields of meta, url, source and lang where not null.

    The language is also given as `language`, datatrove's name for it.
    """
    from datatrove.data import Document

    columns = {name: batch.column(name).to_pylist() for name in batch.schema.names if name in ("id", *_METADATA)}
    ids = columns.pop("id", None) or [str(row) for row in range(batch.num_rows)]
    documents = []
    for row, text in enumerate(batch.column("text").to_pylist()):
        known = {name: values[row] for name, values in columns.items() if values[row] is not None}
        known = {**_fields(known.pop("meta", None)), **known}
        if "lang" in known:
            known["language"] = known["lang"]
        documents.append(Document(text=text or "", id=ids[row], metadata=known))
    return documents


def _fields(meta: Any) -> dict[str, Any]:
    """Return the fields of a document's meta, a JSON object, and those of its `metadata`, which datatrove nests."""
    if isinstance(meta, str):
        import orjson

        try:
            meta = orjson.loads(meta)
        except orjson.JSONDecodeError:
            return {}
    if not isinstance(meta, dict):
        return {}
    inner = meta.get("metadata")
    if not isinstance(inner, dict):
        return meta
    return {**inner, **{name: value for name, value in meta.items() if name != "metadata"}}


def filtered(block: Any, documents: list[Document]) -> list[Outcome]:
    """Return a filter's outcome for every document, in order, in batches of the block's size.

    A document on which the block raises gets the exception's name and no verdict; in datatrove the task would end.
    """
    outcomes: list[Outcome] = []
    size = max(1, block.batch_size)
    for batch in (documents[first : first + size] for first in range(0, len(documents), size)):
        texts = [document.text for document in batch]
        try:
            results = list(block.filter_batch(batch)) if len(batch) > 1 else [block.filter(batch[0])]
            if len(results) != len(batch):
                raise ValueError("filter_batch gave another number of results")
        except Exception:
            for document, text in zip(batch, texts, strict=True):
                document.text = text  # a batch that failed half-way may have rewritten some
            results = [_alone(block, document) for document in batch]
        outcomes += [_outcome(result, document) for result, document in zip(results, batch, strict=True)]
    return outcomes


def _alone(block: Any, document: Document) -> Any:
    text = document.text
    try:
        return block.filter(document)
    except Exception as error:
        document.text = text
        return error


def _outcome(result: Any, document: Document) -> Outcome:
    if isinstance(result, Exception):
        return Outcome(None, None, type(result).__name__, document.text)
    kept, reason = result if isinstance(result, tuple) else (result, None)
    return Outcome(bool(kept), None if kept or reason is None else str(reason), None, document.text)


def extracted(block: Any, documents: list[Document]) -> list[Outcome]:
    """Return an extractor's outcome for every document, each within the block's time limit in a separate process.

    A document without text is dropped with the reason `no_text`; one that takes too long or makes the extractor raise
    gets the exception's name and no verdict. datatrove leaves out all of them.
    """
    from datatrove.pipeline.extractors.base import ExtractorSandbox

    outcomes: list[Outcome] = []
    with ExtractorSandbox(timeout=block.timeout, warmup_text="") as sandbox:
        for document in documents:
            try:
                text = sandbox.process_document(document.text, block.extract)
            except Exception as error:
                outcomes.append(Outcome(None, None, type(error).__name__, document.text))
            else:
                outcomes.append(Outcome(bool(text), None if text else "no_text", None, text or ""))
    return outcomes


class Lost(NamedTuple):
    """A record that a reader skipped or could not read."""

    where: str
    error: str
    detail: str


def read_with(reader: Any, file: str) -> Iterator[tuple[str, dict[str, Any]] | Lost]:
    """Yield the records of a file (its place; text, id and metadata as one mapping), and the lost ones as Lost.

    datatrove skips records without text, and only logs what it cannot read.
    """
    from loguru import logger

    lost: list[Lost] = []
    places: dict[int, Any] = {}  # of documents not yet yielded; readers of batches make many before they yield one
    plain = reader.get_document_from_dict

    def watched(data: Any, source_file: str, place: Any) -> Any:
        try:
            document = plain(data, source_file, place)
        except Exception as error:
            lost.append(Lost(f"{file}:{place}", "unusable_record", _message(error)))
            return None
        if document is None:
            lost.append(Lost(f"{file}:{place}", "no_text", f"field {reader.text_key!r}"))
        else:
            places[id(document)] = place
        return document

    def warned(message: Any) -> None:
        lost.append(Lost(file, "reader_warning", _message(message.record["message"])))

    reader.get_document_from_dict = watched
    reader._empty_warning = True  # such records are counted above
    handler = logger.add(warned, level="WARNING", filter="datatrove.pipeline.readers")
    try:
        for document in reader.read_files_shard([file]):
            yield from lost
            lost.clear()
            known = {name: value for name, value in document.metadata.items() if name != "file_path"}
            where = f"{file}:{places.pop(id(document), '')}"
            yield where, {**known, "id": document.id, "text": document.text}
    except Exception as error:
        lost.append(Lost(file, "reader_failed", f"the rest of the file is not read: {_message(error)}"))
    finally:
        logger.remove(handler)
    yield from lost


def formatted(block: Any, documents: list[Document]) -> tuple[list[str], int]:
    """Return the rewritten texts, and the number of documents on which the formatter raised and which stay as is."""
    texts, failed = [], 0
    for document in documents:
        try:
            texts.append(str(block.format(document.text)))
        except Exception:
            texts.append(document.text)
            failed += 1
    return texts, failed


def _message(what: Any) -> str:
    """Return a message, or an exception's name and message, as valid UTF-8 of at most 300 characters."""
    text = f"{type(what).__name__}: {what}" if isinstance(what, Exception) else str(what)
    return text.encode("utf-8", "replace").decode()[:300]
