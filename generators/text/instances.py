"""Worked examples of a model's reply: parsing, and the rules by which Self-Instruct drops some of them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

_EXAMPLE = re.compile(r"(?:^|\n)[ \t]*Example[ \t]*\d*[ \t]*[.:]?[ \t]*(?=\n|$|Input|Output)", re.IGNORECASE)
_INPUT = re.compile(r"(?:^|\n)[ \t]*Input[ \t]*:", re.IGNORECASE)
_OUTPUT = re.compile(r"(?:^|\n)[ \t]*Output[ \t]*:", re.IGNORECASE)
_LABEL = re.compile(r"(?:^|\n)[ \t]*(?:Class[ \t]+)?Label[ \t]*:", re.IGNORECASE)
_TASK = re.compile(r"\n[ \t]*Task[ \t]*:", re.IGNORECASE)
_NOTHING = re.compile(r"[\[(<]?(none|no input|n/?a|not applicable|empty|-)[\])>]?\.?", re.IGNORECASE)


@dataclass(frozen=True)
class Example:
    """One parsed input and output; `reason` is set when it is refused."""

    input: str
    output: str
    complete: bool = True
    reason: str | None = None


def input_first(reply: str, truncated: bool) -> list[Example]:
    """Parse `Example 1 / Input: ... / Output: ...` blocks; the heading of the first block precedes the reply."""
    examples = []
    for block in _EXAMPLE.split(_TASK.split(reply, maxsplit=1)[0]):
        parts = _OUTPUT.split("\n" + block.strip(), maxsplit=1)
        if len(parts) == 2:
            given = _INPUT.split(parts[0], maxsplit=1)
            # a second `Output:` or `Input:` belongs to an example without a heading
            output = _INPUT.split(_OUTPUT.split(parts[1], maxsplit=1)[0], maxsplit=1)[0]
            examples.append(Example(meant(given[1]) if len(given) == 2 else "", output.strip()))
    return _marked(examples, truncated)


def output_first(reply: str, truncated: bool) -> list[Example]:
    """Parse `Label: ... / Input: ...` blocks; the first `Label:` precedes the reply."""
    examples = []
    for block in _LABEL.split(_TASK.split(reply, maxsplit=1)[0]):
        if block.strip():
            label, *rest = _INPUT.split("\n" + block.strip(), maxsplit=1)
            examples.append(Example(meant(rest[0]) if rest else "", label.strip()))
    return _marked(examples, truncated)


def clean(examples: Sequence[Example], most: int, rng: random.Random) -> list[Example]:
    """Return the examples with a reason on each that is refused; at most `most` have none.

    The rules of Self-Instruct (Wang et al. 2022) refuse the last example of a truncated reply, outputs that are empty
    or equal to the input, texts that end in a colon, all examples of an instruction with two outputs for one input,
    repetitions, and examples beyond a random sample of `most`.
    """
    judged = [replace(e, reason=_reason(e)) for e in examples]
    outputs: dict[str, set[str]] = {}
    for e in judged:
        if e.reason is None and e.input:
            outputs.setdefault(e.input, set()).add(e.output)
    contradictory = any(len(values) > 1 for values in outputs.values())
    seen: set[tuple[str, str]] = set()
    fine: list[int] = []
    for i, e in enumerate(judged):
        if e.reason is not None:
            continue
        if contradictory or (e.input, e.output) in seen:
            judged[i] = replace(e, reason="contradiction" if contradictory else "repeated")
        else:
            seen.add((e.input, e.output))
            fine.append(i)
    for i in set(fine) - set(rng.sample(fine, min(most, len(fine)))):
        judged[i] = replace(judged[i], reason="beyond_sample")
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
    """Return an input's text, "" for `None`, `N/A` and the like."""
    value = value.strip()
    return "" if _NOTHING.fullmatch(value) else value


def _marked(examples: list[Example], truncated: bool) -> list[Example]:
    if truncated and examples:
        examples[-1] = replace(examples[-1], complete=False)
    return examples
