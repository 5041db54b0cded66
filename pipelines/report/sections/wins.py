"""Win rates: a judge's verdicts on each mix's answers against the baseline's, and three pairs of answers."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.judged import Judged, Tally, judged, tally, texts
from windtunnel.pipelines.report.results import Results, Section
from windtunnel.schemas.printable import printable
from windtunnel.schemas.records import Record

EXAMPLES = 3
CHARACTERS = 500
OUTCOMES = {1.0: "wins in both orders", 0.0: "loses in both orders", 0.5: "a tie"}


class Pair(Record):
    """A question and both answers."""

    outcome: str
    question: str
    answer: str
    baseline: str


class Wins(Record):
    """One mix, all seeds."""

    mix: str
    seeds: int
    tally: Tally
    win: float  # widths in per cent
    tie: float
    loss: float
    win_rate: str
    consistent: str
    first_won: str
    longer_won: str
    longer: str
    examples: list[Pair]


class WinRates(Section):
    """Shares of wins, ties and losses."""

    title: ClassVar[str] = "Win rates"
    order: ClassVar[int] = 26

    baseline: str
    judges: list[str]
    mixes: list[Wins]

    @classmethod
    def of(cls, results: Results) -> WinRates | None:
        by_mix: dict[str, list[Judged]] = {}
        for run in judged(results):
            by_mix.setdefault(run.mix, []).append(run)
        if not by_mix:
            return None
        return cls(
            baseline=results.baseline or "the baseline",
            judges=sorted({run.judge for runs in by_mix.values() for run in runs}),
            mixes=[_wins(mix, runs) for mix, runs in by_mix.items()],
        )


def _wins(mix: str, runs: list[Judged]) -> Wins:
    total = tally(runs)
    win, loss = (round(100 * n / total.pairs, 3) for n in (total.wins, total.losses))
    return Wins(
        mix=mix,
        seeds=len(runs),
        tally=total,
        win=win,
        tie=round(100 - win - loss, 3),
        loss=loss,
        win_rate=units.share(total.wins + total.ties / 2, total.pairs),
        consistent=units.share(total.judged - total.swapped, total.judged),
        first_won=units.share(total.first_won, total.verdicts),
        longer_won=f"{units.share(total.longer_won, total.decided)} of {total.decided:,}",
        longer=units.share(total.longer, total.lengths),
        examples=_examples(runs[0]),
    )


def _examples(run: Judged) -> list[Pair]:
    """Return a win, a tie and a loss of a run, where it has such, each with the lowest document id."""
    rows = run.rows.filter(pl.col("differ")).sort("document")
    firsts = rows.group_by("win", maintain_order=True).head(1)
    others = rows.join(firsts, on="document", how="anti").sort("document")
    chosen = pl.concat([firsts.select(rows.columns), others]).head(EXAMPLES).sort("win", "document", descending=True)
    answers = texts(run, chosen["document"].to_list())
    return [
        Pair(
            outcome=OUTCOMES.get(row["win"], "") if row["consistent"] else "a tie: the two orders disagree",
            question=printable(answers[row["document"]]["prompt"], CHARACTERS),
            answer=printable(answers[row["document"]]["answer"], CHARACTERS),
            baseline=printable(answers[row["document"]]["other"], CHARACTERS),
        )
        for row in chosen.iter_rows(named=True)
        if row["document"] in answers
    ]
