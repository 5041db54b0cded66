"""Rewards of a model's own replies over its divergence from where it began, of trainings on replies."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl

from windtunnel.pipelines.report.charts import Tick, line, scale_for, series, ticks
from windtunnel.pipelines.report.results import Results, Section
from windtunnel.pipelines.report.wording import plain
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import Record

NEEDED = ("reward", "reward_deviation", "kl", "entropy", "length", "truncated", "failed", "same_reward")
POINTS = 20  # of a line: rounds are taken together
ALIKE = 1e-5  # of the rewards' size: a smaller deviation is what rounding leaves of rewards that are all the same


class Path(Record):
    """One mix: its line, and the means of its first and its last tenth of rounds."""

    mix: str
    series: str
    line: str
    seeds: int
    reward: tuple[str, str]
    kl: str
    entropy: tuple[str, str]
    length: tuple[str, str]
    truncated: str
    same: str
    failed: int


class Rewards(Section):
    """Reward over KL."""

    title: ClassVar[str] = "Rewards of own replies"
    order: ClassVar[int] = 32

    paths: list[Path]
    unscaled: list[str]  # mixes of which a first round had the same reward for all replies
    x_ticks: list[Tick]
    y_ticks: list[Tick]

    @classmethod
    def of(cls, results: Results) -> Rewards | None:
        logs = {mix: found for mix, runs in results.by_run("train").items() if (found := _rounds(list(runs.values())))}
        if not logs:
            return None
        lines = {mix: _line(rounds) for mix, rounds in logs.items()}
        x = scale_for((value for xs, _ in lines.values() for value in xs), zero=True)
        y = scale_for((value for _, ys in lines.values() for value in ys), zero=True)
        paths = []
        for number, (mix, rounds) in enumerate(logs.items()):
            first, last = _ends(rounds)
            pairs = {name: (f"{first[name]:.3g}", f"{last[name]:.3g}") for name in ("reward", "entropy", "length")}
            paths.append(
                Path(
                    mix=mix,
                    series=series(number),
                    line=line(*lines[mix], x, y),
                    seeds=len(rounds),
                    kl=plain(last["kl"], 2),
                    truncated=f"{last['truncated']:.1%}",
                    same=f"{last['same_reward']:.0%}",
                    failed=int(sum(float(log["failed"].sum()) for log in rounds)),
                    **pairs,
                )
            )
        unscaled = [mix for mix, rounds in logs.items() if not all(map(_deviation, rounds))]
        return cls(paths=paths, unscaled=unscaled, x_ticks=ticks(x, 5), y_ticks=ticks(y, 5, sign=True))


def _rounds(runs: list[Artifact]) -> list[pl.DataFrame]:
    """Return the rounds of every run that learnt from replies, one row a round."""
    found = []
    for artifact in runs:
        file = artifact.path / "log.parquet"
        if file.exists() and set(NEEDED) <= set(pl.read_parquet_schema(file)):
            log = pl.read_parquet(file).unique(NEEDED, keep="first", maintain_order=True)  # steps of a round share them
            found.append(log.select(NEEDED))
    return found


def _line(rounds: list[pl.DataFrame]) -> tuple[list[float], list[float]]:
    """Return KL and the gain of reward, means over seeds and stretches of rounds.

    The gain is in deviations of the first round, or in units of the reward where that round shows no spread.
    """
    fewest = min(log.height for log in rounds)
    parts = np.array_split(np.arange(fewest), min(POINTS, fewest))
    xs, ys = [], []
    for part in parts:
        kl, gain = [], []
        for log in rounds:
            kl.append(float(log["kl"].to_numpy()[part].mean()))
            reward, deviation = log["reward"].to_numpy(), _deviation(log) or 1.0
            gain.append((float(reward[part].mean()) - float(reward[0])) / deviation)
        xs.append(float(np.mean(kl)))
        ys.append(float(np.mean(gain)))
    return xs, ys


def _deviation(log: pl.DataFrame) -> float:
    """Return the deviation of the rewards of a run's first round; 0 where it is a residue of rounding."""
    first, size = float(log["reward_deviation"][0]), float(np.abs(log["reward"].to_numpy()).max())
    return first if first > ALIKE * size else 0.0


def _ends(rounds: list[pl.DataFrame]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the means of the first and of the last tenth of rounds over all runs."""
    tenth = [max(1, log.height // 10) for log in rounds]
    first = pl.concat([log.head(n) for log, n in zip(rounds, tenth, strict=True)]).mean().row(0, named=True)
    last = pl.concat([log.tail(n) for log, n in zip(rounds, tenth, strict=True)]).mean().row(0, named=True)
    return first, last
