"""The last step of a plan: one self-contained HTML page from the artifacts of all other steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from windtunnel.pipelines.report.collect import collect
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.work import Counts, Work


class Report(Work):
    """Write `report.html`. Inputs: every other step of the plan, by name."""

    version: ClassVar[int] = 9
    recipe: dict[str, Any]

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.pipelines.report.page import write_report

        write_report(collect(self.recipe, inputs), out / "report.html")
        return Counts()
