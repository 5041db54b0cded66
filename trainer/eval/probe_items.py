"""The step that makes the items of probes from documents, once for all models (trainer.eval.probe_tasks)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import Field

from windtunnel.schemas.artifact import Artifact, write_parquet
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.eval.probe_tasks import Pairs, Texts, sources, word_senses

SOURCES, SENSES = "sources", "senses"


class ProbeItems(Work):
    """Writes a file per task, `sources.parquet` and `senses.parquet`. Inputs: documents, by the name of the task.

    A row is an item: label, group, its texts (two for `senses`), and the places in them that are asked about, as pairs
    of characters [start, stop); null where the whole text is.
    """

    version: ClassVar[int] = 1
    paragraphs: int = Field(default=200, gt=0)  # of each source, at most
    words: int = Field(default=24, gt=0)  # artificial words of two meanings
    pairs: int = Field(default=40, gt=0)  # of each

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        counts = Counts()
        for name, artifact in inputs.items():
            table = _table(self._made(name, artifact))
            write_parquet(out / f"{name}.parquet", table)
            counts.kept += table.height
        counts.seen = counts.kept
        return counts.check("items of probes")

    def _made(self, name: str, artifact: Artifact) -> Texts | Pairs:
        documents = _documents(artifact)
        if name == SENSES:
            try:
                return word_senses(documents, self.words, self.pairs)
            except InputError as error:
                raise InputError(f"{artifact.path.name}: {error}") from error
        made = sources(documents, self.paragraphs)
        if len(set(made.labels)) < 2:
            raise InputError(f"{artifact.path.name} has paragraphs of one source alone: there is nothing to tell apart")
        return made


def read_items(artifact: Artifact) -> dict[str, Texts | Pairs]:
    """Return the items of an artifact of this step, by task."""
    return {
        name: _items(name, pl.read_parquet(file))
        for name in (SOURCES, SENSES)
        if (file := artifact.path / f"{name}.parquet").exists()
    }


def _table(items: Texts | Pairs) -> pl.DataFrame:
    """Return one row an item, with as many texts as an item has."""
    number = len(items.texts) // len(items.labels)
    cut = range(0, len(items.texts), number)
    spans = None if items.spans is None else [list(map(list, items.spans[at : at + number])) for at in cut]
    return pl.DataFrame(
        {
            "label": items.labels,
            "group": items.groups,
            "texts": [items.texts[at : at + number] for at in cut],
            "spans": pl.Series(spans or [None] * len(items.labels), dtype=pl.List(pl.List(pl.Int64))),
        }
    )


def _items(name: str, table: pl.DataFrame) -> Texts | Pairs:
    texts = [text for each in table["texts"].to_list() for text in each]
    labels, groups = table["label"].to_list(), table["group"].to_list()
    spans = [(start, stop) for each in table["spans"].to_list() if each is not None for start, stop in each]
    return Pairs(texts, spans, labels, groups) if name == SENSES else Texts(texts, labels, groups, spans or None)


def _documents(artifact: Artifact) -> pl.DataFrame:
    files = artifact.files("documents") or artifact.files("kept")
    if not files:
        raise InputError(f"{artifact.path.name} has neither documents/ nor kept/ to make probes from")
    return pl.concat([pl.read_parquet(file, columns=["id", "text", "source"]) for file in files])
