"""Win rates: what a judge said of each mix's answers beside the baseline's, and three pairs to read oneself."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.judged import Judged, Tally, judged, tally, texts
from windtunnel.pipelines.report.made import Made, Section
from windtunnel.pipelines.report.printable import printable
from windtunnel.schemas.records import Record

EXAMPLES = 3
CHARACTERS = 500
SAID = {1.0: "wins in both orders", 0.0: "loses in both orders", 0.5: "a tie"}


class Pair(Record):
    """A question and both answers."""

    said: str
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
    def of(cls, made: Made) -> WinRates | None:
        found = [each for each in judged(made) if each.rows.height]
        if not found:
            return None
        mixes = list(dict.fromkeys(each.mix for each in found))
        return cls(
            baseline=made.baseline or "the baseline",
            judges=sorted({each.judge for each in found}),
            mixes=[_wins(mix, [each for each in found if each.mix == mix]) for mix in mixes],
        )


def _wins(mix: str, runs: list[Judged]) -> Wins:
    found = tally(runs)
    win, loss = (round(100 * n / found.pairs, 3) for n in (found.wins, found.losses))
    return Wins(
        mix=mix,
        seeds=len(runs),
        tally=found,
        win=win,
        tie=round(100 - win - loss, 3),
        loss=loss,
        win_rate=units.share(found.wins + found.ties / 2, found.pairs),
        consistent=units.share(found.judged - found.swapped, found.judged),
        first_won=units.share(found.first_won, found.verdicts),
        longer_won=f"{units.share(found.longer_won, found.decided)} of {found.decided:,}",
        longer=units.share(found.longer, found.lengths),
        examples=_examples(runs[0]),
    )


def _examples(each: Judged) -> list[Pair]:
    """Return a win, a tie and a loss of the first seed where there are such, lowest document first; never a choice."""
    rows = each.rows.filter(pl.col("differ")).sort("document")
    firsts = rows.group_by("win", maintain_order=True).head(1)
    others = rows.join(firsts, on="document", how="anti").sort("document")
    chosen = pl.concat([firsts.select(rows.columns), others]).head(EXAMPLES).sort("win", "document", descending=True)
    found = texts(each, chosen["document"].to_list())
    return [
        Pair(
            said=SAID.get(row["win"], "") if row["consistent"] else "a tie: the two orders disagree",
            question=printable(found[row["document"]]["prompt"], CHARACTERS),
            answer=printable(found[row["document"]]["answer"], CHARACTERS),
            baseline=printable(found[row["document"]]["other"], CHARACTERS),
        )
        for row in chosen.iter_rows(named=True)
        if row["document"] in found
    ]
