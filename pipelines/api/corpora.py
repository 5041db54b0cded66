"""Corpora in Python: read a source, then filter, deduplicate and decontaminate frames of text."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
from pydantic import TypeAdapter

from windtunnel.pipelines.api.arguments import check_count, refuse
from windtunnel.pipelines.api.frames import Frame, Selection, Texts, documents, write
from windtunnel.pipelines.api.own_errors import own_errors
from windtunnel.pipelines.api.sorted_rows import sorted_rows
from windtunnel.pipelines.datasets.decontaminate import Decontamination
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.files.decontaminate import OVERLAP, decontaminate_files
from windtunnel.pipelines.files.dedup import dedup_files, named_columns
from windtunnel.pipelines.files.filter import filter_files
from windtunnel.pipelines.readers.batches import Remark, Unreadable
from windtunnel.pipelines.readers.listing import COMPRESSIONS, is_saved, matching
from windtunnel.pipelines.recipe.recipe import Name, Spec
from windtunnel.pipelines.sources._read import items, read_work
from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.schemas.plugin import names
from windtunnel.schemas.records import DOCUMENT
from windtunnel.schemas.work import Counts

FORMATS = {
    ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "csv",
    ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow", ".html": "html", ".htm": "html", ".xhtml": "html",
    ".warc": "warc", ".wet": "warc", ".txt": "text", ".text": "text", ".md": "text", ".rst": "text",
}  # fmt: skip


@own_errors
def read(source: str | Path | Mapping[str, Any], limit: int | None = None) -> pl.DataFrame:
    """Return the documents of a source as a frame with columns id, text, source, url, lang and meta (JSON).

    Parameters
    ----------
    source
        A file, a directory or a glob, whose format is told by the files' names; or a source as in recipes, such as
        `{"samples": "drama"}` or `{"jsonl": {"path": "data/*.jsonl.zst", "text": "content"}}`.
    limit
        The most documents to read, from the first file on.

    Records that cannot be read are left out, and a warning says how many and why. All documents are in memory at once:
    the commands and recipes read what is larger. Raises InputError for what cannot be read at all, RecipeError for an
    unknown source or parameter.
    """
    if limit is not None:
        check_count("limit", limit, "give a whole number above zero, or None for all documents")
    if not isinstance(source, str | Path | Mapping):
        refuse("source", source, "give a path, or {name: parameters} of a source")
    work = read_work(dict(source) if isinstance(source, Mapping) else _by_name(source))
    batches: list[pa.RecordBatch] = []
    unreadable: Counter[str] = Counter()
    count = 0
    for item in (item for part in work.parts for item in items(work.plugin(), part)):
        if isinstance(item, Remark):
            unreadable += Counter({item.error: item.rows} if isinstance(item, Unreadable) else {})
            continue
        batches.append(item.slice(0, item.num_rows if limit is None else limit - count))
        count += batches[-1].num_rows
        if count == limit:
            break
    if unreadable:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in unreadable.most_common())
        warnings.warn(f"{unreadable.total():,} records of {source} cannot be read: {reasons}", stacklevel=3)
    frame = pl.from_arrow(pa.Table.from_batches(batches, DOCUMENT))
    assert isinstance(frame, pl.DataFrame)
    return frame


@own_errors
def filter(
    frame: Frame,
    rules: Spec | Sequence[Spec],
    text: str = "text",
    words: Literal["fast", "exact"] = "fast",
    language: str | None = None,
    workers: int = 1,
) -> Selection[Frame]:
    """Apply rules to the rows of a frame, as `windtunnel filter` does to those of files.

    Parameters
    ----------
    frame
        A polars DataFrame or LazyFrame, a pyarrow Table or RecordBatch, or a pandas DataFrame. The frames of the result
        have the same type. A LazyFrame is collected; a pandas frame gets a new index.
    rules
        Names or {name: parameters}, in the order in which they decide, such as
        `["gopher_quality", {"length": {"min_words": 9}}]`. `windtunnel list rule` lists them.
    text
        The column that holds the text. The columns id, source, url and lang are read too where the frame has them.
    words
        `fast`, or `exact`, which splits words as spaCy does and is slow.
    language
        The language of `exact` words: `de`, `fr`, ...; English by default.
    workers
        Processes. With more than one, a script needs `if __name__ == "__main__":`, as with multiprocessing.

    Kept and dropped rows have all columns of the frame and `why`, a struct of every measured value; dropped rows also
    have `reason`. Raises RecipeError for an unknown rule or parameter, InputError for a frame that cannot be read.
    """
    if words not in ("fast", "exact"):
        raise RecipeError(f"words is {words!r}: it is 'fast' or 'exact'")
    if language is not None and words != "exact":
        raise RecipeError("`language` names whose words `words='exact'` finds; the fast ones need no language")
    listed = [rules] if isinstance(rules, str | Mapping) else list(rules)

    def sort(file: Path, out: Path, where: Where) -> Counts:
        return filter_files(file, out, listed, words == "exact", text, language=language, where=where)

    return sorted_rows(frame, text, (), workers, sort)


@own_errors
def dedup(frame: Frame, kind: Spec = "minhash", text: str = "text", workers: int = 1) -> Selection[Frame]:
    """Remove duplicates among the rows of a frame, as `windtunnel dedup` does among those of files.

    `kind` is a method's name or {name: parameters}: `exact`, `minhash`, `sentence`, `substring`, `line`, `paragraph`;
    parameters may name columns of the frame, as in `{"minhash": {"keep": "highest score"}}`. The other parameters, the
    result and the errors are those of `filter`; methods that cut text out of documents give the text without it.
    """

    def sort(file: Path, out: Path, where: Where) -> Counts:
        return dedup_files(file, out, kind, text, where=where)

    return sorted_rows(frame, text, named_columns(kind), workers, sort)


@dataclass(frozen=True, repr=False)
class Decontaminated(Selection[Frame]):
    """A Selection with `overlap`: a row for each evaluation set, with the items and n-grams that the frame shares."""

    overlap: pl.DataFrame


@own_errors
def decontaminate(
    frame: Frame,
    against: Texts | str | Path | Mapping[str, Any],
    text: str = "text",
    workers: int = 1,
    **parameters: Any,
) -> Decontaminated[Frame]:
    """Remove the rows of a frame that share long word n-grams with evaluation texts (Brown et al. 2020, appendix C).

    Parameters
    ----------
    against
        A frame or a list of texts, a path or a source as in `read`; or several of them by name, such as
        `{"mmlu": "mmlu.jsonl", "mine": frame}`. Frames have their text in the column `text` too.
    **parameters
        Those of a recipe's `decontaminate:`, such as `ngram` (13 words), `action` (`drop` or `cut`), `min_matches`.

    The other parameters, the result and the errors are those of `filter`; the reason is `contaminated`.
    """
    for name in parameters:
        if name not in Decontamination.model_fields:
            raise RecipeError(f"decontaminate has no parameter {name!r}: {nearest(name, Decontamination.model_fields)}")
    how = Decontamination(**parameters)
    overlaps: list[pl.DataFrame] = []

    def sort(file: Path, out: Path, where: Where) -> Counts:
        sets = {name: _evaluation(name, value, file.parent, text) for name, value in _named(against).items()}
        counts = decontaminate_files(file, out, sets, how, text, where=where)
        overlaps.append(pl.read_parquet(out / OVERLAP))
        return counts

    result = sorted_rows(frame, text, (), workers, sort)
    return Decontaminated(result.kept, result.dropped, result.unreadable, result.counts, overlaps[0])


def _named(against: Any) -> dict[str, Any]:
    """Return evaluation sets by name; a mapping with a source's name as its one key is a source."""
    if isinstance(against, Mapping) and not (len(against) == 1 and next(iter(against)) in names("source")):
        if not against:
            raise RecipeError("decontaminate: `against` names no evaluation set")
        return {TypeAdapter(Name).validate_python(name): value for name, value in against.items()}
    return {"evaluation": against}


def _evaluation(name: str, value: Any, folder: Path, text: str) -> dict[str, Any]:
    """Return the source of an evaluation set; a frame is written into `folder` first."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str | Path):
        return _by_name(value)
    file = folder / "evaluations" / f"{name}.parquet"
    try:
        write(documents(value, text), file)
    except InputError as error:
        raise InputError(f"the evaluation set {name!r}: {error}") from error
    return {"parquet": {"path": str(file)}}


def _by_name(path: str | Path) -> dict[str, Any]:
    """Return the source of a file, a directory or a glob, by the endings of the files' names."""
    if is_saved(Path(path)):
        return {"hf": str(path)}
    formats = {_format(Path(file.name)): file for file in matching(str(path), tuple(FORMATS))}
    if None in formats:
        raise RecipeError(
            f"the name of {formats[None]} does not tell its format: name the source, as in {{'text': {str(path)!r}}}; "
            "`windtunnel list source` lists them"
        )
    if len(formats) > 1:
        raise RecipeError(
            f"{path} holds files of several formats ({', '.join(sorted(map(str, formats)))}): name one source, "
            f"as in {{{min(map(str, formats))!r}: {str(path)!r}}}"
        )
    return {str(next(iter(formats))): str(path)}


def _format(file: Path) -> str | None:
    name = file.name.lower()
    packed = next((ending for ending in COMPRESSIONS if name.endswith(ending)), "")
    return FORMATS.get(Path(name.removesuffix(packed)).suffix)
