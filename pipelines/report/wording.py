"""Verdicts in words, the same on the terminal and in the report: what was found, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from windtunnel.pipelines.report.printable import printable
from windtunnel.schemas.results import Comparison, Effect

LABEL = {
    "better": "better",
    "worse": "worse",
    "equivalent": "equivalent",
    "undecided": "not distinguishable",
}
MINUS = "\u2212"
WIDE = 0.05  # half an interval of a share from which a reader is told that it is wide


class Wording(NamedTuple):
    """How a further comparison is spoken of: its name, what its values are, and what they are counted over."""

    name: str
    value: str
    items: str


FURTHER = {
    "preferences": Wording("held-out preferences", "share right", "pairs"),
    "tasks": Wording("checkable tasks", "share right", "items"),
    "win_rate": Wording("win rate by a judge", "wins, a tie as half", "questions"),
}


def signed(value: float | None, digits: int = 4) -> str:
    """Return a number with its sign, a true minus, and no sign on a rounded zero."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def plain(value: float | None, digits: int = 4) -> str:
    """Return a number, or a dash when there is none."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def span(low: float | None, high: float | None, digits: int = 4) -> str:
    """Return an interval as `[low, high]`, or a dash when there is none."""
    return "–" if low is None or high is None else f"[{signed(low, digits)}, {signed(high, digits)}]"


def percent(share: float) -> str:
    """Return a share as `95%` or `99.9%`, with as many digits as keep one below 1 from reading 100%."""
    digits = next((d for d in range(4, 17) if share >= 1 or float(f"{100 * share:.{d}g}") < 100), 17)
    return f"{100 * share:.{digits}g}%"


def digits_for(comparison: Comparison) -> int:
    """Return how many decimals show the smallest interval with two significant digits, between 2 and 6."""
    widths = [e.high - e.low for e in comparison.effects if e.low is not None and e.high is not None and e.high > e.low]
    sizes = widths or [abs(e.effect) for e in comparison.effects if e.effect]
    digits = 4
    if sizes:
        digits = next((d for d in range(2, 6) if min(sizes) >= 10 ** (1 - d)), 6)
    return digits


def sentence(effect: Effect, unit: str, digits: int = 4) -> str:
    """Return the verdict of one mix in a sentence."""
    size = f"{plain(abs(effect.effect), digits)} {unit}"
    sure = f"{percent(effect.interval)} interval {span(effect.low, effect.high, digits)}, {_seeds(effect.seeds)}"
    way = "lower" if effect.effect < 0 else "higher"
    if effect.verdict in ("better", "worse"):
        return f"{effect.mix} is {effect.verdict} than {effect.baseline}: {size} {way} ({sure})."
    if effect.verdict == "equivalent":
        return (
            f"{effect.mix} and {effect.baseline} are equivalent: they differ by less than the margin of "
            f"{plain(effect.margin, digits).rstrip('0')} {unit} ({sure})."
        )
    if effect.low is None:
        return (
            f"{effect.mix} against {effect.baseline}: {size} {way} with one seed, which shows no spread; "
            f"{more_seeds(effect)}."
        )
    return f"{effect.mix} is not distinguishable from {effect.baseline}: {size} {way} ({sure}); {more_seeds(effect)}."


def more_seeds(effect: Effect) -> str:
    """Return what an undecided effect needs, in words."""
    if effect.seeds_needed is None:
        return effect.note or "more seeds would hardly help"
    more = max(1, effect.seeds_needed - effect.seeds)
    do = "would probably do" if effect.seeds > 1 else "would give a first interval"
    words = f"{more} more {'seed' if more == 1 else 'seeds'} {do}"
    return f"{effect.note}; {words}" if effect.note and effect.seeds > 1 else words


def headline(comparison: Comparison) -> str:
    """Return the answer to the question in one sentence: the best mix that is better, or that none is."""
    if not comparison.effects:
        return "There is only the baseline; nothing was compared."
    digits = digits_for(comparison)
    better = [e for e in comparison.effects if e.verdict == "better"]
    if better:
        return sentence(better[0], comparison.unit, digits)
    if len(comparison.effects) == 1:
        return sentence(comparison.effects[0], comparison.unit, digits)
    names = {v: [e.mix for e in comparison.effects if e.verdict == v] for v in LABEL}
    parts = []
    if names["worse"]:
        parts.append(f"{_and(names['worse'])} {_be(names['worse'])} worse")
    if names["equivalent"]:
        parts.append(f"{_and(names['equivalent'])} {_be(names['equivalent'])} equivalent to it")
    if names["undecided"]:
        parts.append(f"{_and(names['undecided'])} {_be(names['undecided'])} not distinguishable from it")
    return f"No mix is better than {comparison.baseline}: {'; '.join(parts)}."


def split_by_source(mix: str, comparison: Comparison, matrix: Sequence[Mapping[str, Any]]) -> str:
    """Return where a mix is surely better and where worse, with the share of the bytes; empty with one source.

    `matrix` holds the rows of loss_matrix.parquet. Surely: the cell's own interval leaves zero out.
    """
    rows = [row for row in matrix if row["mix"] == mix]
    if len(rows) < 2:
        return ""
    whole = sum(row["bytes"] for row in rows) or 1
    sides: dict[bool, list[str]] = {True: [], False: []}
    for row in sorted(rows, key=lambda r: (-r["bytes"], r["source"])):
        if row["low"] is not None and (row["low"] > 0 or row["high"] < 0):
            better = (row["effect"] < 0) == (comparison.direction == "lower")
            name = " ".join(printable(row["source"], 40).split())
            sides[better].append(f"{name} ({row['bytes'] / whole:.0%} of the bytes)")
    parts = [f"{word} on {_and(found)}" for word, found in (("better", sides[True]), ("worse", sides[False])) if found]
    words = "; ".join(parts) or "on no single source distinguishable"
    return f"By source: {words}."


def target(comparison: Comparison) -> str:
    """Return what the verdicts were measured on."""
    on = comparison.on
    domains = ", ".join(f"{d.name} {d.documents:,}" for d in on.domains)
    return f"{on.description} ({on.documents:,} documents, {on.bytes:,} bytes: {domains})"


def further(what: str, comparison: Comparison) -> Wording:
    """Return the words for the comparison `compare:WHAT`."""
    plain_name = " ".join(printable(what, 40).split()).replace("_", " ")
    return FURTHER.get(what) or Wording(plain_name, comparison.unit, "documents")


def width_note(effect: Effect, items: str) -> str:
    """Return what a wide interval of a share (0 to 1) leaves open, in a sentence; empty when it is not wide."""
    if effect.low is None or effect.high is None:
        return f"{effect.mix}: one seed shows no spread, so this is a figure and no finding."
    if effect.high - effect.low < 2 * WIDE:
        return ""
    wide = f"{effect.mix}: the interval is wide, {100 * (effect.high - effect.low):.0f} points in a hundred"
    on = f"on {effect.documents:,} {items} and {_seeds(effect.seeds)}"
    if effect.verdict in ("better", "worse"):
        return f"{wide} {on}; the direction is sure, the size is not."
    if effect.low < -WIDE and effect.high > WIDE:
        return f"{wide} {on}; it rules out neither a large gain nor a large loss."
    return f"{wide} {on}; a difference of {100 * max(abs(effect.low), abs(effect.high)):.0f} points is not ruled out."


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _be(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
