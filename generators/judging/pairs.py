"""Labelled pairs from a JSONL or Parquet file: valid rows become pairs, invalid ones are counted and named."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from windtunnel.generators.judges._judge import Pair, Winner
from windtunnel.generators.judging.preference_pairs import SIDES, BadRow, preference_pairs, subset_of, written_out
from windtunnel.schemas.errors import InputError

LABELS = ("a", "b", "tie")


@dataclass(frozen=True)
class BadLine:
    """An invalid line: its number from 1, a reason code and the detail."""

    line: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Pairs:
    """The lines of a file, valid and invalid; blank lines do not count."""

    good: list[Pair]
    bad: list[BadLine]

    @property
    def reasons(self) -> Counter[str]:
        """Invalid lines by reason."""
        return Counter(bad.reason for bad in self.bad)


def read_pairs(path: Path) -> Pairs:
    """Return the pairs of a JSONL file (`.gz` too) or a Parquet file.

    A row has the fields `prompt response_a response_b labels [id] [judge]`, or is a preference: `[prompt] chosen
    rejected`. `subset` or `source` names its part of the set. Raises InputError when the file cannot be read or has no
    valid row.
    """
    if path.suffix == ".parquet":
        return pairs_of(_table_rows(path), str(path))
    return _collected(_lines(path), _parsed, str(path))


def pairs_of(rows: Iterable[Any], origin: str = "the input") -> Pairs:
    """Return the pairs of rows with the same fields; a row's number takes the place of its line."""
    return _collected(enumerate(rows, 1), lambda row: row, origin)


def _collected(rows: Iterable[tuple[int, Any]], parse: Callable[[Any], Any], origin: str) -> Pairs:
    good: dict[str, Pair] = {}
    bad: list[BadLine] = []
    for number, row in rows:
        try:
            pairs = _pairs(parse(row))
            if again := next((pair for pair in pairs if pair.id in good), None):
                raise BadRow("duplicate_id", f"{again.id!r} was used before: a pair has one vote")
            good |= {pair.id: pair for pair in pairs}
        except BadRow as error:
            bad.append(BadLine(number, error.reason, error.detail))
    if not good:
        first = f": line {bad[0].line}: {bad[0].detail}" if bad else ""
        raise InputError(f"{origin} holds no labelled pair ({len(bad)} bad lines{first})")
    return Pairs(list(good.values()), bad)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
            for number, line in enumerate(handle, 1):
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if line.strip():
                    yield number, line
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BadRow("invalid_json", str(error)) from error


def _table_rows(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(1000):
            yield from batch.to_pylist()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _pairs(row: Any) -> list[Pair]:
    if not isinstance(row, dict):
        raise BadRow("not_an_object", f"a pair is a JSON object, this is {type(row).__name__}")
    if "response_a" not in row and all(name in row for name in SIDES):
        return preference_pairs(row, _name(row))
    return [_pair(row)]


def _name(row: dict[str, Any]) -> str:
    name = row.get("id")
    if name is not None and (not isinstance(name, str | int) or isinstance(name, bool) or name == ""):
        raise BadRow("wrong_type", "'id' is neither a text nor a number")
    return "" if name is None else str(name)


def _pair(row: dict[str, Any]) -> Pair:
    if missing := [name for name in ("prompt", "response_a", "response_b", "labels") if name not in row]:
        raise BadRow("missing_field", f"no {missing[0]!r}")
    prompt, name = row["prompt"], _name(row)
    texts = {
        "prompt": written_out(prompt, "prompt") if isinstance(prompt, list) else prompt,
        "response_a": row["response_a"],
        "response_b": row["response_b"],
    }
    for field, value in texts.items():
        if not isinstance(value, str):
            raise BadRow("wrong_type", f"{field!r} is {type(value).__name__}, not text")
    recorded = None if row.get("judge") is None else _recorded(row["judge"])
    return Pair(**texts, labels=_labels(row["labels"]), name=name, recorded=recorded, subset=subset_of(row))


def _labels(value: Any) -> tuple[Winner, ...]:
    if not isinstance(value, list) or not value:
        raise BadRow("no_labels", "'labels' is a list with at least one of a, b, tie")
    if unknown := [label for label in value if label not in LABELS]:
        raise BadRow("unknown_label", f"{unknown[0]!r} is none of a, b, tie")
    return tuple(value)


def _recorded(value: Any) -> tuple[float, float]:
    both = [value.get(order) for order in ("ab", "ba")] if isinstance(value, dict) else []
    numbers = [float(p) for p in both if isinstance(p, int | float) and not isinstance(p, bool)]
    if len(numbers) != 2 or not all(math.isfinite(p) and 0 <= p <= 1 for p in numbers):
        raise BadRow("bad_recorded", '\'judge\' must be {"ab": p, "ba": p} with probabilities from 0 to 1')
    return numbers[0], numbers[1]
