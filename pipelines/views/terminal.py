"""What the command line shows while work runs: a bar with rate and time left, or plain lines without a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich import progress as rich
from rich.console import Console

from windtunnel.pipelines.engine.run import Progress
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.tasks.task import Task
from windtunnel.pipelines.views.run_progress import told
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.progress import RunProgress, read_progress
from windtunnel.schemas.spending import spent_of, total

POLL_SECONDS = 0.3
LINE_SECONDS = 30.0  # between two lines about a training run, where there is no terminal
SPENT_SECONDS = 2.0  # between two looks at what answers cost, which read the completion store


def _training(tasks: Sequence[Task]) -> list[tuple[Task, RunProgress]]:
    """Return the training runs that are at work, with how far they are."""
    runs = [task for task in tasks if task.step.partition(":")[0] in ("train", "first_stages") and not task.ended]
    return [(task, state) for task in runs if (state := read_progress(Path(task.out))) is not None]


class TerminalProgress(Progress):
    """Shows stages of shards; reads the finished ones off the disk, so that it works for every executor."""

    def __init__(self, console: Console, spent: Callable[[], str] | None = None) -> None:
        """`spent` says what the answers of models cost so far; asked for while a stage runs."""
        self.console = console
        self._spent = spent or (lambda: "")
        self._bar: rich.Progress | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._warned: set[str] = set()

    def say(self, line: str) -> None:
        """Print a line as it is."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def stage(self, steps: Sequence[Step], tasks: Sequence[Task]) -> None:
        """Begin to show a stage of tasks."""
        self.end()
        if not tasks:
            return
        names = ", ".join(step.name for step in steps)
        if not self.console.is_terminal:
            self.say(f"running {names} ({len(tasks)} shards)")
            self._begin(self._tell, tasks)
            return
        shown = names if len(names) <= 48 else f"{steps[0].name} and {len(steps) - 1} more"
        self._bar = rich.Progress(
            rich.SpinnerColumn(), rich.TextColumn("{task.description}", markup=False), rich.BarColumn(),
            rich.MofNCompleteColumn(), rich.TimeElapsedColumn(), rich.TimeRemainingColumn(),
            rich.TextColumn("{task.fields[spent]}", markup=False),
            console=self.console, transient=True,
        )  # fmt: skip
        row = self._bar.add_task(shown, total=len(tasks), spent="")
        self._bar.start()
        self._begin(self._follow, self._bar, row, tasks)

    def _begin(self, follow: Callable[..., None], *arguments: Any) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=follow, args=arguments, daemon=True)
        self._thread.start()

    def _tell(self, tasks: Sequence[Task]) -> None:
        """Print a line about every training run at work, every LINE_SECONDS."""
        while not self._stop.wait(LINE_SECONDS):
            for task, state in _training(tasks):
                self.say(f"  {task.step}: {told(state)}")

    def _follow(self, bar: rich.Progress, row: rich.TaskID, tasks: Sequence[Task]) -> None:
        left, asked, words = tasks, 0.0, ""
        while not self._stop.wait(POLL_SECONDS):
            left = [task for task in left if not task.ended]
            now = time.monotonic()
            if now - asked >= SPENT_SECONDS:
                asked, words = now, self._spent()
            training = _training(left)
            done = len(tasks) - len(left) + sum(state.done for _, state in training)
            first = "".join(f"{task.step} {told(state)}" for task, state in training[:1])
            more = f" (and {len(training) - 1} more)" if len(training) > 1 else ""
            bar.update(row, completed=done, spent=f"{words} {first}{more}".strip())

    def committed(self, step: Step, artifact: Artifact) -> None:
        """Say that a step is finished, with what went through it."""
        self.end()
        manifest = artifact.manifest
        counts = manifest.counts
        dropped = sum(counts["dropped"].values())
        parts = [f"{counts['kept']:,} kept"] if counts["seen"] else []
        parts += [f"{dropped:,} dropped"] if dropped else []
        unreadable = sum(counts["unreadable"].values())
        parts += [f"{unreadable:,} unreadable"] if unreadable else []
        parts += [f"{counts['tokens']:,} tokens"] if counts["tokens"] else []
        parts += [f"{left_out} steps left out"] if (left_out := counts["notes"].get("steps_left_out")) else []
        parts += [f"critical batch {batch:,} tokens"] if (batch := counts["notes"].get("critical_batch_tokens")) else []
        if (spent := total(spent_of(counts))).requests:
            parts.append(
                f"{spent.requests:,} answers of models" + (f" for ${spent.dollars:,.2f}" if spent.dollars else "")
            )
        self.say(f"  {step.name:<28} {manifest.seconds:>8.1f} s   {', '.join(parts)}")
        if not_read := counts["notes"].get("not_read"):
            self.say(f"  {step.name} does not read: {not_read}")
        if columns := counts["notes"].get("columns_not_read"):
            self.say(f"  {step.name} leaves columns unread: {one_line(str(columns), 300)}")
        if shares := counts["notes"].get("shares"):
            self.say(f"  {step.name} draws {one_line(str(shares), 300)}")
        if noise := counts["notes"].get("gradient_noise"):
            self.say(f"  {step.name}: gradient noise {noise}")
        if many := counts["notes"].get("many_left_out"):  # of this run alone
            self.say(f"  warning: {step.name}: {many}")
        warning = counts["notes"].get("warning")
        if warning and step.kind not in self._warned:  # all runs of a recipe give about the same one
            self._warned.add(step.kind)
            self.say(f"  warning: {step.name}: {warning}")
        refused = counts["notes"].get("refused")
        if refused and refused not in self._warned:  # the runs of a mix refuse the same rows
            self._warned.add(refused)
            self.say(f"  not learnt from or measured on in {step.name}: {one_line(str(refused), 600)}")

    def end(self) -> None:
        """Take the bar away."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
