"""Checks a source by its examples: files in, documents and unreadable records out, by the step that recipes run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.sources._read import Read, read_work
from windtunnel.pipelines.sources._source import FILES, Example, Source
from windtunnel.schemas.finding import Finding, differs, finding
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.schemas.work import Counts


def check(cls: type[Source]) -> Iterator[Finding]:
    """Yield the outcome of every example."""
    if not cls.examples:
        yield Finding("examples", "no example of what it reads")
    for example in cls.examples:
        yield finding(f"reads {example.shown}", lambda example=example: _read(cls, example))


def _read(cls: type[Source], example: Example) -> str | None:
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder:
        files, out = Path(folder) / "files", Path(folder) / "out"
        files.mkdir()
        for name, content in example.files.items():
            if callable(content):
                content(files / name)
            else:
                (files / name).write_bytes(content.encode() if isinstance(content, str) else content)
        source = cls(**_params(cls, example, files))
        work = read_work(source)
        if [*work.parts] != json.loads(json.dumps(source.parts())):
            return "parts() gives other parts when it is asked again, or parts that JSON changes"
        counts = _run(work, out)
        again = _run(work, Path(folder) / "again")
        documents = pa.concat_tables([pq.read_table(path) for path in sorted((out / "documents").iterdir())])
        return _problem(example, documents, counts, again)


def _params(cls: type[Source], example: Example, files: Path) -> dict[str, Any]:
    """Return the parameters with the directory of the example's files for `FILES`; by default the primary one."""
    params = dict(example.params)
    if example.files and cls.primary is not None:
        params.setdefault(cls.primary, FILES)
    return {key: value.replace(FILES, str(files)) if isinstance(value, str) else value for key, value in params.items()}


def _run(work: Read, out: Path) -> Counts:
    return Counts.total([work.run({}, out, rank) for rank in range(work.shards({}))])


def _problem(example: Example, documents: pa.Table, counts: Counts, again: Counts) -> str | None:
    if documents.schema != DOCUMENT:
        return f"documents have the columns {documents.schema}, not those of DOCUMENT"
    texts, sources, ids = (documents[name].to_pylist() for name in ("text", "source", "id"))
    if ids != [document_id(source, text) for source, text in zip(sources, texts, strict=True)]:
        return "an id is not that of its source and text: see windtunnel.schemas.records.document_id"
    if counts != again:
        return f"a second reading gives other counts: {counts!r}, then {again!r}"
    problem = None if example.texts is None else differs(list(example.texts), texts)
    return problem or differs(dict(example.unreadable), counts.unreadable)
