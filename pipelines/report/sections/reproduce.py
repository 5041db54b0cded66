"""How to get the same again: the recipe, the versions, the keys of the artifacts."""

from __future__ import annotations

from typing import ClassVar

import yaml

from windtunnel.pipelines.report.made import Made, Section


class Reproduce(Section):
    """Recipe, versions, keys."""

    title: ClassVar[str] = "Reproduce"
    order: ClassVar[int] = 90

    recipe: str
    versions: dict[str, str]
    git: list[str]
    keys: dict[str, str]

    @classmethod
    def of(cls, made: Made) -> Reproduce | None:
        manifests = {name: a.manifest for name, a in made.artifacts.items() if a.done}
        versions: dict[str, set[str]] = {}
        for manifest in manifests.values():
            for package, version in manifest.versions.items():
                versions.setdefault(package, set()).add(version)
        return cls(
            recipe=yaml.safe_dump(
                dict(made.recipe), sort_keys=False, default_flow_style=None, allow_unicode=True, width=100
            ).strip(),
            versions={package: ", ".join(sorted(found)) for package, found in versions.items()},
            git=sorted({manifest.git for manifest in manifests.values() if manifest.git}),
            keys={name: manifest.key for name, manifest in manifests.items()},
        )
