"""Small files of instructions and preferences, made from a sample set, to try `rows:` with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from windtunnel.pipelines.samples import row_files
from windtunnel.pipelines.samples.sample_set import describe, sample_set
from windtunnel.pipelines.sources._made_file import MadeFile
from windtunnel.pipelines.sources._source import Example, RecordSource
from windtunnel.pipelines.sources.csv import Csv
from windtunnel.pipelines.sources.jsonl import Jsonl
from windtunnel.pipelines.sources.parquet import Parquet
from windtunnel.schemas.plugin import full_spec

_READERS = {".jsonl": Jsonl, ".csv": Csv, ".parquet": Parquet}


class SampleRows(MadeFile):
    """Questions and answers from the leads of an encyclopedia, written to a file in the cache, then read as any file.

    rows: `short` or `full` answers, pairs that prefer the `right` or the `longer` answer, `questions` to measure on.
    layout, format: how the file is written. number: rows at most.
    """

    primary: ClassVar[str | None] = "rows"
    examples: ClassVar[tuple[Example, ...]] = (
        Example({}, None, params={"rows": "short", "layout": "completion", "text": "completion", "number": 9}),
        Example(
            {}, None, params={"rows": "right", "layout": "preference", "format": "csv", "text": "chosen", "number": 9}
        ),
    )
    rows: Literal["short", "full", "right", "longer", "questions"]
    layout: Literal["alpaca", "sharegpt", "messages", "completion", "preference", "implicit", "kto"] = "messages"
    format: Literal["jsonl", "csv", "parquet"] = "jsonl"
    number: int = Field(1000, gt=0)

    def parts(self) -> list[dict[str, Any]]:
        self.file().parts()  # recognises the layout, as that of any file
        return [{"rows": self.rows, "version": row_files.VERSION, "packages": sample_set(row_files.SET).fingerprint()}]

    def origins(self) -> list[dict[str, Any]]:
        return [describe(row_files.SET)]

    def file(self) -> RecordSource:
        path = row_files.write(self.rows, self.layout, self.number, f".{self.format}")
        options = {name: value for name, value in full_spec(self)["sample_rows"].items() if name in _SHARED}
        file = _READERS[f".{self.format}"](path=str(path), **{**options, "name": self.name or f"sample_{self.rows}"})
        return file if self._reader is None else file.reading(self._reader)


_SHARED = ("text", "url", "lang", "source", "meta", "max_document_bytes")
