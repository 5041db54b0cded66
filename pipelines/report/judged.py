"""The verdicts of a judge on each mix's answers: the rows of `wins:MIX:SEED`, joined with the answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from windtunnel.pipelines.report.results import Results
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.printable import one_line

ROW = ("document", "source", "win", "probability", "first", "second", "consistent", "longer")


@dataclass(frozen=True)
class Judged:
    """One mix and seed. `rows`: the columns of `ROW` and `differ`, about 100 bytes a row.

    `failed` pairs have no verdict and are in `rows` as consistent ties.
    """

    mix: str
    judge: str
    rows: pl.DataFrame
    failed: int
    answers: Artifact | None
    baseline: Artifact | None


@dataclass(frozen=True)
class Tally:
    """Counts over pairs; `judged` pairs have different answers and a verdict."""

    pairs: int
    wins: int
    losses: int
    equal: int  # the same answer twice: not judged
    failed: int
    swapped: int  # the two orders contradict each other
    judged: int
    first_won: int  # verdicts for the answer shown first, of `verdicts` in all, two a pair
    verdicts: int
    decided: int  # one answer won in both orders, and their lengths differ
    longer_won: int
    longer: int  # pairs where the mix's answer is the longer one
    lengths: int  # pairs of unequal length

    @property
    def ties(self) -> int:
        """Pairs neither won nor lost."""
        return self.pairs - self.wins - self.losses


def judged(results: Results) -> list[Judged]:
    """Return the judged answers of every run that has some, but of the baseline, which is judged against itself."""
    runs = [
        _judged(results, mix, artifact)
        for mix, by_seed in results.by_run("wins").items()
        for artifact in by_seed.values()
        if mix != results.baseline and (artifact.path / "scores.parquet").exists()
    ]
    return [run for run in runs if run.rows.height]


def _judged(results: Results, mix: str, artifact: Artifact) -> Judged:
    manifest = artifact.manifest
    mine, theirs = (results.by_directory(manifest.inputs.get(role)) for role in ("answers", "baseline"))
    rows = pl.read_parquet(artifact.path / "scores.parquet", columns=list(ROW))
    return Judged(
        mix=mix,
        judge=one_line(next(iter(manifest.config.get("judge") or {}), "a model"), 40),
        rows=_with_differ(rows, mine, theirs),
        failed=sum((manifest.counts.get("unreadable") or {}).values()),
        answers=mine,
        baseline=theirs,
    )


def _with_differ(rows: pl.DataFrame, mine: Artifact | None, theirs: Artifact | None) -> pl.DataFrame:
    """Add whether the two answers differ; where they were deleted, a tie of equal length counts as equal answers."""
    if files := _files(mine, theirs):
        one, other = (pl.read_parquet(file, columns=["document", "answer"]).unique("document") for file in files)
        both = one.join(other, on="document").select("document", differ=pl.col("answer") != pl.col("answer_right"))
        return rows.join(both, on="document", how="left", maintain_order="left").with_columns(
            pl.col("differ").fill_null(True)
        )
    even = (pl.col("probability") == 0.5) & pl.col("consistent") & pl.col("longer").is_null()
    return rows.with_columns(differ=~even)


def tally(runs: list[Judged]) -> Tally:
    """Return the counts of runs together, at least one."""
    rows = pl.concat([run.rows for run in runs])
    decided = rows.filter((pl.col("win") != 0.5) & pl.col("longer").is_not_null())
    asked = int(rows["differ"].sum())
    failed = min(asked, sum(run.failed for run in runs))
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


def texts(run: Judged, documents: list[str]) -> dict[str, dict[str, Any]]:
    """Return prompt, answer and the baseline's answer of some questions by document; none when they were deleted."""
    files = _files(run.answers, run.baseline)
    if not files:
        return {}
    mine, theirs = (pl.scan_parquet(file).filter(pl.col("document").is_in(documents)) for file in files)
    both = mine.select("document", "prompt", "answer").join(theirs.select("document", other="answer"), on="document")
    return {row["document"]: row for row in both.collect().to_dicts()}


def _files(*artifacts: Artifact | None) -> list[Path]:
    """Return the files of answers of artifacts; empty when one is missing."""
    files = [artifact.path / "answers.parquet" for artifact in artifacts if artifact is not None]
    return files if len(files) == len(artifacts) and all(file.exists() for file in files) else []
