"""Unicode scripts by name, as the regular expressions of polars know them."""

from __future__ import annotations

import polars as pl


def script_class(name: str) -> str:
    """Return the regular expression of one character of a script: `Latin`, `Cyrillic`, `Old Italic`, in any case.

    Raises ValueError when there is no such script.
    """
    expression = rf"\p{{sc={name}}}"
    try:
        if not name.replace("_", "").replace(" ", "").isalpha():
            raise ValueError(name)
        pl.Series("c", [""]).str.contains(expression)
    except (ValueError, pl.exceptions.ComputeError) as error:
        raise ValueError(f"{name!r} is no Unicode script: write Latin, Cyrillic, Han, Hiragana, Thai, ...") from error
    return expression
