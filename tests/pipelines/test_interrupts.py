"""Ctrl-C, SIGTERM and SIGHUP wherever they meet a command: quiet, within seconds, with the signal's exit code."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from windtunnel.schemas.interrupts import MESSAGES

ROOT = Path(__file__).parents[2]
MAIN = """
import contextlib, hashlib, os, signal, sys, time, weakref
from pathlib import Path
import windtunnel.pipelines.cli as cli

def ready():
    Path("ready").touch()

@cli.app.command()
def waits(): ready(); time.sleep(60)
@cli.app.command()
def computes(): ready(); hashlib.pbkdf2_hmac("sha1", b"", b"", 10**9)  # in C, for minutes
@cli.app.command()
def tidies():
    try: ready(); time.sleep(60)
    finally: Path("tidying").touch(); time.sleep(60)
@cli.app.command()
def swallows():
    ready()
    while True:
        with contextlib.suppress(BaseException): time.sleep(60)
@cli.app.command()
def succeeds():
    with contextlib.suppress(KeyboardInterrupt): ready(); time.sleep(60)
@cli.app.command()
def defines(): exec("ready(); time.sleep(60)")  # as data classes are defined
@cli.app.command()
def forgets():
    class Thing: pass
    thing = Thing()
    reference = weakref.ref(thing, lambda _: (ready(), time.sleep(60)))
    del thing
    time.sleep(60)
@cli.app.command()
def forks():
    if (child := os.fork()) == 0: ready(); time.sleep(60)
    while not Path("ready").exists(): time.sleep(0.01)
    os.kill(child, signal.SIGTERM)
    time.sleep(0.3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
@cli.app.command()
def ignores():
    os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.2)
if sys.argv[1] == "ignores":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
from windtunnel.__main__ import main
main()
"""
IMPORTING = """
import os, sys
class Pressed:
    def find_spec(self, name, path, target=None):
        if name == "typer":
            os.kill(os.getpid(), int(sys.argv[1]))
sys.meta_path.insert(0, Pressed())
from windtunnel.__main__ import main
main()
"""
COMMANDS = ["waits", "computes", "tidies", "swallows", "defines", "forgets"]
CASES = [(command, signal.SIGINT) for command in COMMANDS] + [("waits", signal.SIGTERM), ("computes", signal.SIGHUP)]


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / '.src'}"}
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def started(folder: Path, command: str, mark: str = "ready") -> subprocess.Popen[str]:
    (folder / "main_program.py").write_text(MAIN)
    process = start(folder, "-m", "main_program", command)
    wait_for(folder / mark)
    return process


def wait_for(file: Path) -> None:
    until = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < until, f"there is no {file}"
        time.sleep(0.01)


@pytest.mark.parametrize(("command", "number"), CASES)
def test_the_first_signal_ends_a_command_whatever_it_is_doing(tmp_path: Path, command: str, number: int) -> None:
    process = started(tmp_path, command)
    process.send_signal(number)
    pressed = time.monotonic()
    _, error = process.communicate(timeout=30)
    assert time.monotonic() - pressed < 3
    assert (process.returncode, error) == (128 + number, f"error: {MESSAGES[signal.Signals(number)]}\n")


def test_the_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    process = started(tmp_path, "tidies")
    process.send_signal(signal.SIGINT)
    wait_for(tmp_path / "tidying")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    _, error = process.communicate(timeout=30)
    assert time.monotonic() - pressed < 1
    assert (process.returncode, error) == (130, f"error: {MESSAGES[signal.SIGINT]}\n")


def test_a_command_that_ends_well_when_interrupted_says_nothing(tmp_path: Path) -> None:
    process = started(tmp_path, "succeeds")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130


@pytest.mark.parametrize("command", ["forks", "ignores"])
def test_signals_of_forked_processes_and_signals_that_are_ignored_end_nothing(tmp_path: Path, command: str) -> None:
    process = start(tmp_path, "-c", MAIN, command)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize("number", list(MESSAGES))
def test_while_modules_are_imported(tmp_path: Path, number: int) -> None:
    process = start(tmp_path, "-c", IMPORTING, str(int(number)))
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (128 + number, f"error: {MESSAGES[signal.Signals(number)]}\n")


def test_while_the_store_is_held_by_another_run(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A text.")
    (tmp_path / "r.yaml").write_text("question: q?\nstore: store\ncorpora: {raw: {source: {text: a.txt}}}\n")
    (tmp_path / "store").mkdir()
    with open(tmp_path / "store" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start(tmp_path, "-u", "-m", "windtunnel", "corpus", "r.yaml")
        assert process.stdout is not None and "waiting: " in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        pressed = time.monotonic()
        _, error = process.communicate(timeout=30)
    assert time.monotonic() - pressed < 3
    assert (process.returncode, error) == (130, f"error: {MESSAGES[signal.SIGINT]}\n")
