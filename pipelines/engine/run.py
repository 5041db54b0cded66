"""Executes a plan: stages of ready steps, shard by shard, skipping whatever is finished."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from windtunnel.generators.serving.server_record import end_owned  # the model servers that workers started
from windtunnel.pipelines.engine import store as stores
from windtunnel.pipelines.engine.changed_parts import all_steps, changed_parts
from windtunnel.pipelines.engine.executors import Where, execute, leave
from windtunnel.pipelines.engine.integrity import (
    Checks,
    drop_damaged_shards,
    listed,
    set_aside_between_shards,
    told_aside,
)
from windtunnel.pipelines.engine.mirrors.mirror import Mirror
from windtunnel.pipelines.engine.mirrors.opening import fetched, publish
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.tasks.task import ERRORS, Task, work_path
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.interrupts import interrupt_waits
from windtunnel.schemas.journal import journal

STAGES = ".stages"  # logs of the executors
RUN_PROCESS = "WINDTUNNEL_RUN_PROCESS"  # see windtunnel.generators.serving.served


class Progress:
    """Receives what happens during a run; this one shows nothing."""

    def say(self, line: str) -> None:
        """Show a line of text."""

    def stage(self, steps: Sequence[Step], tasks: Sequence[Task]) -> None:
        """Show that a stage begins: the tasks of several ready steps run together."""

    def committed(self, step: Step, artifact: Artifact) -> None:
        """Show that a step is finished."""

    def end(self) -> None:
        """Show that no stage is running."""


@dataclass(frozen=True)
class Outcome:
    """What a run did."""

    executed: list[str]
    seconds: float


class StepFailed(WindtunnelError):
    """A step failed; the text names the step, its input and what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run(
    targets: Sequence[Step],
    store: Path,
    where: Where | None = None,
    progress: Progress | None = None,
    wait: bool = True,
    shown: Sequence[Step] = (),
    verify: bool = False,
) -> Outcome:
    """Execute what the targets need and do not yet have; finished steps and finished shards are not done again.

    Steps of which stored files are damaged are done again, and named. What is reused is held against the sizes in its
    manifest; against the contents are held the targets, what steps are about to read, and `shown`, steps whose
    artifacts the caller shows where they are finished; with `verify` every finished step that the targets are made
    from. Raises StepFailed after the other shards of the same stage have ended, so that no finished work is lost.
    """
    started = time.perf_counter()
    progress = progress or Progress()
    executed: list[str] = []
    for message in changed_parts(targets, store):
        progress.say(message)
    mirror = Mirror.at(store)
    read = all_steps(targets) if verify else [*targets, *shown]
    before = Checks(store)
    if not _todo(targets, read, store, before) and not (mirror and mirror.unpublished()):  # needs no lock
        return Outcome([], time.perf_counter() - started)
    where = where or Where()
    interrupt_waits()
    with stores.locked(store, wait, progress.say), mirror.session(wait, progress.say) if mirror else nullcontext():
        outer = os.environ.get(RUN_PROCESS)
        os.environ[RUN_PROCESS] = str(os.getpid())  # workers start model servers in this process's name
        try:
            checks = Checks(store, progress.say)
            while todo := _todo(targets, read, store, checks):
                if checks.remove_damaged():  # some may have come from the bucket
                    continue
                ready = [step for step in todo if all(map(checks.usable, step.inputs.values()))]
                now = [step for step in ready if not step.work.run_last] or ready
                inputs = {source.directory: source for step in now for source in step.inputs.values()}
                for source in inputs.values():
                    fetched(source.artifact(store), say=progress.say)
                whole = [
                    checks.whole(source) for source in inputs.values()
                ]  # of all, so that each damaged one is named
                if all(whole):
                    _stage(now, store, where, progress, checks)
                    executed.extend(step.name for step in now)
        finally:
            progress.end()
            leave(where)
            end_owned()
            os.environ.pop(RUN_PROCESS, None)
            if outer is not None:
                os.environ[RUN_PROCESS] = outer
    return Outcome(executed, time.perf_counter() - started)


def _todo(targets: Sequence[Step], read: Sequence[Step], store: Path, checks: Checks) -> list[Step]:
    """Return what the targets lack and what was found damaged, in a runnable order; `read` is held to its contents."""
    for step in read:
        if checks.usable(step):
            checks.whole(step)
    return missing([*targets, *checks.damaged], checks.usable)


def missing(targets: Iterable[Step], usable: Callable[[Step], bool]) -> list[Step]:
    """Return the steps that the targets need and of which no artifact is usable, in a runnable order.

    A step below a finished one is not needed, so intermediate artifacts may be deleted.
    """
    order: dict[int, Step] = {}

    def visit(step: Step) -> None:
        if id(step) in order or usable(step):
            return
        for source in step.inputs.values():
            visit(source)
        order[id(step)] = step

    for target in targets:
        visit(target)
    return list(order.values())


def _stage(ready: list[Step], store: Path, where: Where, progress: Progress, checks: Checks) -> None:
    tasks = [task for step in ready for task in _pending(step, store, progress)]
    progress.stage(ready, tasks)
    logs = store / STAGES / ready[0].directory
    if tasks:
        execute(tasks, where, logs)
    failures = [task for task in tasks if not task.counts_file.exists()]
    for step in ready:
        if not any(task.step == step.name for task in failures):
            artifact = _finish(step, store)
            checks.written(step)
            progress.committed(step, publish(artifact, progress.say))
    if failures:
        raise _failure(failures, logs)
    shutil.rmtree(store / STAGES, ignore_errors=True)


def _pending(step: Step, store: Path, progress: Progress) -> list[Task]:
    folder = stores.partial(store, step)
    shutil.rmtree(folder / ERRORS, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if wrong := drop_damaged_shards(folder, step.work):
        progress.say(f"{step.name}: {listed(folder.name, wrong)}; the shard is done again")
    inputs = {role: source.artifact(store) for role, source in step.inputs.items()}
    paths = {role: str(artifact.path) for role, artifact in inputs.items()}
    finished = stores.finished_ranks(folder)
    config = step.work.model_dump_json(by_alias=True)
    with step.resolving_plugins():
        path, shards = work_path(step.work), step.work.shards(inputs)
    if moved := set_aside_between_shards(folder, shards):
        progress.say(f"{step.name}: {told_aside(moved)}")
    plugins = (str(step.plugin_directory), step.pins)
    return [
        Task(step.name, path, config, paths, str(folder), rank, *plugins, cores=step.work.cores)
        for rank in range(shards)
        if rank not in finished
    ]


def _finish(step: Step, store: Path) -> Artifact:
    started = time.perf_counter()
    inputs = {role: source.artifact(store) for role, source in step.inputs.items()}
    with step.resolving_plugins():
        with journal(folder := stores.partial(store, step), "finish"):
            step.work.finish(inputs, folder)
    return stores.commit(store, step, time.perf_counter() - started)


def _failure(failures: list[Task], logs: Path) -> StepFailed:
    first = failures[0]
    more = f" ({len(failures) - 1} more shards failed too)" if len(failures) > 1 else ""
    if not first.error_file.exists():
        return StepFailed(f"step {first.step}, shard {first.rank}: no result and no error; see the logs in {logs}")
    report = json.loads(first.error_file.read_bytes())
    inputs = ", ".join(Path(path).name for path in first.inputs.values()) or "its own source"
    message = f"step {first.step}, shard {first.rank}, reading {inputs}: {report['message']}{more}"
    return StepFailed(f"{message}\nTraceback and shard files: {first.error_file}", report.get("exit_code", 1))
