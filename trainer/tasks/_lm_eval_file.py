"""Task files of lm-eval: YAML with functions and includes, and the local files that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import one_line

LOCAL = ("json", "csv", "parquet", "arrow", "text")  # loaders of `datasets` that read files


class Function(str):
    """The name of a function, `!function module.name` in a task file, whose module lies beside the file."""


def read_config(file: Path) -> dict[str, Any]:
    """Return the configuration of a task file with what it includes.

    Raises InputError where it is no single task, or its data are not local files.
    """
    config: dict[str, Any] = {}
    for part in included(file):
        config = {**_yaml(part), **config}
    config.pop("include", None)
    if not isinstance(config.get("task"), str):
        what = "is a group of tasks: name the files of its tasks" if "task" in config else "has no `task:`"
        raise InputError(f"{file} {what}")
    path = config.get("dataset_path")
    if path not in LOCAL:
        raise InputError(
            f"{file}: dataset_path {one_line(path, 80)!r} is a set on the hub, which may change and is not downloaded: "
            f"save it, and give dataset_path: {' or '.join(LOCAL)}, dataset_kwargs: {{data_files: FILE}}"
        )
    if not _data_files(config):
        raise InputError(f"{file}: dataset_path {path!r} names no files: dataset_kwargs: {{data_files: FILE}}")
    return config


def files_of(file: Path) -> list[Path]:
    """Return a task file, those it includes, the modules of its functions, and its data."""
    config = read_config(file)
    names = {str(leaf).rpartition(".")[0] for leaf in _leaves(config) if isinstance(leaf, Function)}
    modules = [file.parent / f"{name.replace('.', '/')}.py" for name in sorted(names)]
    return [*included(file), *modules, *map(Path, _data_files(config))]


def included(file: Path) -> list[Path]:
    """Return a task file and those that it includes, the nearest first."""
    found, todo = [], [file]
    while todo:
        path = todo.pop(0)
        if path in found:
            raise InputError(f"{path} includes itself")
        found.append(path)
        names = _yaml(path).get("include") or []
        todo += [path.parent / name for name in ([names] if isinstance(names, str) else names)]
    return found


def _yaml(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return loaded if isinstance(loaded, dict) else {}


class _Loader(yaml.SafeLoader):
    """YAML with lm-eval's tag for functions, which are named here and loaded where they are needed."""


_Loader.add_constructor("!function", lambda loader, node: Function(loader.construct_scalar(node)))  # type: ignore[arg-type]


def _data_files(config: Mapping[str, Any]) -> list[str]:
    kwargs = config.get("dataset_kwargs")
    return [str(leaf) for leaf in _leaves(kwargs.get("data_files"))] if isinstance(kwargs, dict) else []


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)
    elif value is not None:
        yield value
