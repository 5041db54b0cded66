"""Effects and verdicts as text, the same on the terminal and in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import Comparison, Effect, Parts

LABEL = {
    "better": "better",
    "worse": "worse",
    "equivalent": "equivalent",
    "undecided": "not distinguishable",
}
MINUS = "\u2212"
RECIPE, COMMAND = "after: [{}]", "--after {}"  # how a recipe and `windtunnel effects` name looks taken
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
APART = "not comparable"  # in place of a verdict on a mix whose scores measure something else
WIDE = 0.05  # half width from which the interval of a share has a note


class Wording(NamedTuple):
    """The texts of a comparison: its name, its values, and the items that they are means over."""

    name: str
    value: str
    items: str


FURTHER = {
    "preferences": Wording("held-out preferences", "share right", "pairs"),
    "tasks": Wording("checkable tasks", "share right", "items"),
    "answers": Wording("exact answers on held-out rows", "share right", "questions"),
    "probe": Wording("linear probes of frozen vectors", "share right", "items"),
    "labels": Wording("labels of held-out rows", "share right", "rows"),
    "win_rate": Wording("win rate by a judge", "wins, a tie as half", "questions"),
}
SCORES = {  # names of the scores that tasks are compared by, where they are no shares of right answers
    "probability": "probability of the right answer",
    "probability norm": "probability of the right answer by byte",
    "token accuracy": "share of tokens found the likeliest",
    "word accuracy": "share of words found the likeliest",
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
            "label": label(effect),
            "value": plain(effect.value, digits),
            "effect": signed(effect.effect, digits),
            "interval": span(effect.low, effect.high, digits),
            "p": p_value(effect),
            "seeds": f"{effect.seeds} of {effect.seeds_needed}" if effect.seeds_needed else str(effect.seeds),
        }
        return cls(**(cells | fields))


def label(effect: Effect) -> str:
    """Return the outcome as a label."""
    if effect.withheld:
        return "reference" if effect.reference else "no verdict"
    return f"{_side(effect)}, size open" if effect.outcome == "direction" else LABEL[effect.verdict]


def signed(value: float | None, digits: int = 4) -> str:
    """Return a number with its sign, a true minus, and no sign on a rounded zero."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def plain(value: float | None, digits: int = 4) -> str:
    """Return a number with a true minus, and none on a rounded zero, or a dash when there is none."""
    return "–" if value is None else f"{value:z.{digits}f}".replace("-", MINUS)


def span(low: float | None, high: float | None, digits: int = 4) -> str:
    """Return an interval as `[low, high]`, or a dash when there is none."""
    return "–" if low is None or high is None else f"[{signed(low, digits)}, {signed(high, digits)}]"


def p_value(effect: Effect) -> str:
    """Return p after Holm's correction in two digits, or a dash when there is none."""
    if effect.p_holm is None:
        return "–"
    return f"{effect.p_holm:.2g}" if effect.p_holm >= 1e-4 else "<0.0001"


def percent(share: float) -> str:
    """Return a share as `95%` or `99.9%`, with enough digits that no share below 1 reads 100%."""
    digits = next((d for d in range(4, 17) if share >= 1 or float(f"{100 * share:.{d}g}") < 100), 17)
    return f"{100 * share:.{digits}g}%"


def digits_for(comparison: Comparison) -> int:
    """Return the number of decimals, 2 to 6, that shows the narrowest interval with two significant digits."""
    widths = [e.high - e.low for e in comparison.effects if e.low is not None and e.high is not None and e.high > e.low]
    sizes = widths or [abs(e.effect) for e in comparison.effects if e.effect]
    return next((d for d in range(2, 6) if min(sizes) >= 10 ** (1 - d)), 6) if sizes else 4


def sentence(effect: Effect, unit: str, digits: int = 4, option: str = RECIPE) -> str:
    """Return the outcome of one mix in a sentence; `option` is how a look taken is named, RECIPE or COMMAND."""
    size = _size(effect, unit, digits)
    mix, than, on = effect.mix, f"than {effect.baseline}", on_sources(effect)
    margin = f"{effect.margin:g} {unit}" if effect.margin else ""  # never rounded
    sure = _sure(effect, digits)
    note = f"; {effect.note}" if effect.note else ""
    if effect.withheld:
        return f"No verdict on {mix} against {effect.baseline}: {effect.withheld}."
    if effect.equal:
        told = "are equivalent" if effect.verdict == "equivalent" else "cannot be told apart"
        return f"{mix} and {effect.baseline} {told}{on}: {effect.note or 'their scores are equal in every run'}."
    if effect.verdict in ("better", "worse"):
        beyond = f", beyond the margin of {margin}" if margin else ""
        return f"{mix} is {effect.verdict} {than}{on}: {size}{beyond} ({sure}){note}."
    if effect.verdict == "equivalent" and excludes_zero(effect):
        return f"{mix} is {_side(effect)} {than}{on}, by less than matters ({margin}): {size} ({sure}){note}."
    if effect.verdict == "equivalent":
        return (
            f"{mix} and {effect.baseline} are equivalent{on}: they differ by less than the margin of {margin} "
            f"({sure}){note}."
        )
    more = more_seeds(effect, option)
    if effect.low is None:
        return f"{mix} against {effect.baseline}: {size} with one seed, which shows no spread; {more}."
    if effect.outcome == "direction":
        return f"{mix} is {_side(effect)} {than}{on}, perhaps by less than matters ({margin}): {size} ({sure}); {more}."
    seen = ""
    if effect.smallest_visible:
        least = plain(effect.smallest_visible, digits)
        seen = f"; a difference of {least} or more would probably have shown in these runs (80% power)"
    return f"{mix} is not distinguishable from {effect.baseline}{on}: {size} ({sure}){seen}; {more}."


def _size(effect: Effect, unit: str, digits: int) -> str:
    if effect.effect == 0:
        return "equal" if effect.low is None else "equal in the mean"
    text = plain(abs(effect.effect), digits)
    shown = text if float(text) else f"less than {10**-digits:.{digits}f}"
    return f"{shown} {unit} {'lower' if effect.effect < 0 else 'higher'}"


def incomparable_sentence(comparison: Comparison, mix: str) -> str:
    """Return why a mix has no effect, in a sentence."""
    return f"{mix} does not compare with {comparison.baseline}: {comparison.incomparable[mix]}."


def parts_sentence(parts: Parts, unit: str, digits: int = 4) -> str:
    """Return how an effect divides into the change of mixture and that of the documents, in a sentence."""
    mixture, documents = parts.mixture, parts.documents
    total = mixture.effect + documents.effect
    pieces = [
        f"{signed(part.effect, digits)} {span(part.low, part.high, digits)} is {what} ({_part(part)})"
        for part, what in ((mixture, "its mixture of sources"), (documents, "its documents within the sources"))
    ]
    return f"Of the {signed(total, digits)} {unit} of {documents.mix}, {pieces[0]} and {pieces[1]}."


def _part(effect: Effect) -> str:
    return "the same" if effect.equal else label(effect)


def on_sources(effect: Effect) -> str:
    """Return the population of a verdict, such as " on these five sources", where they are too few for others."""
    if not effect.few_sources:
        return ""
    number = NUMBERS[effect.sources] if effect.sources < len(NUMBERS) else str(effect.sources)
    return f" on these {number} sources"


def excludes_zero(effect: Effect) -> bool:
    """Return whether the direction is known after correction over the mixes."""
    return effect.p_holm is not None and effect.p_holm < 1 - effect.interval


def _sure(effect: Effect, digits: int) -> str:
    at = " of this look" if effect.looks or effect.after else ""
    text = f"{percent(effect.interval)} interval{at} {span(effect.low, effect.high, digits)}, {_seeds(effect.seeds)}"
    if effect.sources_low is not None and effect.few_sources:
        text += f"; for such sources in general {span(effect.sources_low, effect.sources_high, digits)}"
    return text


def _side(effect: Effect) -> str:
    return "better" if (effect.effect < 0) == (effect.direction == "lower") else "worse"


def more_seeds(effect: Effect, option: str = RECIPE) -> str:
    """Return what an undecided effect needs, as a phrase that says what to run and how to judge it."""
    if effect.seeds_needed is None:
        return effect.note or "more seeds would hardly help"
    if effect.seeds < 2:
        more = effect.seeds_needed - effect.seeds
        return f"{more} more {'seed' if more == 1 else 'seeds'} would give a first interval"
    spread = f" (10 to 90% range: {_range(effect)})" if effect.seeds_needed_low is not None else ""
    if effect.looks:
        phrase = f"the look at {effect.seeds_needed} seeds would probably decide{spread}"
    else:
        looks = ("," if option == COMMAND else ", ").join(map(str, [*effect.after, effect.seeds]))
        level = percent(effect.next_interval)
        phrase = (
            f"to decide, run {effect.seeds_needed:,} seeds in all{spread} and judge them with "
            f"`{option.format(looks)}`, by {level} intervals, or start afresh with declared looks"
        )
    return f"{effect.note}; {phrase}" if effect.note else phrase


def seeds_range(effect: Effect) -> str:
    """Return the seeds needed with their range, as `12 (6 to 132)`, or a dash."""
    if effect.seeds_needed is None:
        return "–"
    return f"{effect.seeds_needed:,}" + (f" ({_range(effect)})" if effect.seeds_needed_low is not None else "")


def _range(effect: Effect) -> str:
    most = "more than 1,000" if effect.seeds_needed_high is None else f"{effect.seeds_needed_high:,}"
    return f"{effect.seeds_needed_low:,} to {most}"


def _against(effect: Effect) -> str:
    if effect.withheld:
        return "without a verdict"
    if effect.outcome == "direction":
        return f"{_side(effect)}, perhaps by less than matters"
    if effect.verdict == "equivalent" and excludes_zero(effect):
        return f"{_side(effect)}, by less than matters"
    words = {"equivalent": "equivalent to it", "undecided": "not distinguishable from it"}
    return words.get(effect.verdict, effect.verdict)


def headline(comparison: Comparison) -> str:
    """Return the answer in one sentence: the best mix that is better than the baseline, or that none is."""
    effects = comparison.effects
    if not effects:
        others = _and(list(comparison.incomparable)) if comparison.incomparable else ""
        what = f"{others} cannot be compared with it" if others else "nothing was compared"
        return f"There is only the baseline; {what}."
    better = [e for e in effects if e.verdict == "better"]
    if better or len(effects) == 1:
        return sentence((better or effects)[0], comparison.unit, digits_for(comparison))
    groups: dict[str, list[str]] = {}
    for effect in sorted(effects, key=lambda e: ("worse", "equivalent", "direction", "undecided").index(e.outcome)):
        groups.setdefault(_against(effect), []).append(effect.mix)
    parts = [f"{_and(names)} {'is' if len(names) == 1 else 'are'} {phrase}" for phrase, names in groups.items()]
    matters = " by a difference that surely matters" if any(p.startswith("better") for p in groups) else ""
    than = f"{comparison.baseline}{matters}{on_sources(effects[0])}"
    return f"No {comparison.called} is better than {than}: {'; '.join(parts)}."


def plural(word: str) -> str:
    """Return the plural of what is compared: mixes, variants, trainings."""
    return f"{word}es" if word.endswith("x") else f"{word}s"


def split_by_source(mix: str, direction: str, matrix: Sequence[Mapping[str, Any]]) -> str:
    """Return the sources on which a mix differs after correction over all sources and mixes; empty with one source.

    `direction` is that of better values, `matrix` holds the rows of loss_matrix.parquet; sources of few documents are
    never named.
    """
    rows = [row for row in matrix if row["mix"] == mix]
    if len(rows) < 2:
        return ""
    whole = sum(row["bytes"] for row in rows) or 1
    sides: dict[bool, list[str]] = {True: [], False: []}
    for row in sorted(rows, key=lambda r: (-r["bytes"], r["source"])):
        if row["named"]:
            better = (row["effect"] < 0) == (direction == "lower")
            sides[better].append(f"{one_line(row['source'], 40)} ({row['bytes'] / whole:.0%} of the bytes)")
    parts = [f"{word} on {_and(sides[side])}" for word, side in (("better", True), ("worse", False)) if sides[side]]
    few = sum(row["p"] is not None and row["p_holm"] is None for row in rows)
    if few == len(rows):
        return "By source: each rests on too few documents to be judged alone."
    parts = parts or ["on no single source distinguishable"]
    if few:
        others = "one other source rests" if few == 1 else f"{few} other sources rest"
        parts.append(f"{others} on too few documents to be judged")
    return f"By source: {'; '.join(parts)}."


def target(comparison: Comparison) -> str:
    """Return a description of the evaluation set of the verdicts."""
    on = comparison.on
    domains = ", ".join(f"{d.name} {d.documents:,}" for d in on.domains)
    return f"{on.description} ({on.documents:,} documents, {on.bytes:,} bytes: {domains})"


def further(what: str, comparison: Comparison) -> Wording:
    """Return the texts for the comparison `compare:WHAT`; WHAT of tasks may have a colon and the score."""
    found = FURTHER.get(what.partition(":")[0])
    if found is None:
        return Wording(one_line(what, 40).replace("_", " "), comparison.unit, "documents")
    if found.value != "share right" or comparison.unit == "correct":
        return found
    of_texts = found is FURTHER["tasks"] and comparison.unit == "token accuracy"
    name = "likelihood of texts" if of_texts else found.name
    return found._replace(name=name, value=SCORES.get(comparison.unit, one_line(comparison.unit, 40)))


def not_asked(comparison: Comparison) -> list[str]:
    """Return sentences on the questions that are not compared, one a reason and set of mixes with the same."""
    groups: dict[tuple[str, ...], list[str]] = {}  # (reason, number and task ...) -> mixes
    for mix, found in comparison.not_asked.items():
        for why in sorted({key.rpartition(":")[2] for key in found}):
            tasks = [(number, key.rpartition(":")) for key, number in found.items()]
            told = (f"{number:,} of {one_line(task, 60)}" for number, (task, _, reason) in tasks if reason == why)
            groups.setdefault((one_line(why, 40), *told), []).append(one_line(mix, 40))
    lines = []
    for (why, *told), mixes in groups.items():
        whom = "" if len(mixes) == len(comparison.not_asked) else f" of {_and(mixes)}"
        lines.append(f"Not asked{whom}, {why}: {'; '.join(told)}.")
    if comparison.left_out:
        lines.append(f"Not compared, as only some of the models were asked: {comparison.left_out:,}.")
    return lines


def judged_by(comparison: Comparison) -> str:
    """Return a sentence on the measures that runs judge pairs by; empty where all judge by the same."""
    groups: dict[str, list[str]] = {}
    for mix in comparison.values:
        if measure := comparison.judged_by.get(mix):
            groups.setdefault(one_line(measure.replace("_", " "), 80), []).append(one_line(mix, 40))
    if len(groups) < 2:
        return ""
    told = "; ".join(f"{_and(mixes)} by {measure}" for measure, mixes in groups.items())
    return f"Not all judge pairs by the same measure: {told}. The shares right compare, the margins do not."


def items_of(comparison: Comparison) -> dict[str, str]:
    """Return the number of items by task, as `4 of 30` where not all are compared, and of tasks without any."""
    numbers = {domain.name: domain.documents for domain in comparison.on.domains}
    numbers |= {task: 0 for task in comparison.questions if task not in numbers}
    whole = comparison.questions
    return {task: f"{n:,}" + (f" of {whole[task]:,}" if task in whole else "") for task, n in sorted(numbers.items())}


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
