"""Shows rows of an artifact or a file: documents, dropped documents, clusters, conversations, scores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from rich.console import Console

from windtunnel.pipelines.engine.mirrors.opening import fetched_path
from windtunnel.pipelines.readers.listing import COMPRESSIONS
from windtunnel.pipelines.readers.streams import BrokenStream, chunks, lines, utf8_chunks
from windtunnel.pipelines.sources._source import DOCUMENT_BYTES
from windtunnel.schemas.artifact import MANIFEST
from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.schemas.printable import escaped, printable

TEXTS = ("kept", "rows", "documents")  # which folder to show first: tables beside these are about the step itself
FOLDERS = (*TEXTS, "decisions", "measures", "clusters", "dropped")
LINES = ("*.jsonl", *(f"*.jsonl{ending}" for ending in COMPRESSIONS))


def show(place: str | Path, number: int, dropped: str | None, cluster: int | None, console: Console) -> None:
    """Print the first rows that match; foreign text is printed without its control characters.

    `place` is a path, or the address of an artifact in a store or of a file in one.
    """
    path = fetched_path(place)
    if not path.exists():
        raise InputError(f"there is no file or directory {path}")
    if (path / MANIFEST).exists():
        _summary(path, console)
    if dropped:
        rows = _dropped(path, dropped, number)
    else:
        rows = _cluster(path, cluster) if cluster is not None else _rows(path, number)
    shown = 0
    try:
        for row in islice(rows, number):
            shown += 1
            console.print(f"--- {shown}")
            for key, value in row.items():
                _field(key, value, console)
    except pl.exceptions.PolarsError as error:  # a file with a whole footer and damaged pages
        raise _unreadable(path, error) from error
    if not shown:
        console.print("no rows")


def _summary(path: Path, console: Console) -> None:
    manifest = json.loads((path / MANIFEST).read_bytes())
    counts = manifest["counts"]
    console.print(f"{manifest['step']}: {counts['seen']:,} in, {counts['kept']:,} kept, {manifest['seconds']:.1f} s")
    for reason, count in sorted({**counts["dropped"], **counts["unreadable"]}.items(), key=lambda kv: -kv[1]):
        console.print(f"  {escaped(reason):<36} {count:>10,}")


def _field(key: str, value: Any, console: Console) -> None:
    if value is None:
        return
    if isinstance(value, dict):
        value = {k: round(v, 4) if isinstance(v, float) else v for k, v in value.items() if v is not None}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    limit = 1500 if key in ("text", "messages", "chosen", "rejected") else 600
    console.print(f"{key}: {printable(text, limit)}")


def _files(path: Path, folder: str | None = None) -> list[Path]:
    if path.is_file():
        return [path]
    first = TEXTS if (path / MANIFEST).exists() else ()
    places = [path / folder] if folder else [path / name for name in (*first, ".", *FOLDERS)]
    for place in places:
        found = (file for pattern in ("*.parquet", *LINES) for file in place.glob(pattern))
        files = sorted(file for file in found if not file.name.startswith("."))
        if files:
            return files
    raise InputError(f"{path} holds no {folder + '/ ' if folder else ''}Parquet or JSONL files")


def _frames(files: list[Path]) -> Iterator[pl.LazyFrame]:
    """Yield the files one by one; what polars says of one that it cannot read becomes an InputError with its name."""
    for file in files:
        try:
            frame = pl.scan_ndjson(file) if _holds_lines(file) else pl.scan_parquet(file)
            frame.collect_schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _unreadable(file, error) from error
        yield frame


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read as Parquet or JSON lines ({str(error).strip()[:200]}): make it anew")


def _rows(path: Path, number: int) -> Iterator[dict[str, Any]]:
    for file in _files(path):
        if _holds_lines(file):
            yield from _records(file)
        else:
            for frame in _frames([file]):
                yield from frame.head(number).collect().iter_rows(named=True)


def _holds_lines(path: Path) -> bool:
    """Return whether a file's name says JSON lines; Parquet has names of many kinds."""
    name = path.name.lower()
    bare = Path(name).stem if name.endswith(COMPRESSIONS) else name
    return bare.endswith((".jsonl", ".ndjson", ".json"))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of JSON lines, which need no common type; raises InputError for a line that is no JSON."""
    try:
        for line in lines(utf8_chunks(chunks(path)), DOCUMENT_BYTES):
            if line.data is None:
                yield {"": f"line {line.number} has more than {DOCUMENT_BYTES:,} bytes"}
            elif line.data.strip():
                record = orjson.loads(line.data)
                yield record if isinstance(record, dict) else {"": record}
    except (BrokenStream, orjson.JSONDecodeError, OSError) as error:
        raise _unreadable(path, error) from error


def _dropped(path: Path, rule: str, number: int) -> Iterator[dict[str, Any]]:
    files = _files(path, "dropped")
    reasons: set[str] = set()
    any_row = False
    for frame in _frames(files):
        reasons.update(frame.select("reason").unique().collect()["reason"].drop_nulls().to_list())
        matching = frame.filter((pl.col("reason") == rule) | pl.col("reason").str.starts_with(f"{rule}."))
        for row in matching.head(number).collect().iter_rows(named=True):
            any_row = True
            yield row
    if not any_row and rule not in reasons:
        raise RecipeError(f"nothing was dropped by {rule!r}: {nearest(rule, reasons)}")


def _cluster(path: Path, cluster: int | None) -> Iterator[dict[str, Any]]:
    """Yield a cluster's members: with their text from a corpus, else as the dedup step wrote them."""
    places = [path / folder for folder in ("kept", "dropped")]
    files = [file for place in places for file in sorted(place.glob("[!.]*.parquet"))]
    for frame in _frames(files or _files(path, "clusters")):
        schema = frame.collect_schema()
        why = schema.get("why")
        values = [field.name for field in why.fields] if isinstance(why, pl.Struct) else []
        numbers = [pl.col("why").struct.field(name) for name in values if name.endswith("_cluster")]
        numbers += [pl.col("cluster")] if "cluster" in schema else []
        if not numbers:
            raise InputError(f"{path} knows no clusters: show the corpus, or the decisions, of a dedup step")
        yield from frame.filter(pl.any_horizontal(number == cluster for number in numbers)).collect().to_dicts()
