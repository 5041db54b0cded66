"""The mix step of mixes with phases, with shares by a power of the sizes, or with an order of the documents.

mix.json has, beside what weights alone give, `phases`: where each ends, and the first and last share of each corpus in
it, and `order`. realised.parquet has the column `phase` where there is more than one. A corpus's weight is its share of
the whole budget, and so are its epochs, which the cap is about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from windtunnel.pipelines.datasets.mix import (
    Weight,
    check_epochs,
    domain_of,
    lay_down,
    shares,
    sources_of,
    spread,
)
from windtunnel.schemas.artifact import Artifact, write_parquet
from windtunnel.schemas.errors import InputError, nearest
from windtunnel.schemas.role import Role
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.data.sampler import order_file

ENDS = ("first", "last")
OF_TOKENS = ("tokens", "bytes")  # values of documents that their tokens are kept with


class PhaseOfMix(BaseModel):
    """Shares until a share of the budget; `alpha` is the power of sizes, of corpora that count by size."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    weights: dict[str, Weight] = Field(min_length=1)
    until: float = 1.0
    alpha: float = 1.0
    ramp: bool = False  # from the shares of the phase before to these, in a straight line


class OrderOfMix(BaseModel):
    """The value of documents that they are ordered by, within each corpus and epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    by: str
    direction: Literal["ascending", "descending"] = "ascending"


class PlannedMix(Work):
    """Lay down a mix that changes in time; inputs are `tokens:<corpus>`, and `corpus:<corpus>` for measured values."""

    phases: tuple[PhaseOfMix, ...] = Field(min_length=1)
    order: OrderOfMix | None = None
    token_budget: int = Field(gt=0)
    max_epochs: float = Field(4.0, gt=0)
    context: int = Field(256, gt=0)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        names = list(dict.fromkeys(name for phase in self.phases for name in phase.weights))
        tables = {name: sources_of(inputs[Role("tokens", name)], name) for name in names}
        course = self._course(tables)
        given = [{name: _given(phase, name) for name in names} for phase in course]  # shares of the whole budget
        weights = {name: math.fsum(phase[name] for phase in given) for name in names}
        domains = [domain_of(name, weight, tables[name], self.token_budget) for name, weight in weights.items()]
        check_epochs(domains, self.token_budget, self.max_epochs)
        rows = []
        for number, phase in enumerate(given, start=1):
            epochs = {d["name"]: d["epochs"] * phase[d["name"]] / d["weight"] for d in domains}
            tokens = [spread(name, tables[name], epochs[name]) for name in names if epochs[name] > 0]
            rows += [table.select(pl.lit(number, pl.Int64).alias("phase"), pl.all()) for table in tokens]
        more: dict[str, Any] = {"phases": course} if len(course) > 1 else {}
        if len(course) == 1:
            rows = [table.drop("phase") for table in rows]
        without: dict[str, int] = {}
        if self.order is not None:
            more["order"] = self.order.model_dump()
            for name in names:
                values = self._values(name, inputs, self.order.by)
                write_parquet(out / order_file(name), values)
                without[name] = values["value"].null_count()
        counts = lay_down(out, self, domains, rows, **more)
        counts.notes["shares"] = _words(course)
        if number := sum(without.values()):
            counts.notes["without_value"] = f"{number:,} documents have no number to be ordered by, and come last"
        return counts

    def _course(self, tables: Mapping[str, pl.DataFrame]) -> list[dict[str, Any]]:
        """Return where each phase begins and ends, with the first and last share of its corpora."""
        course: list[dict[str, Any]] = []
        begin, before = 0.0, dict[str, float]()
        for phase in self.phases:
            last = shares(phase.weights, tables, phase.alpha)
            course.append({"from": begin, "until": phase.until, "first": before if phase.ramp else last, "last": last})
            begin, before = phase.until, last
        return course

    def _values(self, name: str, inputs: Mapping[str, Artifact], by: str) -> pl.DataFrame:
        """Return the value of each document of the tokens of a corpus, in their order; null where it has none."""
        columns = ["id", *OF_TOKENS]
        rows = pl.concat([pl.read_parquet(f, columns=columns) for f in inputs[Role("tokens", name)].files("documents")])
        if by in OF_TOKENS:
            return rows.select(pl.col(by).cast(pl.Float64).alias("value"))
        measured = pl.concat([_measured(file, name, by) for file in inputs[Role("corpus", name)].files("kept")])
        values = rows.select("id").join(measured.unique("id"), on="id", how="left", maintain_order="left")
        if values["value"].null_count() == values.height:
            raise InputError(f"no document of the corpus {name!r} has a value of {by!r}, by which the mix is ordered")
        return values.select("value")


def _measured(file: Path, corpus: str, by: str) -> pl.DataFrame:
    """Return id and value of the documents of a file: of `meta.KEY`, or a measured value, which `why` holds."""
    frame = pl.scan_parquet(file)
    schema = frame.collect_schema()
    why = schema.get("why")
    measured = {field.name: field.dtype for field in why.fields} if isinstance(why, pl.Struct) else {}
    if by.startswith("meta."):
        text = pl.col("meta").str.json_path_match(f"$['{by.removeprefix('meta.')}']")
        return frame.select("id", text.cast(pl.Float64, strict=False).alias("value")).collect()
    numbers = [name for name, kind in measured.items() if kind.is_numeric() or kind == pl.Boolean]
    if by not in numbers:
        raise InputError(
            f"the documents of the corpus {corpus!r} have no number {by!r} to be ordered by: "
            f"{nearest(by, [*OF_TOKENS, *numbers])} (or meta.KEY)"
        )
    return frame.select("id", pl.col("why").struct.field(by).cast(pl.Float64).alias("value")).collect()


def _given(phase: Mapping[str, Any], name: str) -> float:
    """Return the share of the whole budget that a corpus gives in a phase."""
    mean = (phase["first"].get(name, 0.0) + phase["last"].get(name, 0.0)) / 2
    return (phase["until"] - phase["from"]) * mean


def _words(course: list[dict[str, Any]]) -> str:
    """Return the shares in words: `web 100 % until 80 % of the tokens, then web 50 %, hq 50 %`."""
    words = []
    for phase in course:
        first, last = (", ".join(f"{n} {100 * share:.3g} %" for n, share in phase[end].items()) for end in ENDS)
        whole = last if first == last else f"from {first} to {last}"
        words.append(whole if phase["until"] == 1.0 else f"{whole} until {100 * phase['until']:g} % of the tokens")
    return ", then ".join(words)
