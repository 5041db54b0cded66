"""Signals to the processes of a run at random moments, until it is done: the bytes of an undisturbed run."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.torture.conftest import Clock
from tests.torture.processes import SIGNALS, VICTIMS, family, left, strike
from tests.torture.table import Table
from tests.torture.worlds import LONGEST_SECONDS, World

END_SECONDS = 10.0
ASKED_SECONDS = 3.0  # after a signal that asks for the end
ENDS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", [pytest.param("corpus", marks=pytest.mark.share(0.17)),
                                  pytest.param("chat", marks=pytest.mark.share(0.17))])  # fmt: skip
def test_killed_again_and_again_the_same_bytes(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, dice: random.Random, table: Table
) -> None:
    world: World = request.getfixturevalue(name)
    faults = [(victim, number) for victim in VICTIMS for number in SIGNALS]
    dice.shuffle(faults)
    round_ = 0
    while clock.left > 0 or not round_:
        store = tmp_path / f"killed{round_}"
        _chain(world, store, clock, dice, table, faults)
        differing = world.differing(store)
        table.add(f"{name}: all bytes after kills", f"{differing[:3]} differ" if differing else None)
        shutil.rmtree(store)
        round_ += 1
    assert not table.lost(f"{name}: ")


def _chain(
    world: World, store: Path, clock: Clock, dice: random.Random, table: Table, faults: list[tuple[str, signal.Signals]]
) -> None:
    """Run a recipe until it is done, with a fault in every attempt while there is time."""
    log, longest = world.folder / "killed.log", 4 * world.seconds + 60
    what = world.folder.name.rstrip("0123456789")
    while clock.left > 0:
        run, tracked = world.start(store, log), True
        while (processes := _struck(run, *faults[0], dice)) is not None:
            victim, number = faults[0]
            faults.append(faults.pop(0))
            wrong, seconds = _outcome(run, victim, number, processes, store, longest)
            tracked &= victim != "resource tracker"  # the next one complains of what only the first one knew
            if wrong is None and tracked and b"Traceback" in log.read_bytes():
                wrong = f"a traceback: {log.read_text()[-600:]}"
            table.add(f"{what}: {number.name} to {victim}", wrong, seconds)
        if run.returncode == 0:
            return
    run = world.start(store, log)
    if not _ended(run, longest) or run.returncode:
        table.add(f"{what}: the last run", f"exit code {run.returncode}: {log.read_text()[-600:]}")


def _struck(
    run: subprocess.Popen[bytes], victim: str, number: signal.Signals, dice: random.Random
) -> list[psutil.Process] | None:
    """Send the signal at a random moment; return the run's processes before it, None where the run was over."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(dice.uniform(0.5, 9))
    started = time.monotonic()
    while run.poll() is None:
        assert time.monotonic() - started < LONGEST_SECONDS, f"a run without end, with no {victim}"
        processes = family(run.pid)
        if strike(run.pid, victim, number, dice.choice):
            return processes
        time.sleep(0.01)
    return None


def _outcome(
    run: subprocess.Popen[bytes],
    victim: str,
    number: signal.Signals,
    processes: list[psutil.Process],
    store: Path,
    longest: float,
) -> tuple[str | None, float]:
    """Return what is wrong with how a run took a signal, and how long it took to end; it may have to go on."""
    started, committed = time.monotonic(), _committed(store)
    if victim == "resource tracker" or (number == signal.SIGINT and victim in ("worker", "fork server")):
        allowed = {0, 1} if victim == "fork server" else {0}  # before it has its modules it heeds the signal
        goes_on = not _ended(run, 0.5) or run.returncode in allowed
        return None if goes_on else f"exit code {run.returncode}", 0.0
    asked = victim in ("group", "main")
    while not _ended(run, END_SECONDS if asked else 1) and not asked and time.monotonic() - started < longest:
        if _committed(store) > committed:  # what was struck had nothing more to do: a stage has ended without it
            return None, 0.0
    if run.poll() is None:
        for process in processes:
            with contextlib.suppress(Exception):
                process.kill()
        run.wait()
        return "a run without end", time.monotonic() - started
    took = time.monotonic() - started if run.returncode else 0.0
    if run.returncode not in ({0, ENDS[number]} if asked else {0, 1}):
        return f"exit code {run.returncode}", took
    if remain := left(processes):
        return f"left behind: {remain}", took
    slow = took > (ASKED_SECONDS if asked and number != signal.SIGKILL else END_SECONDS)
    return f"ended after {took:.1f} s only" if slow else None, took


def _committed(store: Path) -> int:
    return len(list(store.glob("*/manifest.json")))


def _ended(run: subprocess.Popen[bytes], seconds: float) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(seconds)
    return run.poll() is not None
