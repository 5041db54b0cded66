"""The recipe, the versions of packages and the keys of the artifacts, from which the results can be reproduced."""

from __future__ import annotations

from typing import ClassVar

import yaml

from windtunnel.pipelines.report.results import Results, Section


class Reproduce(Section):
    """Recipe, versions, keys."""

    title: ClassVar[str] = "Reproduce"
    order: ClassVar[int] = 90

    recipe: str
    versions: dict[str, str]
    git: list[str]
    keys: dict[str, str]

    @classmethod
    def of(cls, results: Results) -> Reproduce | None:
        manifests = {name: artifact.manifest for name, artifact in results.finished.items()}
        versions: dict[str, set[str]] = {}
        for manifest in manifests.values():
            for package, version in manifest.versions.items():
                versions.setdefault(package, set()).add(version)
        style = {"sort_keys": False, "default_flow_style": None, "allow_unicode": True, "width": 100}
        return cls(
            recipe=yaml.safe_dump(dict(results.recipe), **style).strip(),
            versions={package: ", ".join(sorted(several)) for package, several in versions.items()},
            git=sorted({manifest.git for manifest in manifests.values() if manifest.git}),
            keys={name: manifest.key for name, manifest in manifests.items()},
        )
