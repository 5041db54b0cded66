"""What the judge said of each mix's answers: the rows of `wins:MIX:SEED`, joined with the answers that it read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from windtunnel.pipelines.report.made import Made, shown
from windtunnel.schemas.artifact import Artifact

ROW = ("document", "source", "win", "probability", "first", "second", "consistent", "longer")


@dataclass(frozen=True)
class Judged:
    """One mix and seed. `rows`: the columns of `ROW` and `differ` (about 100 bytes each).

    `failed` pairs have no verdict and stand in `rows` as consistent ties.
    """

    mix: str
    seed: str
    judge: str
    rows: pl.DataFrame
    failed: int
    answers: Artifact | None
    baseline: Artifact | None


@dataclass(frozen=True)
class Tally:
    """Counts over pairs. `asked` pairs had different answers; `judged` ones got a verdict."""

    pairs: int
    wins: int
    losses: int
    equal: int  # the same answer twice: nobody was asked
    failed: int
    swapped: int  # the two orders contradict each other
    judged: int
    first_won: int  # verdicts for whichever answer stood first, of `verdicts` in all, two a pair
    verdicts: int
    decided: int  # one answer won in both orders, and their lengths differ
    longer_won: int
    longer: int  # pairs where the mix's answer is the longer one
    lengths: int  # pairs of unequal length

    @property
    def ties(self) -> int:
        """All that is neither won nor lost."""
        return self.pairs - self.wins - self.losses


def judged(made: Made) -> list[Judged]:
    """Return the judged answers of every mix but the baseline, which would be judged against itself."""
    found = []
    for mix, runs in made.by_run("wins").items():
        if mix == made.baseline:
            continue
        for seed, artifact in runs.items():
            if (artifact.path / "scores.parquet").exists():
                found.append(_judged(made, mix, seed, artifact))
    return found


def _judged(made: Made, mix: str, seed: str, artifact: Artifact) -> Judged:
    manifest = artifact.manifest
    mine, theirs = (made.by_directory(manifest.inputs.get(role, "")) for role in ("answers", "baseline"))
    rows = pl.read_parquet(artifact.path / "scores.parquet", columns=list(ROW))
    return Judged(
        mix=mix,
        seed=seed,
        judge=shown(next(iter(manifest.config.get("judge") or {}), "a model"), 40),
        rows=_with_differ(rows, mine, theirs),
        failed=sum((manifest.counts.get("unreadable") or {}).values()),
        answers=mine,
        baseline=theirs,
    )


def _with_differ(rows: pl.DataFrame, mine: Artifact | None, theirs: Artifact | None) -> pl.DataFrame:
    """Add whether the two answers differ; without the answers, an equally long even tie is taken for equal ones."""
    if mine is not None and theirs is not None and _answers(mine).exists() and _answers(theirs).exists():
        one, other = (
            pl.read_parquet(_answers(a), columns=["document", "answer"]).unique("document") for a in (mine, theirs)
        )
        both = one.join(other, on="document").select("document", differ=pl.col("answer") != pl.col("answer_right"))
        return rows.join(both, on="document", how="left", maintain_order="left").with_columns(
            pl.col("differ").fill_null(True)
        )
    even = (pl.col("probability") == 0.5) & pl.col("consistent") & pl.col("longer").is_null()
    return rows.with_columns(differ=~even)


def tally(found: list[Judged]) -> Tally:
    """Return the counts of some mixes and seeds together."""
    parts = [each.rows for each in found]
    rows = pl.concat(parts) if parts else pl.DataFrame(schema=dict.fromkeys(ROW, pl.Null))
    decided = rows.filter((pl.col("win") != 0.5) & pl.col("longer").is_not_null())
    asked = int(rows["differ"].sum())
    failed = min(asked, sum(each.failed for each in found))
    return Tally(
        pairs=rows.height,
        wins=rows.filter(pl.col("win") == 1).height,
        losses=rows.filter(pl.col("win") == 0).height,
        equal=rows.height - asked,
        failed=failed,
        swapped=rows.filter(~pl.col("consistent")).height,
        judged=asked - failed,
        first_won=rows.filter(pl.col("first") > 0.5).height + rows.filter(pl.col("second") < 0.5).height,
        verdicts=rows.filter(pl.col("first") != 0.5).height + rows.filter(pl.col("second") != 0.5).height,
        decided=decided.height,
        longer_won=decided.filter((pl.col("win") == 1) == pl.col("longer")).height,
        longer=int(rows["longer"].sum() or 0),
        lengths=rows["longer"].count(),
    )


def texts(each: Judged, documents: list[str]) -> dict[str, dict[str, Any]]:
    """Return prompt, answer and the baseline's answer of some questions by document; none when they were deleted."""
    if each.answers is None or each.baseline is None:
        return {}
    if not (_answers(each.answers).exists() and _answers(each.baseline).exists()):
        return {}
    wanted = pl.col("document").is_in(documents)
    mine = pl.scan_parquet(_answers(each.answers)).filter(wanted).select("document", "prompt", "answer")
    theirs = pl.scan_parquet(_answers(each.baseline)).filter(wanted).select("document", other="answer")
    return {row["document"]: row for row in mine.join(theirs, on="document").collect().to_dicts()}


def _answers(artifact: Artifact) -> Path:
    return artifact.path / "answers.parquet"
