"""The step that refuses to let a judge label anything when it agrees too little with known labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from windtunnel.generators.judging.calibrate_judge import FILE
from windtunnel.schemas.artifact import Artifact, canonical_json, write_text
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.work import Counts, Work


class JudgeFloor(Work):
    """Writes `floor.json` when the judge reaches `min_agreement`. Input: `calibration`, its comparison with labels.

    Raises WindtunnelError, with the agreement and its interval, when it does not: steps that need this one then do not
    ask the judge.
    """

    version: ClassVar[int] = 1
    judge: str
    min_agreement: float = Field(gt=0, le=1)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        found = json.loads((inputs["calibration"].path / FILE).read_bytes())
        agreement, low, high, n = (found[name] for name in ("agreement", "low", "high", "n"))
        if agreement < self.min_agreement:
            undecided = " The interval reaches the floor: more pairs may decide." if high >= self.min_agreement else ""
            raise WindtunnelError(
                f"judge {self.judge!r} agrees with {agreement:.3f} [{low:.3f}, {high:.3f}] of {n} labels "
                f"({found['pairs']}; kappa {found['kappa']:.3f}), below the floor of {self.min_agreement:g}: it labels "
                f"nothing.{undecided} Take another judge or prompt, or lower `min_agreement:` and say so."
            )
        reached = {"judge": self.judge, "agreement": agreement, "low": low, "high": high, "n": n}
        write_text(out / "floor.json", canonical_json(reached | {"min_agreement": self.min_agreement}))
        return Counts(seen=1, kept=1)
