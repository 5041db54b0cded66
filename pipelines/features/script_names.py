"""Unicode scripts by name, as supported by the regular expressions of polars."""

from __future__ import annotations

import polars as pl


def script_class(name: str) -> str:
    """Return a regular expression for one character of a script such as `Latin` or `Old Italic`, in any case.

    Raises ValueError for an unknown script.
    """
    expression = rf"\p{{sc={name}}}"
    try:
        if not name.replace("_", "").replace(" ", "").isalpha():
            raise ValueError(name)
        pl.Series("c", [""]).str.contains(expression)
    except (ValueError, pl.exceptions.ComputeError) as error:
        raise ValueError(f"{name!r} is no Unicode script: write Latin, Cyrillic, Han, Hiragana, Thai, ...") from error
    return expression
