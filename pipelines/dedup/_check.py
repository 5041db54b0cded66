"""Checks a deduplication method by its examples: documents in, those that are kept out, by the steps of a plan."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.dedup._dedup import Dedup, Example
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.finding import Finding, differs, finding
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.schemas.work import Work


def check(cls: type[Dedup]) -> Iterator[Finding]:
    """Yield the outcome of every example."""
    if not cls.examples:
        yield Finding("examples", "no example of documents and those that it keeps")
    for example in cls.examples:
        what = f"keeps {len(example.kept)} of {example.shown}"
        yield finding(what, lambda example=example: _kept(cls(**example.params), example))


def _kept(method: Dedup, example: Example) -> str | None:
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder:
        plan = _Plan(Path(folder))
        documents = _documents(example, Path(folder) / "documents")
        decided = method.steps(plan.add, "example", documents, None)
        edited = decided if method.edits else documents
        texts = _column(edited, "documents", "text")
        reasons = _column(decided, "decisions", "reason")
        if wrong := set(reasons) - {None, method.name}:
            return f"the reason of a drop is the method's label, {method.name!r}, not {', '.join(map(repr, wrong))}"
        kept = [text for text, reason in zip(texts, reasons, strict=True) if reason is None]
        return differs(sorted(example.kept), sorted(kept))


class _Plan:
    """Runs every step in this process as soon as it is added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, work: Work, inputs: Mapping[str, Any]) -> Artifact:
        artifact = Artifact(self.folder / name.replace(":", "."))
        artifact.path.mkdir()
        built = type(work).model_validate_json(work.model_dump_json(by_alias=True))  # as a worker gets it
        for rank in range(built.shards(inputs)):
            built.run(inputs, artifact.path, rank).check(name)
        built.finish(inputs, artifact.path)
        return artifact


def _documents(example: Example, path: Path) -> Artifact:
    (path / "documents").mkdir(parents=True)
    rows: list[dict[str, Any]] = [
        {"id": document_id("example", text), "text": text, "source": "example"} for text in example.texts
    ]
    for name, values in example.columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    size = -(-len(rows) // example.shards)
    for shard in range(example.shards):
        table = pa.Table.from_pylist(rows[shard * size : (shard + 1) * size], schema=DOCUMENT)
        pq.write_table(table, path / "documents" / f"{shard:05d}.parquet")
    return Artifact(path)


def _column(artifact: Artifact, folder: str, name: str) -> list[Any]:
    return [value for path in artifact.files(folder) for value in pq.read_table(path, columns=[name])[name].to_pylist()]
