"""The runs whose scores lie in directories: which directory is which mix and seed.

A tool writes the scores of one run into one directory, somewhere below those that are given. The mix and the seed come
from a pattern on the path, such as `{mix}-seed{seed}`, or from a table with the columns `dir, mix, seed`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import polars as pl

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.printable import one_line
from windtunnel.trainer.stats.item_scores import COLUMNS, RUN
from windtunnel.trainer.stats.paired import read_table

FIELDS = {"mix": r"(?P<mix>[^/]+?)", "seed": r"(?P<seed>[^/]+?)", "*": r"[^/]*?"}
CHUNK = 100_000  # records that are held as objects of Python
Record = dict[str, Any]  # the columns of trainer.stats.item_scores


class Run(NamedTuple):
    """One run: its name, and the directory or the file that holds its scores."""

    mix: str
    seed: str
    path: Path


def scores_of(
    paths: Sequence[Path], files: Callable[[Path], Iterable[Path]], runs: str, by_stem: bool = False
) -> Iterator[tuple[Run, list[Path]]]:
    """Yield (run, its files) for all files below the paths; `runs` is a pattern or the file of a table.

    A run is a directory; with `by_stem` the names of files, without suffix, may name it too. Raises RecipeError for a
    pattern that is none, InputError for a path that has no name by it, two directories of one run, and paths without
    files.
    """
    roots: dict[Path, Path] = {}
    for root in paths:
        if not root.exists():
            raise InputError(f"{root}: there is no such file or directory")
        inside = sorted(files(root))
        if not inside:
            raise InputError(f"{root}: nothing below it is a file of scores of that kind")
        for file in inside:
            roots.setdefault(file, root)
    name = _by_table(Path(runs)) if "{" not in runs else _by_pattern(runs)
    found: dict[tuple[str, str], list[Path]] = {}
    for file, root in roots.items():
        place = file.with_suffix("") if by_stem and file.suffix else file.parent
        key = name(place, root)
        if key in found and found[key][0].parent != file.parent:
            mix, seed = key
            raise InputError(
                f"mix {mix!r} seed {seed} has the scores of two directories, {found[key][0].parent} and {file.parent}: "
                "keep one, or give a pattern or a table that tells them apart"
            )
        found.setdefault(key, []).append(file)
    for (mix, seed), inside in found.items():
        yield Run(mix, seed, inside[0].parent), inside


def by_task(
    runs: Iterable[tuple[Run, Sequence[Path]]],
    task_of: Callable[[Path], str],
    records_of: Callable[[Mapping[str, Any], str], Iterable[Record]],
) -> Iterator[tuple[Run, Record]]:
    """Yield the records of runs that have one file of JSON lines a task: `records_of` takes an object and its place.

    Raises InputError for two files of a task in one run.
    """
    for run, files in runs:
        seen: dict[str, Path] = {}
        for file in files:
            task = task_of(file)
            if task in seen:
                raise InputError(
                    f"{run.path} has two logs of task {task!r}, {seen[task].name} and {file.name}: keep one of them"
                )
            seen[task] = file
            for place, row in lines_of(file):
                for record in records_of(row, place):
                    yield run, {"task": task, **record}


def table_of(records: Iterable[tuple[Run, Record]]) -> pl.DataFrame:
    """Return the table of trainer.stats.item_scores with mix and seed, from records of runs."""
    schema, tables = {**RUN, **COLUMNS}, []
    stream = ({"mix": run.mix, "seed": run.seed, **record} for run, record in records)
    while rows := list(itertools.islice(stream, CHUNK)):
        columns = {name: [row.get(name) for row in rows] for name in schema}
        tables.append(pl.DataFrame(columns, schema=schema))
    table = pl.concat(tables) if tables else pl.DataFrame(schema=schema)
    return table.with_columns(pl.col("group").fill_null(pl.col("document")))


def lines_of(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (place, object) of every line of a JSON Lines file. Raises InputError for one that is none."""
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{file}, line {number}"
            try:
                row = orjson.loads(line)
            except ValueError:
                row = _with_nan(line, place)
            if not isinstance(row, dict):
                raise InputError(f"{place} is not an object {{...}}, but {one_line(row, 40)}")
            yield place, row


def number(value: Any, place: str, metric: str) -> float:
    """Return a score as a number. Raises InputError for NaN and what is none."""
    if isinstance(value, bool | int | float) and value == value and abs(value) != float("inf"):
        return float(value)
    raise InputError(f"{place}: {one_line(metric, 60)!r} is {one_line(repr(value), 40)}, not a number")


def _with_nan(line: bytes, place: str) -> Any:
    """Return a line that Python's json wrote, which may hold NaN and lone surrogates."""
    import json

    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is not JSON: {error}") from error


def _by_pattern(pattern: str) -> Callable[[Path, Path], tuple[str, str]]:
    """Return the function (directory, the path given above it) -> (mix, seed) of a pattern."""
    parts = re.split(r"(\{[^{}]*\}|\*)", pattern.strip("/"))
    names = [part[1:-1] for part in parts if part.startswith("{")]
    if sorted(names) != ["mix", "seed"]:
        raise RecipeError(
            f"--runs {pattern!r} must have {{mix}} and {{seed}} once each, such as '{{mix}}-seed{{seed}}'"
        )
    compiled = re.compile("".join(FIELDS.get(part.strip("{}"), re.escape(part)) for part in parts))
    length = pattern.strip("/").count("/") + 1

    def name(folder: Path, root: Path) -> tuple[str, str]:
        pieces, above = folder.parts, len(root.parts) - 1
        places = range(len(pieces) - length + 1)
        for place in [*places[above:], *reversed(places[:above])]:  # the outermost below what is given
            if match := compiled.fullmatch("/".join(pieces[place : place + length])):
                return match["mix"], match["seed"]
        raise InputError(
            f"{folder}: no part of the path is like {pattern!r}; `*` stands for anything between slashes, and a table "
            "names runs without a pattern: --runs TABLE.csv with columns dir, mix, seed"
        )

    return name


def _by_table(path: Path) -> Callable[[Path, Path], tuple[str, str]]:
    """Return the same of a table; directories in it are relative to the working directory or to the table."""
    table = read_table(path, "runs", dict.fromkeys(("dir", "mix", "seed"), pl.String))
    if missing := [name for name in ("dir", "mix", "seed") if name not in table.columns]:
        raise RecipeError(f"{path} has no column {', '.join(missing)}: a table of runs has dir, mix, seed")
    known: dict[Path, tuple[str, str]] = {}
    for line, (folder, mix, seed) in enumerate(table.select("dir", "mix", "seed").rows(), start=2):
        if folder is None or mix is None or seed is None:
            raise InputError(f"{path}, line {line}: dir, mix and seed are needed, and one is empty")
        place = Path(folder) if Path(folder).exists() else path.parent / folder
        if known.setdefault(place.resolve(), (str(mix), str(seed))) != (str(mix), str(seed)):
            raise InputError(f"{path}, line {line}: {one_line(folder, 200)} is named twice, as different runs")

    def name(folder: Path, root: Path) -> tuple[str, str]:
        here = folder.resolve()
        for place in (here, *here.parents):
            if place in known:
                return known[place]
        raise InputError(f"{folder} is not in {path}: add its directory, mix and seed")

    return name
