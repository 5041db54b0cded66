"""Words from a list of obscenities, as C4 drops pages that hold one."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pyarrow as pa
from blake3 import blake3

from windtunnel.pipelines.filters._rule import Example, Reason, Rule
from windtunnel.pipelines.filters._word_list import entries, files_of
from windtunnel.pipelines.samples.packages import Package
from windtunnel.schemas.errors import RecipeError

_LIST = {"words": ["darn", "heck no", "ばか"]}
_WITHOUT_SPACES = {"ja", "th", "zh"}  # their words are looked for anywhere
_SCRIPTS = ("CJK ", "HIRAGANA ", "KATAKANA ", "HALFWIDTH KATAKANA ", "THAI ")  # how Unicode names their letters
_ALLOWED = {"sm", "グロ", "女の子", "性"}  # common parts of harmless words in scripts without spaces (C4)


class Badwords(Rule):
    """Drop documents that hold a listed word between characters that belong to no word.

    Source: Raffel et al. 2020; matching, allowed exceptions and reason as in datatrove's C4BadWordsFilter. words:
    entries, a file with one a line, or `ldnoobw`: the list that C4 used, in `languages` (CC-BY-4.0, fetched from its
    package). In ja, th and zh words match inside others too; where other languages are named as well, only words in
    the scripts of those three do. `keep_fraction` of the documents with such words stay, drawn by the hash of their
    text. Columns: `bad_words` (matches that share no character), `bad_word_draw` (0 to 1).
    """

    version: ClassVar[int] = 2
    primary: ClassVar[str | None] = "words"
    words: str | tuple[str, ...] = "ldnoobw"
    languages: tuple[str, ...] = ("en",)
    keep_fraction: float = 0.0

    keeps: ClassVar[tuple[Example, ...]] = (
        Example("A darning needle is no word of that kind.", params=_LIST),
        Example("Heck, no!", params=_LIST),
        Example("Darning needles", params={**_LIST, "languages": ["en", "ja"]}),
        Example("Darn it.", params={**_LIST, "keep_fraction": 1.0}),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example("Darn!", "document_removed_with_badwords", params=_LIST),
        Example("I said: heck no", "document_removed_with_badwords", params=_LIST),
        Example("おばかさん", "document_removed_with_badwords", params={**_LIST, "languages": ["ja"]}),
        Example("おばかさん", "document_removed_with_badwords", params={**_LIST, "languages": ["en", "ja"]}),
        Example("Well, darn!", "document_removed_with_badwords", params={**_LIST, "languages": ["en", "ja"]}),
    )

    def reads(self) -> list[Path]:
        return [] if self.words == "ldnoobw" else files_of(self.words)

    def measure_config(self) -> dict[str, Any]:
        return {"words": self.words, "languages": self.languages}

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        text = pl.Series("text", batch.column("text").cast(pa.large_string())).fill_null("")
        matches = text.str.to_lowercase().str.count_matches(_pattern(self._listed(), set(self.languages)))
        return pl.DataFrame({"bad_words": matches, "bad_word_draw": [_draw(value) for value in text.to_list()]})

    def reasons(self) -> list[Reason]:
        count = pl.col("bad_words")
        drop = (count > 0) & (pl.col("bad_word_draw") >= self.keep_fraction)
        return [Reason("document_removed_with_badwords", drop, count, 0, "above")]

    def _listed(self) -> list[str]:
        if self.words != "ldnoobw":
            return entries(self.words)
        return [word for language in self.languages for word in _shipped(language)]


def _pattern(words: list[str], languages: set[str]) -> str:
    listed = sorted({word.lower() for word in words} - _ALLOWED)
    if languages and languages <= _WITHOUT_SPACES:
        bounded, anywhere = [], listed
    elif languages & _WITHOUT_SPACES:
        anywhere = [word for word in listed if any(unicodedata.name(c, "").startswith(_SCRIPTS) for c in word)]
        bounded = sorted(set(listed) - set(anywhere))
    else:
        bounded, anywhere = listed, []
    parts = [rf"(?:\W|^)(?:{'|'.join(map(_escaped, bounded))})(?:\W|$)"] if bounded else []
    return "|".join([*parts, *map(_escaped, anywhere)]) or r"[^\s\S]"


def _escaped(word: str) -> str:
    return "".join(f"\\{c}" if c in r"\.+*?()|[]{}^$#&-~" else c for c in word)


def _draw(text: str) -> float:
    return int.from_bytes(blake3(text.encode()).digest(length=7), "little") / (1 << 56)


def _shipped(language: str) -> list[str]:
    import orjson

    package = Package(
        "npm", "naughty-words", "1.2.0", "c34b05e10a97ec7b9e0c3dd91d09888187c0f08d0812eaea79679795585b217e", 0.02
    )
    names = {
        name.rpartition("/")[2].removesuffix(".json"): name for name, _ in package.members() if name.endswith("json")
    }
    listed = sorted(set(names) - {"package", "bower", "package-lock"})
    if language not in listed:
        raise RecipeError(f"rule 'badwords': there is no list for language {language!r}, only for {', '.join(listed)}")
    return orjson.loads(package.read(names[language]))
