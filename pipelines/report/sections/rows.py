"""Sets of rows: what was read and lost on the way, what was kept apart from held-out questions, what models refused."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.pipelines.report.results import Results, Section
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import EncodedSet

STEPS = ("clean", "rows", "select")  # between reading and splitting, in order
LEAKS = ("asked_in_held_out", "near_held_out")


class SetOfRows(Record):
    """One set: the layout of its files, and rows in, unreadable, dropped and left, each with its reasons."""

    name: str
    layout: str
    seen: int
    unreadable: str
    dropped: str
    left: int


class Split(Record):
    """The training part of a set: rows that ask what is held out, or nearly that, are left out."""

    name: str
    kept: int
    held_out: int
    same: int
    near: int


class Encoding(Record):
    """The rows of one set and source in a mix, and why the template or the model refused some."""

    mix: str
    role: str
    set: str
    source: str
    rows: int
    kept: int
    tokens: int
    refused: str


class RowsSection(Section):
    """Rows from files to training."""

    title: ClassVar[str] = "Rows"
    order: ClassVar[int] = 55

    sets: list[SetOfRows]
    splits: list[Split]
    encoded: list[Encoding]
    withheld: list[str]

    @classmethod
    def of(cls, results: Results) -> RowsSection | None:
        names = [str(name) for name in results.recipe.get("rows") or {}]
        sets = [made for name in names if (made := _set(results, name)) is not None]
        splits = [_split(name, artifact) for name, artifact in results.of_kind("train_rows").items()]
        comparison = results.comparison
        encoded = comparison.encoded if comparison else {}
        parts = [_encoding(mix, part) for mix, of_mix in encoded.items() for part in of_mix]
        if not (sets or splits or parts):
            return None
        withheld = (
            [f"{one_line(e.mix, 40)}: {e.withheld}" for e in comparison.effects if e.withheld] if comparison else []
        )
        return cls(sets=sets, splits=splits, encoded=parts, withheld=withheld)


def _set(results: Results, name: str) -> SetOfRows | None:
    read = results.named("read", name)
    later = [artifact for step in STEPS if (artifact := results.named(step, name)) is not None]
    steps = [*([read] if read else []), *later]
    if not steps:
        return None
    counts = [artifact.manifest.counts for artifact in steps]
    dropped = [_reasons(of_step["dropped"]) for of_step in counts]
    return SetOfRows(
        name=one_line(name, 40),
        layout=_layout(read),
        seen=counts[0]["seen"],
        unreadable=_reasons(counts[0]["unreadable"]),
        dropped=", ".join(words for words in dropped if words),
        left=counts[-1]["kept"],
    )


def _layout(read: Artifact | None) -> str:
    config: dict[str, Any] = read.manifest.config if read else {}
    return next(iter(config.get("layout") or {}), "")


def _split(name: str, artifact: Artifact) -> Split:
    counts = artifact.manifest.counts
    same, near = (counts["dropped"].get(reason, 0) for reason in LEAKS)
    held_out = sum(counts["dropped"].values()) - same - near
    return Split(name=one_line(name, 40), kept=counts["kept"], held_out=held_out, same=same, near=near)


def _encoding(mix: str, part: EncodedSet) -> Encoding:
    return Encoding(
        mix=one_line(mix, 40),
        role=part.role.replace("held_out_", "held-out ") + (f" for {one_line(part.stage, 40)}" if part.stage else ""),
        set=one_line(part.set, 40),
        source=one_line(part.source, 40),
        rows=part.rows,
        kept=part.kept,
        tokens=part.tokens,
        refused=_reasons(part.refused) + (f". {part.mend}" if part.mend else ""),
    )


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{one_line(reason, 60)} {number:,}" for reason, number in counts.items())
