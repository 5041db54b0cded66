"""Worked examples out of a model's reply: parsing, and Self-Instruct's rules for throwing some of them away."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

_EXAMPLE = re.compile(r"(?:^|\n)[ \t]*Example[ \t]*\d*[ \t]*[.:]?[ \t]*(?=\n|$|Input|Output)", re.IGNORECASE)
_INPUT = re.compile(r"(?:^|\n)[ \t]*Input[ \t]*:", re.IGNORECASE)
_OUTPUT = re.compile(r"(?:^|\n)[ \t]*Output[ \t]*:", re.IGNORECASE)
_LABEL = re.compile(r"(?:^|\n)[ \t]*(?:Class[ \t]+)?Label[ \t]*:", re.IGNORECASE)
_TASK = re.compile(r"\n[ \t]*Task[ \t]*:", re.IGNORECASE)
_NOTHING = re.compile(r"[\[(<]?(none|no input|n/?a|not applicable|empty|-)[\])>]?\.?", re.IGNORECASE)


@dataclass(frozen=True)
class Example:
    """One input and output as parsed; `reason` says why it was refused."""

    input: str
    output: str
    complete: bool = True
    reason: str | None = None


def input_first(reply: str, truncated: bool) -> list[Example]:
    """Parse `Example 1 / Input: ... / Output: ...` blocks; the heading of the first block stands before the reply."""
    blocks = _EXAMPLE.split(_TASK.split(reply, maxsplit=1)[0])
    found = []
    for block in blocks:
        parts = _OUTPUT.split("\n" + block.strip(), maxsplit=1)
        if len(parts) == 2:
            given = _INPUT.split(parts[0], maxsplit=1)
            # a second `Output:` or `Input:` belongs to an example whose heading the model left out
            output = _INPUT.split(_OUTPUT.split(parts[1], maxsplit=1)[0], maxsplit=1)[0]
            found.append(Example(meant(given[1]) if len(given) == 2 else "", output.strip()))
    return _mark(found, truncated)


def output_first(reply: str, truncated: bool) -> list[Example]:
    """Parse `Label: ... / Input: ...` blocks; the first `Label:` stands before the reply."""
    found = []
    for block in _LABEL.split(_TASK.split(reply, maxsplit=1)[0]):
        if block.strip():
            label, *rest = _INPUT.split("\n" + block.strip(), maxsplit=1)
            found.append(Example(meant(rest[0]) if rest else "", label.strip()))
    return _mark(found, truncated)


def clean(examples: Sequence[Example], most: int, rng: random.Random) -> list[Example]:
    """Return the examples with a reason on each that is refused; at most `most` have none.

    The rules of Self-Instruct (Wang et al. 2022): the last one of a cut reply, outputs equal to the input or empty,
    texts that end in a colon, all examples of an instruction that gives one input two outputs, repetitions, and what
    a random sample of `most` leaves over.
    """
    judged = [Example(e.input, e.output, e.complete, _reason(e)) for e in examples]
    outputs: dict[str, set[str]] = {}
    for e in judged:
        if e.reason is None and e.input:
            outputs.setdefault(e.input, set()).add(e.output)
    torn = any(len(values) > 1 for values in outputs.values())
    seen: set[tuple[str, str]] = set()
    fine: list[int] = []
    for i, e in enumerate(judged):
        if e.reason is None and torn:
            judged[i] = Example(e.input, e.output, e.complete, "contradiction")
        elif e.reason is None and (e.input, e.output) in seen:
            judged[i] = Example(e.input, e.output, e.complete, "repeated")
        elif e.reason is None:
            seen.add((e.input, e.output))
            fine.append(i)
    for i in set(fine) - set(rng.sample(fine, min(most, len(fine)))):
        judged[i] = Example(judged[i].input, judged[i].output, True, "beyond_sample")
    return judged


def _reason(example: Example) -> str | None:
    if not example.complete:
        return "truncated"
    if not example.output:
        return "empty_output"
    if example.input.strip() == example.output.strip():
        return "output_is_input"
    if example.input.endswith(":") or example.output.endswith(":"):
        return "ends_with_colon"
    return None


def meant(value: str) -> str:
    """Return an input's text; `None`, `N/A` and the like stand for no input."""
    value = value.strip()
    return "" if _NOTHING.fullmatch(value) else value


def _mark(examples: list[Example], truncated: bool) -> list[Example]:
    if truncated and examples:
        last = examples[-1]
        examples[-1] = Example(last.input, last.output, complete=False)
    return examples
