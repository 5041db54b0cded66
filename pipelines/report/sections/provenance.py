"""Where the text came from and under which licence."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.pipelines.report.made import Made, Section, read_json, shown
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import Record


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
    def of(cls, made: Made) -> Provenance | None:
        found = [origin for name, artifact in made.of_kind("read").items() for origin in _origins(name, artifact)]
        return cls(origins=found) if found else None


def _origins(corpus: str, artifact: Artifact) -> list[Origin]:
    known: list[dict[str, Any]] = read_json(artifact.path / "origins.json") or []
    if known:
        return [
            Origin(
                corpus=corpus,
                name=shown(o.get("name", ""), 60),
                about=shown(o.get("about", ""), 200),
                origin=shown(o.get("origin", ""), 200),
                licence=shown(o.get("licence", "not stated"), 80),
                packages=[shown(p, 60) for p in o.get("packages", [])],
            )
            for o in known
        ]
    config = artifact.manifest.config
    params = config.get("params") or {}
    where = params.get("path") or params.get("name") or ""
    listed = ", ".join(map(str, where)) if isinstance(where, (list, tuple)) else str(where)
    return [
        Origin(
            corpus=corpus,
            name=shown(config.get("source", "files"), 60),
            about=f"{len(config.get('parts') or [])} part(s)",
            origin=shown(listed, 200),
            licence="not stated: see to it before you publish anything made from it",
            packages=[],
        )
    ]
