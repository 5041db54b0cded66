"""The base class of tasks whose questions a user brings in a file, and the reading of such files.

An evaluation file is read whole or not at all: a line that cannot be used is an error with its number, because runs
that answered different questions cannot be compared.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import orjson
from blake3 import blake3
from pydantic import Field

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import label
from windtunnel.schemas.printable import one_line
from windtunnel.trainer.tasks._evaluation import Evaluation


class Question(NamedTuple):
    """A question of a file; `about` is what its kind needs to score an answer."""

    id: str
    text: str
    about: Any
    group: str = ""


class FileTask(Evaluation):
    """Questions of a file of the user, one JSON object a line.

    `id` and `group` (shared by questions of one origin) are optional. Without an `id`, the content of a line is
    hashed; no two questions may share one.
    """

    primary: ClassVar[str | None] = "file"

    file: str = Field(min_length=1)
    name: str | None = Field(None, min_length=1, max_length=60)  # in tables; the file's name without suffix by default

    asks_by: ClassVar[tuple[str, ...]] = ("file", "name")  # the parameters that decide what is asked

    # A file's text that can be read, and others with a part of the message that refuses them: for `windtunnel check`.
    gives: ClassVar[str]
    refuses: ClassVar[tuple[tuple[str, str], ...]]

    @property
    def title(self) -> str:
        return self.name or Path(self.file).stem

    def files(self) -> list[Path]:
        return [Path(self.file)]

    def asking(self) -> dict[str, Any]:
        """Return the name of the task's kind and the parameters on which its questions depend."""
        return {label(self): self.model_dump(mode="json", include=set(self.asks_by))}

    @abstractmethod
    def parse(self, row: Mapping[str, Any]) -> tuple[str, Any]:
        """Return the question's text and what is needed to score an answer. Raises ValueError in words."""

    def whole(self) -> bool:
        """Return whether the file has questions, all of which can be used; InputError says what is wrong."""
        return bool(self.questions())

    def questions(self) -> list[Question]:
        """Return the questions in the order of the file. Raises InputError with the line that cannot be used."""
        found: dict[str, Question] = {}
        places: dict[str, tuple[Path, int]] = {}
        for path, line, row in self._rows():
            try:
                text, about = self.parse(row)
                question = Question(_id(row), text, about, _name(row, "group"))
            except ValueError as error:
                raise InputError(f"{path}, line {line}: {error}") from error
            if question.id in found:
                what = "have the id" if "id" in row else "are the same question; the hash of their content is"
                before, first = places[question.id]
                where = f"{path}: lines {first} and {line}"
                if before != path:
                    where = f"{before}, line {first} and {path}, line {line}"
                raise InputError(f"{where} {what} {one_line(question.id, 60)!r}: keep each question once")
            found[question.id], places[question.id] = question, (path, line)
        if not found:
            raise InputError(f"{self.file} has no questions")
        return list(found.values())

    def _rows(self) -> Iterator[tuple[Path, int, dict[str, Any]]]:
        """Yield (file, number of the line, object) of all rows."""
        path = Path(self.file)
        yield from ((path, line, row) for line, row in rows_of(path))


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number of the line, object) of a JSON Lines file without its blank lines; InputError names the line."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if not text.strip():
                    continue
                try:
                    row = orjson.loads(text)
                except ValueError as error:
                    raise InputError(f"{path}, line {number} is not JSON: {error}") from error
                if not isinstance(row, dict):
                    raise InputError(f"{path}, line {number} is not an object {{...}}, but {one_line(row, 40)}")
                yield number, row
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def text_of(row: Mapping[str, Any], *names: str) -> str:
    """Return the first of several columns that a row has, a text that is not blank. Raises ValueError."""
    found = next((name for name in names if name in row), None)
    if found is None:
        raise ValueError(f"there is no {names[0]!r}; its columns: {', '.join(one_line(n, 30) for n in row) or 'none'}")
    value = row[found]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{found!r} must be a text that is not blank, not {one_line(repr(value), 60)}")
    return value


def _id(row: Mapping[str, Any]) -> str:
    if "id" in row:
        if not (found := _name(row, "id")):
            raise ValueError("'id' is empty")
        return found
    return blake3(orjson.dumps(row, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _name(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{column!r} must be a text or a whole number, not {one_line(repr(value), 60)}")
    return str(value)
