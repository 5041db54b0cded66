"""One shard of one step, as a task that any executor can run in a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import resource
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from windtunnel.schemas import plugin_files
from windtunnel.schemas.artifact import Artifact, write_text
from windtunnel.schemas.errors import WindtunnelError, advice_for
from windtunnel.schemas.journal import journal
from windtunnel.schemas.work import Work

COUNTS = "counts"  # in the step's directory: one JSON file a finished shard
ERRORS = "errors"


@dataclass(frozen=True)
class Task:
    """What a worker needs to do one shard: nothing but words and paths, so that it can travel as JSON."""

    step: str
    work: str  # module:Class
    config: str  # JSON
    inputs: dict[str, str]  # role -> directory
    out: str
    rank: int
    plugin_directory: str = "."  # what plug-in files named in the configuration are relative to
    pins: dict[str, str] = field(default_factory=dict)  # plug-in file -> digest
    cores: int = 1  # that the task keeps busy

    @property
    def counts_file(self) -> Path:
        """Written last: the shard is finished when this file exists."""
        return Path(self.out) / COUNTS / f"{self.rank:05d}.json"

    @property
    def error_file(self) -> Path:
        return Path(self.out) / ERRORS / f"{self.rank:05d}.json"

    @property
    def ended(self) -> bool:
        """Whether the task left its counts or an error."""
        return self.counts_file.exists() or self.error_file.exists()

    @property
    def log_name(self) -> str:
        """What the worker prints goes to a file of this name, below the logs of its stage."""
        return f"{self.step.replace(':', '.')}-{self.rank:05d}.log"


def do(task: Task) -> None:
    """Run one shard; a failure becomes an error file, so that the other shards of the stage still finish.

    Raises WindtunnelError where not even the error file can be written, as on a full disk.
    """
    try:
        task.error_file.unlink(missing_ok=True)
        measured(task)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a library that exits would end the run, or its worker; polars panics
        own = str(error) if isinstance(error, WindtunnelError) else None
        message = own or advice_for(error) or f"{type(error).__name__}: {error}"
        report = {
            "error": type(error).__name__,
            "message": message,
            "exit_code": getattr(error, "exit_code", 1),
            "traceback": traceback.format_exc(),
        }
        try:
            write_text(task.error_file, json.dumps(report, indent=1))
        except OSError:
            raise WindtunnelError(f"step {task.step}, shard {task.rank}: {message}") from error


def measured(task: Task) -> None:
    """Run one shard and write its counts and cost; errors are raised as they are."""
    started, used = time.perf_counter(), _cpu_seconds()
    out = Path(task.out)
    inputs: Mapping[str, Artifact] = {role: Artifact(Path(path)) for role, path in task.inputs.items()}
    with journal(out, task.counts_file.stem):
        with plugin_files.relative_to(Path(task.plugin_directory), task.pins):
            counts = work_from(task.work, task.config).run(inputs, out, task.rank)
        counts.check(f"{task.step}, shard {task.rank}")
        cost = {
            "seconds": round(time.perf_counter() - started, 3),
            "cpu_seconds": round(_cpu_seconds() - used, 3),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        note = {"counts": counts.model_dump(), "cost": cost}
        write_text(task.counts_file, json.dumps(note, indent=1, sort_keys=True))


def _cpu_seconds() -> float:
    """Return the processor time of this process and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def work_path(work: Work) -> str:
    """Return `module:Class` of a work, from which another process builds it again."""
    cls = type(work)
    return plugin_files.file_reference(cls) or f"{cls.__module__}:{cls.__name__}"


def work_from(path: str, config: str) -> Work:
    """Build a work from `module:Class` and its JSON configuration."""
    module, _, name = path.partition(":")
    cls: Any = plugin_files.file_class(path) or getattr(importlib.import_module(module), name)
    return cls.model_validate_json(config)
