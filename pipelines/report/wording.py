"""Effects and verdicts as text, the same on the terminal and in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import Comparison, Effect

LABEL = {
    "better": "better",
    "worse": "worse",
    "equivalent": "equivalent",
    "undecided": "not distinguishable",
}
MINUS = "\u2212"
WIDE = 0.05  # half width from which the interval of a share has a note


class Wording(NamedTuple):
    """The texts of a comparison: its name, its values, and the items that they are means over."""

    name: str
    value: str
    items: str


FURTHER = {
    "preferences": Wording("held-out preferences", "share right", "pairs"),
    "tasks": Wording("checkable tasks", "share right", "items"),
    "win_rate": Wording("win rate by a judge", "wins, a tie as half", "questions"),
}


class EffectCells(Record):
    """An effect as the cells of a table."""

    mix: str
    verdict: str
    label: str
    value: str
    effect: str
    interval: str
    p: str
    seeds: str

    @classmethod
    def of(cls, effect: Effect, digits: int = 4, **fields: Any) -> Self:
        """Return the cells; `seeds` is `3 of 12` where 12 would probably decide. `fields` go over these."""
        cells = {
            "mix": effect.mix,
            "verdict": effect.verdict,
            "label": LABEL[effect.verdict],
            "value": plain(effect.value, digits),
            "effect": signed(effect.effect, digits),
            "interval": span(effect.low, effect.high, digits),
            "p": p_value(effect),
            "seeds": f"{effect.seeds} of {effect.seeds_needed}" if effect.seeds_needed else str(effect.seeds),
        }
        return cls(**(cells | fields))


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


def p_value(effect: Effect) -> str:
    """Return p after Holm's correction in two digits, or a dash when there is none."""
    if effect.p_holm is None:
        return "–"
    return f"{effect.p_holm:.2g}" if effect.p_holm >= 1e-4 else "<0.0001"


def without_zero(low: float | None, high: float | None) -> bool:
    """Return whether there is an interval and zero lies outside it."""
    return low is not None and high is not None and (low > 0 or high < 0)


def percent(share: float) -> str:
    """Return a share as `95%` or `99.9%`, with enough digits that no share below 1 reads 100%."""
    digits = next((d for d in range(4, 17) if share >= 1 or float(f"{100 * share:.{d}g}") < 100), 17)
    return f"{100 * share:.{digits}g}%"


def digits_for(comparison: Comparison) -> int:
    """Return the number of decimals, 2 to 6, that shows the narrowest interval with two significant digits."""
    widths = [e.high - e.low for e in comparison.effects if e.low is not None and e.high is not None and e.high > e.low]
    sizes = widths or [abs(e.effect) for e in comparison.effects if e.effect]
    return next((d for d in range(2, 6) if min(sizes) >= 10 ** (1 - d)), 6) if sizes else 4


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
    """Return how many more seeds an undecided effect needs, as a phrase."""
    if effect.seeds_needed is None:
        return effect.note or "more seeds would hardly help"
    more = max(1, effect.seeds_needed - effect.seeds)
    outcome = "would probably do" if effect.seeds > 1 else "would give a first interval"
    phrase = f"{more} more {'seed' if more == 1 else 'seeds'} {outcome}"
    return f"{effect.note}; {phrase}" if effect.note and effect.seeds > 1 else phrase


_AGAINST = {
    "worse": "worse",
    "equivalent": "equivalent to it",
    "undecided": "not distinguishable from it",
}


def headline(comparison: Comparison) -> str:
    """Return the answer in one sentence: the best mix that is better than the baseline, or that none is."""
    if not comparison.effects:
        return "There is only the baseline; nothing was compared."
    better = [e for e in comparison.effects if e.verdict == "better"]
    if better or len(comparison.effects) == 1:
        return sentence((better or comparison.effects)[0], comparison.unit, digits_for(comparison))
    parts = []
    for verdict, phrase in _AGAINST.items():
        if names := [e.mix for e in comparison.effects if e.verdict == verdict]:
            parts.append(f"{_and(names)} {'is' if len(names) == 1 else 'are'} {phrase}")
    return f"No mix is better than {comparison.baseline}: {'; '.join(parts)}."


def split_by_source(mix: str, comparison: Comparison, matrix: Sequence[Mapping[str, Any]]) -> str:
    """Return the sources on which the interval of a mix excludes zero, better and worse; empty with one source.

    `matrix` holds the rows of loss_matrix.parquet.
    """
    rows = [row for row in matrix if row["mix"] == mix]
    if len(rows) < 2:
        return ""
    whole = sum(row["bytes"] for row in rows) or 1
    sides: dict[bool, list[str]] = {True: [], False: []}
    for row in sorted(rows, key=lambda r: (-r["bytes"], r["source"])):
        if without_zero(row["low"], row["high"]):
            better = (row["effect"] < 0) == (comparison.direction == "lower")
            sides[better].append(f"{one_line(row['source'], 40)} ({row['bytes'] / whole:.0%} of the bytes)")
    parts = [f"{word} on {_and(sides[side])}" for word, side in (("better", True), ("worse", False)) if sides[side]]
    return f"By source: {'; '.join(parts) or 'on no single source distinguishable'}."


def target(comparison: Comparison) -> str:
    """Return a description of the evaluation set of the verdicts."""
    on = comparison.on
    domains = ", ".join(f"{d.name} {d.documents:,}" for d in on.domains)
    return f"{on.description} ({on.documents:,} documents, {on.bytes:,} bytes: {domains})"


def further(what: str, comparison: Comparison) -> Wording:
    """Return the texts for the comparison `compare:WHAT`."""
    return FURTHER.get(what) or Wording(one_line(what, 40).replace("_", " "), comparison.unit, "documents")


def width_note(effect: Effect, items: str) -> str:
    """Return a sentence on what a wide interval of a share (0 to 1) leaves open; empty when it is not wide."""
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
