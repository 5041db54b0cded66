"""The comparison of two formulas by math-verify; it runs in a process with limits, see formulas.py."""

from __future__ import annotations

from typing import Any

from latex2sympy2_extended import latex2sympy
from latex2sympy2_extended.logic import And
from math_verify import verify
from sympy import Basic, Eq, MatrixBase, Ne
from sympy.core.relational import Relational


def same(first: str, second: str) -> bool:
    """Return whether two formulas in LaTeX are of one kind and equal both ways; relations have equal sides."""
    a, b = latex2sympy(first), latex2sympy(second)
    if isinstance(a, And) and isinstance(b, And):
        pairs = [[_same_relation(x, y) for y in b.args] for x in a.args]
        return all(map(any, pairs)) and all(map(any, zip(*pairs, strict=True)))
    if isinstance(a, (Relational, And)) or isinstance(b, (Relational, And)):
        return _same_relation(a, b)
    return isinstance(a, MatrixBase) == isinstance(b, MatrixBase) and _equal(a, b)


def _same_relation(a: Basic, b: Basic) -> bool:
    """Return whether the differences of the sides are equal; equations are not solved, since two without a solution
    would be equal."""
    if not isinstance(a, Relational) or not isinstance(b, Relational):
        return False
    difference, other, turned = a.lhs - a.rhs, b.lhs - b.rhs, b.rhs - b.lhs
    straight = type(a) is type(b) and _equal(difference, other)
    if straight or type(a) is not type(b.reversed):
        return straight
    return (isinstance(a, (Eq, Ne)) or type(a) is not type(b)) and _equal(difference, turned)


def _equal(a: Any, b: Any) -> bool:
    options: dict[str, Any] = {"strict": True, "timeout_seconds": None, "raise_on_error": True}
    return bool(verify(a, b, **options) and verify(b, a, **options))
