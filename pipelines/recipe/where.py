"""Conditions on document columns: `lang = en and source in (api_docs, drama)`.

Columns: id, source, url, lang and meta.KEY. Values: words, or text in quotes. Operators: = and !=; < <= > >= between
numbers; `in (a, b)`, `not in (a, b)`, `is null`, `is not null`, `and`, `or`, `not`, parentheses.
polars' SQL expressions do not replace the parser: they take `en` for a column, raise where a text column is compared
with a number, and accept functions, aggregates and subqueries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from windtunnel.schemas.errors import nearest

COLUMNS = ("id", "source", "url", "lang")
MAX_DEPTH = 50
_TOKEN = re.compile(r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<mark><=|>=|!=|==|[=<>(),])|(?P<word>[^\s"'=<>!(),]+))""")
_KEYWORDS = ("and", "or", "not", "in", "is", "null")


@dataclass(frozen=True)
class Compare:
    """column OP value; `op` is one of = != < <= > >=."""

    column: str
    op: str
    value: str


@dataclass(frozen=True)
class In:
    """column in (values); with one value None it is `column is null`."""

    column: str
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class Not:
    """The negation of a condition."""

    inner: Condition


@dataclass(frozen=True)
class Both:
    """Two conditions joined by and / or."""

    joiner: Literal["and", "or"]
    left: Condition
    right: Condition


Condition = Compare | In | Not | Both


def parse(text: str) -> Condition:
    """Return the condition written in `text`. Raises ValueError with the place and the nearest column name."""
    parser = _Parser(text)
    condition = parser.either(0)
    if parser.at < len(parser.tokens):
        raise parser.wrong("`and`, `or` or the end")
    return condition


def columns(condition: Condition) -> list[str]:
    """Return the columns of a condition, each once, in order."""
    if isinstance(condition, Not):
        return columns(condition.inner)
    if isinstance(condition, Both):
        return list(dict.fromkeys([*columns(condition.left), *columns(condition.right)]))
    return [condition.column]


class _Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.tokens: list[tuple[str, str]] = []  # (kind, text)
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError(f"where {text!r}: cannot read on at {text[position : position + 20]!r}")
            self.tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            position = match.end()

    def peek(self) -> str:
        """The next token in lower case if it is a keyword or a mark, else the empty string."""
        if self.at >= len(self.tokens):
            return ""
        kind, text = self.tokens[self.at]
        return text if kind == "mark" else text.lower() if kind == "word" and text.lower() in _KEYWORDS else ""

    def take(self, *tokens: str) -> bool:
        if taken := self.peek() in tokens:
            self.at += 1
        return taken

    def need(self, *tokens: str) -> None:
        if not self.take(*tokens):
            raise self.wrong(" or ".join(f"`{token}`" for token in tokens))

    def wrong(self, expected: str) -> ValueError:
        token = self.tokens[self.at][1] if self.at < len(self.tokens) else "the end"
        return ValueError(f"where {self.text!r}: expected {expected}, found {token!r}")

    def either(self, depth: int) -> Condition:
        left = self.all(depth)
        while self.take("or"):
            left = Both("or", left, self.all(depth))
        return left

    def all(self, depth: int) -> Condition:
        left = self.one(depth)
        while self.take("and"):
            left = Both("and", left, self.one(depth))
        return left

    def one(self, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            raise ValueError(f"where: more than {MAX_DEPTH} conditions inside one another")
        if self.take("not"):
            return Not(self.one(depth + 1))
        if self.take("("):
            inner = self.either(depth + 1)
            self.need(")")
            return inner
        return self.comparison(self.column())

    def column(self) -> str:
        if self.at >= len(self.tokens) or self.peek():
            raise self.wrong(f"a column ({', '.join(COLUMNS)} or meta.KEY)")
        name = self.tokens[self.at][1]
        if name not in COLUMNS and not (name.startswith("meta.") and len(name) > len("meta.")):
            raise ValueError(
                f"where {self.text!r}: no column is called {name!r}: {nearest(name, COLUMNS)} (or meta.KEY)"
            )
        self.at += 1
        return name

    def comparison(self, column: str) -> Condition:
        if self.take("is"):
            negated = self.take("not")
            self.need("null")
            null = In(column, (None,))
            return Not(null) if negated else null
        if self.peek() in ("in", "not"):
            negated = self.take("not")
            self.need("in")
            member = In(column, tuple(self.values()))
            return Not(member) if negated else member
        op = self.peek().replace("==", "=")
        if op not in ("=", "!=", "<", "<=", ">", ">="):
            raise self.wrong("=, !=, <, <=, >, >=, in, not in or is")
        self.at += 1
        value = self.value()
        if op not in ("=", "!="):
            _number(value, self.text)
        return Compare(column, op, value)

    def values(self) -> list[str]:
        self.need("(")
        values = [self.value()]
        while not self.take(")"):
            self.need(",", ")")
            values.append(self.value())
        return values

    def value(self) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] == "mark":
            raise self.wrong("a value")
        kind, text = self.tokens[self.at]
        self.at += 1
        return text[1:-1] if kind == "quoted" else text


def _number(value: str, text: str) -> None:
    try:
        float(value)
    except ValueError:
        raise ValueError(f"where {text!r}: <, <=, > and >= compare numbers, and {value!r} is none") from None
