"""The realised mixes: tokens by domain and source, and the number of epochs of each text."""

from __future__ import annotations

from typing import Any, ClassVar

import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.charts import series
from windtunnel.pipelines.report.results import Results, Section, read_json
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record

UNITS = {"": "tokens", "tokens": "target tokens", "bytes": "bytes of answers", "rows": "rows"}
PAIRS = ": pairs"  # of preferences, which a mix holds beside its conversations
MANY_EPOCHS = 4.0  # further repeats help less and less (Muennighoff et al. 2023)


class Part(Record):
    """The tokens of one source in one mix."""

    domain: str
    source: str
    series: str
    at: float
    width: float
    tokens: str
    share: str
    documents: str
    epochs: str
    often: bool


class MixBar(Record):
    """One mix."""

    name: str
    tokens: str
    parts: list[Part]


class Mixes(Section):
    """The composition of each mix."""

    title: ClassVar[str] = "Mixes"
    order: ClassVar[int] = 40

    mixes: list[MixBar]
    unit: str  # of the amounts: tokens of text, or what shares of rows are measured in
    of_rows: bool
    read: bool  # the documents are those that the runs read; otherwise as many as would give the tokens, read whole
    legend: list[tuple[str, str]]
    repeated: bool
    phases: bool

    @classmethod
    def of(cls, results: Results) -> Mixes | None:
        tables = {}
        of_pairs = {f"{name}{PAIRS}": artifact for name, artifact in results.of_kind("pairs").items()}
        for name, artifact in {**results.of_kind("mix"), **of_pairs}.items():
            plan, file = read_json(artifact.path / "mix.json"), artifact.path / "realised.parquet"
            if plan and file.exists():
                tables[name] = (plan, pl.read_parquet(file))
            elif plan and all("rows" in domain for domain in plan["domains"]):
                tables[name] = (plan, _rows(plan["domains"]))
        if not tables:
            return None
        sources = sorted({source for _, table in tables.values() for source in table["source"].to_list()})
        colour = {source: series(1 + number) for number, source in enumerate(sources)}
        names = [f"{name}{kind}" for name in results.mixes() for kind in ("", PAIRS)]
        order = [name for name in names if name in tables]
        runs = {name: _runs(results, artifact) for name, artifact in results.of_kind("mix").items()}
        read = all(runs.values())
        bars = [
            _bar(f"{name}{words}", _as_read(table, runs.get(name, []) if read else []), colour)
            for name in order
            for words, table in _phases(*tables[name])
        ]
        measured = {plan.get("by", "") for plan, _ in tables.values()}
        return cls(
            mixes=bars,
            unit=UNITS[measured.pop()],  # one recipe measures all its mixes alike
            read=read,
            of_rows=any("by" in plan for plan, _ in tables.values()),
            legend=[(one_line(source, 40), colour[source]) for source in sources],
            repeated=any(part.often for bar in bars for part in bar.parts),
            phases=any("phases" in plan for plan, _ in tables.values()),
        )


def _rows(domains: list[dict[str, Any]]) -> pl.DataFrame:
    """Return a mix of sets of rows in the columns of a mix of text, with the measured amount in place of tokens."""
    return pl.DataFrame(
        {
            "domain": [d["name"] for d in domains],
            "source": [d["name"] for d in domains],
            "tokens": [int(d["amount"]) for d in domains],
            "documents": [int(d["rows"]) for d in domains],
            "epochs": [d["copies"] / d["of"] if d["of"] else 0.0 for d in domains],
        }
    )


def _phases(plan: dict[str, Any], table: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """Return a mix as a whole, and after it each phase of a mix with phases, with words that tell them apart."""
    if "phase" not in table.columns:
        return [("", table)]
    # of a source with n documents, a phase of e epochs draws n * min(1, e), and the next one goes on where it ended
    there = (pl.col("documents") / pl.col("epochs").clip(upper_bound=1.0)).max()
    whole = table.group_by("domain", "source").agg(
        pl.col("tokens", "bytes", "epochs").sum(),
        (there * pl.col("epochs").sum().clip(upper_bound=1.0)).round().cast(pl.Int64).alias("documents"),
    )
    parts = [
        (f", {100 * phase['from']:g} to {100 * phase['until']:g} %", table.filter(pl.col("phase") == number))
        for number, phase in enumerate(plan["phases"], start=1)
    ]
    return [("", whole), *parts]


def _runs(results: Results, mix: Artifact) -> list[pl.DataFrame]:
    """Return what every run of a mix of text read."""
    files = [
        artifact.path / "realised.parquet"
        for artifact in results.of_kind("train").values()
        if artifact.manifest.inputs.get("mix") == mix.path.name
    ]
    frames = [pl.read_parquet(file) for file in files if file.exists()]
    return [frame for frame in frames if {"domain", "source", "documents"} <= set(frame.columns)]


def _as_read(table: pl.DataFrame, runs: list[pl.DataFrame]) -> pl.DataFrame:
    """Return a mix, or a phase of it, with the documents that its runs read, their mean.

    Of all phases together no more are read than there are, although one document's pieces may be in several phases.
    """
    keys = [name for name in ("phase", "domain", "source") if name in table.columns]
    runs = [
        run.group_by(keys).agg(pl.col("documents").sum().alias("read")) for run in runs if set(keys) <= set(run.columns)
    ]
    if not runs:
        return table
    read = pl.concat(runs).group_by(keys).agg(pl.col("read").mean().round().cast(pl.Int64))
    there = ((pl.col("documents") + 0.5) / pl.col("epochs").clip(1e-9, 1.0)).floor().cast(pl.Int64)
    return table.join(read, on=keys, how="left").with_columns(
        documents=pl.min_horizontal(pl.coalesce("read", "documents"), there)
    )


def _bar(name: str, table: pl.DataFrame, colour: dict[str, str]) -> MixBar:
    total = int(table["tokens"].sum()) or 1
    parts, at = [], 0.0
    for row in table.sort("domain", "source").iter_rows(named=True):
        width = 100 * row["tokens"] / total
        parts.append(
            Part(
                domain=one_line(row["domain"], 40),
                source=one_line(row["source"], 40),
                series=colour[row["source"]],
                at=round(at, 3),
                width=round(width, 3),
                tokens=units.count(row["tokens"]),
                share=units.share(row["tokens"], total),
                documents=units.count(row["documents"]),
                epochs=f"{row['epochs']:.2f}",
                often=row["epochs"] > MANY_EPOCHS,
            )
        )
        at += width
    return MixBar(name=name, tokens=units.count(total), parts=parts)
