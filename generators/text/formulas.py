"""Formulas in answers, compared by math-verify in a process with limits of time and memory.

SymPy can take for ever for `9^9^9^9`. Before that, what only looks like a formula is refused: unknown words, numbers
side by side, divisions without brackets whose end is open.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from windtunnel.schemas.limited_process import CallFailed, LimitedProcess, LimitExceeded

CPU_SECONDS, MEMORY_BYTES, REPLY_BYTES = 2, 1 << 29, 1 << 16
MOST_CHARACTERS, MOST_NESTED = 400, 12
_FUNCTIONS = (
    "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln",
    "exp", "sqrt", "pi", "inf",
)  # fmt: skip
_COMMANDS = frozenset((
    "frac", "sqrt", "pi", "alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "mu", "sigma", "phi",
    "omega", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "arcsin", "arccos", "arctan", "sinh",
    "cosh", "tanh", "begin", "end", "binom", "tbinom", "dbinom",
))  # fmt: skip
_ASSIGNMENT = re.compile(r"(\\?[A-Za-z]{1,8}(?:_\{?\w{1,3}\}?)?'?|[a-z]\([a-z]\))\s*=\s*([^=<>≈]*[^=<>≈!\s][^=<>≈]*)")
_OPERATOR = re.compile(r"[-+*/^=<>!|()\\]|\d")
_LETTER = re.compile(r"\\[a-zA-Z]+|[a-zA-Z]")
# 1.5.20 and v1.10 are versions or addresses, and 1011_2 is a number in a base that the parser leaves out
_NAMES = re.compile(r"\d\.\d+\.\d|(?<![a-zA-Z\\])[a-zA-Z]\d+\.\d|\d\s*_")
_RELATION = re.compile(r"<=|>=|!=|[=<>]")
_MATRIX = re.compile(r"\\(begin|end)\{([pbv]?matrix)\}")

_process = LimitedProcess(
    "windtunnel.generators.text.formula_check:same",
    cpu_seconds=CPU_SECONDS, memory_bytes=MEMORY_BYTES, reply_bytes=REPLY_BYTES,
)  # fmt: skip


class Undecided(Exception):
    """Two formulas whose comparison takes too long."""


def assignment(text: str) -> tuple[str, str]:
    """Return (name, value) of `x = 3`; the name is empty for other texts, which are returned as value."""
    match = _ASSIGNMENT.fullmatch(text)
    return (match[1], match[2].strip()) if match else ("", text)


def equal_formulas(a: str, b: str) -> bool:
    """Return whether two plain texts are formulas that are equal for all values. Raises Undecided."""
    first, second = formula(a), formula(b)
    if first is None or second is None:
        return False
    if first == second:
        return True
    if len(_RELATION.findall(a)) != len(_RELATION.findall(b)) or _other_case(first, second):
        return False
    result = _compared(*sorted((first, second)))
    if result is None:
        raise Undecided
    return result


def _other_case(a: str, b: str) -> bool:
    """Return whether a letter has another case in the other formula; the parser does not tell x from X."""
    differing = set(_LETTER.findall(a)) ^ set(_LETTER.findall(b))
    return len({letter.lower() for letter in differing}) < len(differing)


@lru_cache(maxsize=4096)
def _compared(a: str, b: str) -> bool | None:
    try:
        return bool(_process.call(a, b))
    except LimitExceeded:
        return None
    except CallFailed:
        return False


def formula(text: str) -> str | None:
    """Return a plain text as LaTeX, with exact fractions for decimals, or None if it is no formula."""
    if len(text) > MOST_CHARACTERS or not _OPERATOR.search(text) or re.search(r"[^\x00-\x7f]|[\"'$#@?:;`~]|\.\.", text):
        return None
    if re.search(r"(?<!_)\d[\s,]+\d|\d,|/\s*(?:\d+\s*[a-zA-Z(\\]|[a-zA-Z]\s*[a-zA-Z(])|\^\s*-?\w+\s*\^", text):
        return None
    if _NAMES.search(text) or not _balanced(text):
        return None
    bare = _MATRIX.sub(" ", text)
    if not all(command in _COMMANDS for command in re.findall(r"\\([a-zA-Z]+)", bare)):
        return None
    words = re.findall(r"(?<![a-zA-Z\\])[a-zA-Z]+", bare)
    if any(len(word) > 2 and word not in _FUNCTIONS for word in words):
        return None
    return _latex(text)


def _balanced(text: str) -> bool:
    """Return whether round and curly brackets close, at most MOST_NESTED in one another; parsers are slow otherwise."""
    depth = {"(": 0, "{": 0}
    for sign in text:
        pair = {")": "(", "}": "{"}.get(sign, sign)
        if pair in depth:
            depth[pair] += 1 if sign == pair else -1
            if not 0 <= depth[pair] <= MOST_NESTED:
                return False
    return not any(depth.values())


def _latex(text: str) -> str:
    text = re.sub(r"\d*\.\d+|\d+\.(?!\d)", _exact, text)
    text = re.sub(rf"(?<![a-zA-Z\\])({'|'.join(_FUNCTIONS)})(?![a-zA-Z])", r"\\\1 ", text).replace("\\inf ", "\\infty ")
    text = re.sub(r"\^\s*(-?\d+)", r"^{\1}", text)
    text = _roots(text)
    return text.replace("<=", "\\le ").replace(">=", "\\ge ").replace("!=", "\\ne ").replace("*", "\\cdot ")


def _exact(match: re.Match[str]) -> str:
    value = Fraction(f"0{match[0]}".removesuffix("."))
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}" if value.denominator > 1 else str(value.numerator)


def _roots(text: str) -> str:
    """Return `sqrt(x)` as the command with braces."""
    while match := re.search(r"\\sqrt\s*\(", text):
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += (text[end] == "(") - (text[end] == ")")
            end += 1
        text = f"{text[: match.start()]}\\sqrt{{{text[match.end() : end - 1 if not depth else end]}}}{text[end:]}"
    return re.sub(r"\\sqrt\s*(\d+)", r"\\sqrt{\1}", text)
