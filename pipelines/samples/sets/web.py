"""Web: the beginnings of a thousand pages of OpenWebText."""

from __future__ import annotations

import json
from collections.abc import Iterator

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.sample_set import SampleSet

EVALS = Package(
    "pypi", "evals", "3.0.1.post1", "0abcb2051303500784b1641a6e4f6b813ed43ad64f879a37d344a6774eb8eb78", 46.3
)
_PASSAGES = "evals/registry/data/schelling_point/owt_5.jsonl"


class Web(SampleSet):
    """One passage of a few hundred characters per document, without the shuffled copies in the package."""

    name = "web"
    about = "openings of web pages that people linked to, English"
    licence = "CC0-1.0 for the collection, as its makers say; the pages are by third parties"
    text_megabytes = 0.67
    origin = "OpenWebText passages in the Python package evals"
    packages = (EVALS,)

    def members(self) -> list[tuple[str, int]]:
        return [(name, size) for name, size in EVALS.members() if name == _PASSAGES]

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        for line in EVALS.read(member).decode("utf-8").splitlines():
            yield Row(json.loads(line)["0"], self.name, lang="en")  # "1" to "10" are permutations of its sentences
