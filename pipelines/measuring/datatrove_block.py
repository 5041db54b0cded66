"""datatrove's blocks by the text of their call: parsed, never evaluated; nothing else of Python can be named."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from schemas.errors import RecipeError

if TYPE_CHECKING:
    from datatrove.data import Document

PACKAGE = "datatrove.pipeline."
_PATH = re.compile(r"datatrove\.pipeline(\.[A-Za-z][A-Za-z0-9_]*){2,}")
_METADATA = ("url", "source", "lang", "meta")


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
    """What a filter said of one document; `error` is the exception's name when it could not say."""

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


def kind_of(call: Call) -> str:
    """Return `filter` or `formatter`; raises RecipeError for other classes and for arguments that the class has not."""
    found = _class(call)
    try:
        inspect.signature(found).bind(*call.positional, **call.named)
    except TypeError as error:
        raise RecipeError(f"block {call.path}: {error}; it takes {inspect.signature(found)}") from error
    from datatrove.pipeline.filters.base_filter import BaseFilter

    return "filter" if issubclass(found, BaseFilter) else "formatter"


def build(call: Call) -> Any:
    """Return the block; raises RecipeError when its class refuses the arguments or misses a package."""
    try:
        return _class(call)(*call.positional, **call.named)
    except Exception as error:
        raise RecipeError(f"block {call.path} cannot be built: {type(error).__name__}: {error}") from error


def _class(call: Call) -> type:
    from datatrove.pipeline.filters.base_filter import BaseFilter
    from datatrove.pipeline.formatters.base import BaseFormatter

    module_name, _, name = call.path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise RecipeError(f"block {call.path}: {error}") from error
    ours = isinstance(found, type) and found.__module__.startswith(PACKAGE)
    if not isinstance(found, type) or not ours or not issubclass(found, (BaseFilter, BaseFormatter)):
        raise RecipeError(f"block {call.path}: {module_name} has no filter or formatter of that name")
    return found


def documents_of(batch: pa.RecordBatch) -> list[Document]:
    """Return datatrove Documents: id, text, and as metadata the fields of meta, url, source and lang where known.

    The language goes under datatrove's own word, `language`, too.
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
    """Return the fields of a document's meta, a JSON object, with those of its `metadata`, as datatrove reads one."""
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
    """Return what a filter says of every document, in order; batches are as long as the block asks for.

    A document on which the block raises has no verdict and the exception's name; datatrove would end the task there.
    """
    outcomes: list[Outcome] = []
    for batch in _batched(iter(documents), max(1, block.batch_size)):
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


def formatted(block: Any, documents: list[Document]) -> tuple[list[str], int]:
    """Return the rewritten texts and how many documents the formatter failed on; those stay as they were."""
    texts, failed = [], 0
    for document in documents:
        try:
            texts.append(str(block.format(document.text)))
        except Exception:
            texts.append(document.text)
            failed += 1
    return texts, failed


def _batched(documents: Iterator[Document], size: int) -> Iterator[list[Document]]:
    while batch := list(islice(documents, size)):
        yield batch
