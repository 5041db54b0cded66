"""Small labelled tasks made from sample sets, to try classifiers, prompts and instructions with."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from windtunnel.pipelines.samples import label_files
from windtunnel.pipelines.samples.sample_set import describe, sample_set
from windtunnel.pipelines.sources._made_file import MadeFile
from windtunnel.pipelines.sources._source import Example, RecordSource
from windtunnel.pipelines.sources.jsonl import Jsonl


class SampleLabels(MadeFile):
    """Instructions with a passage, answered by a label, written to a file in the cache, then read as any file.

    rows: `origin`, which of six kinds of text a passage is from; `follows`, whether a second passage stands behind the
    first in its text. number: rows at most, equally many of each kind of text.
    """

    primary: ClassVar[str | None] = "rows"
    examples: ClassVar[tuple[Example, ...]] = (
        Example({}, None, params={"rows": "follows", "text": "completion", "number": 12}),
    )
    rows: Literal["origin", "follows"]
    number: int = Field(1200, gt=5)

    def parts(self) -> list[dict[str, Any]]:
        self.file().parts()  # recognises the layout, as that of any file
        prints = [sample_set(name).fingerprint() for name in label_files.LABELS]
        return [{"rows": self.rows, "version": label_files.VERSION, "packages": prints}]

    def origins(self) -> list[dict[str, Any]]:
        return [describe(name) for name in label_files.LABELS]

    def file(self) -> RecordSource:
        path = label_files.write(self.rows, self.number)
        file = Jsonl(path=str(path), name=self.name or self.rows, text=self.text)
        return file if self._reader is None else file.reading(self._reader)
