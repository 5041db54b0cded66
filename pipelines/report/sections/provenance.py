"""The origin of the texts and their licences."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.pipelines.report.results import Results, Section, read_json
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record

LIMITS = {"name": 60, "about": 200, "origin": 200, "licence": 80}  # characters shown


class Origin(Record):
    """One set of texts."""

    corpus: str
    name: str
    about: str
    origin: str
    licence: str
    packages: list[str]


class Provenance(Section):
    """Origins."""

    title: ClassVar[str] = "Provenance and licences"
    order: ClassVar[int] = 80

    origins: list[Origin]

    @classmethod
    def of(cls, results: Results) -> Provenance | None:
        reads = results.of_kind("read").items()
        origins = [_origin(corpus, fields) for corpus, artifact in reads for fields in _origins(artifact)]
        return cls(origins=origins) if origins else None


def _origin(corpus: str, fields: dict[str, Any]) -> Origin:
    texts = {name: one_line(fields.get(name, ""), limit) for name, limit in LIMITS.items()}
    packages = [one_line(package, 60) for package in fields.get("packages", [])]
    return Origin(corpus=corpus, packages=packages, **texts)


def _origins(artifact: Artifact) -> list[dict[str, Any]]:
    if known := read_json(artifact.path / "origins.json"):
        return [{"licence": "not stated", **origin} for origin in known]
    config = artifact.manifest.config
    params = config.get("params") or {}
    where = params.get("path") or params.get("name") or ""
    return [
        {
            "name": config.get("source", "files"),
            "about": f"{len(config.get('parts') or [])} part(s)",
            "origin": ", ".join(map(str, where)) if isinstance(where, (list, tuple)) else where,
            "licence": "not stated: see to it before you publish anything made from it",
        }
    ]
