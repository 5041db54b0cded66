"""Conditions on document columns: what they say, and what they say of themselves when they are wrong."""

from __future__ import annotations

import pytest

from windtunnel.pipelines.recipe.where import Both, Compare, In, Not, columns, parse


def test_words_quotes_and_precedence() -> None:
    found = parse("lang = en and source in (api_docs, 'two words') or not meta.year >= 1999")
    assert found == Both(
        "or",
        Both("and", Compare("lang", "=", "en"), In("source", ("api_docs", "two words"))),
        Not(Compare("meta.year", ">=", "1999")),
    )
    assert columns(found) == ["lang", "source", "meta.year"]
    assert parse("url is not null") == Not(In("url", (None,)))
    assert parse("lang not in (en)") == Not(In("lang", ("en",)))
    assert parse("(lang==en)") == Compare("lang", "=", "en")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("langg = en", "did you mean 'lang'"),
        ("text = x", "no column is called 'text'"),
        ("lang = ", "expected a value, found 'the end'"),
        ("lang en", "expected =, !=, <"),
        ("lang = en source = x", "expected `and`, `or` or the end, found 'source'"),
        ("lang = en)", r"found '\)'"),
        ("source in (a b)", "expected `,` or"),
        ("meta.n > many", "compare numbers, and 'many' is none"),
        ("", "expected a column"),
        ("lang = 'en", "cannot read on at"),
        ("(" * 400 + "lang = en", "inside one another"),
        ("not " * 4000 + "lang = en", "inside one another"),
    ],
)
def test_wrong_conditions_name_the_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_code_stays_text() -> None:
    with pytest.raises(ValueError):
        parse("__import__('os').system('true') = 1")
