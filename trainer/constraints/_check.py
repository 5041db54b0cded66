"""Checks a constraint: replies that keep to it and others, with several parameters, and none of them raises."""

from __future__ import annotations

from collections.abc import Iterator

from windtunnel.schemas.finding import Finding, finding
from windtunnel.trainer.constraints._constraint import Constraint, Example

ODD = ("", "\n\n", "*", "\ud800", "a\x00b", "[" * 2000, "," * 2000, "\u202e" + "x" * 5000)


def check(cls: type[Constraint]) -> Iterator[Finding]:
    """Yield the outcome of the examples, and whether odd replies are judged too."""
    examples = getattr(cls, "examples", ())
    if not examples:
        yield Finding("examples", "no example: set `examples`")
        return
    for example in examples:
        parameters = dict(example.parameters)
        yield finding(f"{parameters} and {example.right!r}", lambda e=example: _holds(cls, e, e.right, True))
        yield finding(f"{parameters} and not {example.wrong!r}", lambda e=example: _holds(cls, e, e.wrong, False))
    yield finding("odd replies are judged", lambda: _odd(cls, examples[0]))


def _holds(cls: type[Constraint], example: Example, reply: str, expected: bool) -> str | None:
    found = cls(**example.parameters).holds(reply)
    return None if found is expected else f"expected {expected}, got {found!r}"


def _odd(cls: type[Constraint], example: Example) -> str | None:
    constraint = cls(**example.parameters)
    wrong = [reply for reply in ODD if not isinstance(constraint.holds(reply), bool)]
    return f"{wrong[0][:20]!r} is judged neither True nor False" if wrong else None
