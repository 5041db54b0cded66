"""Sample sets by name: real text out of packages, each set an origin of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import field_validator

from windtunnel.pipelines.readers.batches import Unreadable, batches
from windtunnel.pipelines.samples import sample_set as samples
from windtunnel.pipelines.sources._source import Example, Source


class Samples(Source):
    """Documents of sample sets; `windtunnel samples` lists them.

    lang: read only these languages of them. prefix: put before the name of each set in the documents' `source`, which
    gives the same texts other ids, as a renamed file would.
    """

    primary: ClassVar[str | None] = "names"
    examples: ClassVar[tuple[Example, ...]] = (
        Example({}, None, params={"names": "code"}),
        Example({}, None, params={"names": "code", "prefix": "copy-"}),
    )
    names: tuple[str, ...]
    lang: tuple[str, ...] = ()
    prefix: str = ""

    @field_validator("names", "lang", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("names")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            samples.sample_set(name)
        return value

    def parts(self) -> list[dict[str, Any]]:
        return [
            {"set": name, "version": wanted.version, "part": part, "of": wanted.parts, "packages": packages}
            for name, wanted in ((name, samples.sample_set(name)) for name in dict.fromkeys(self.names))
            for packages in [wanted.fingerprint()]
            for part in range(wanted.parts)
        ]

    def read(self, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Unreadable]:
        rows = samples.sample_set(part["set"]).part(part["part"])
        wanted = (row for row in rows if not self.lang or isinstance(row, Unreadable) or row.lang in self.lang)
        yield from batches(row._replace(source=self.prefix + row.source) if self.prefix else row for row in wanted)

    def origins(self) -> list[dict[str, Any]]:
        return [samples.describe(name) for name in dict.fromkeys(self.names)]
