"""Ctrl-C at a terminal, at ten moments of a run, where the progress bar is shown."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.torture.conftest import Clock
from tests.torture.keyboard import Terminal
from tests.torture.processes import members
from tests.torture.table import Table
from tests.torture.worlds import COMMAND, World

# what is there at a moment, below the store; each run goes a little further than the one before
MOMENTS: dict[str, str | float] = {
    "the interpreter starts": 0.12,
    "modules are imported": 0.3,
    "planning": 0.8,
    "reading": "read.raw-*.partial",
    "workers start": ".stages/*/workers.log",
    "the middle of a stage": "measure.filtered-*.partial/counts/*.json",
    "between stages": "held_out-*/manifest.json",
    "training": "train.raw.0-*.partial",
    "the last run is finished": "train.filtered.1-*/manifest.json",
    "the report": "report-*.partial",
}


def moment(what: str | float, store: Path) -> Callable[[], object]:
    if isinstance(what, str):
        return lambda: any(store.glob(what))
    until = time.monotonic() + what
    return lambda: time.monotonic() >= until


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_ctrl_c_at_ten_moments(corpus: World, tmp_path: Path, table: Table) -> None:
    store = tmp_path / "pressed"
    for name, what in MOMENTS.items():
        terminal = Terminal(corpus.words(store), tmp_path)
        if terminal.wait_for(moment(what, store)):
            terminal.press()
            took = terminal.end(10)
            table.add(f"Ctrl-C: {name}", terminal.wrong(took), took)
        else:
            assert terminal.code == 0, terminal.shown
            table.add(f"Ctrl-C: {name}", "the run was over before")
    terminal = Terminal(corpus.words(store), tmp_path)
    terminal.end(600)
    differing = corpus.differing(store) if terminal.code == 0 else [f"exit code {terminal.code}"]
    table.add("Ctrl-C: all bytes after ten", f"{differing[:3]}" if differing else None)
    assert not table.lost("Ctrl-C: ")


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.share(0.15)
def test_ctrl_c_at_random_moments(
    corpus: World, tmp_path: Path, clock: Clock, dice: random.Random, table: Table
) -> None:
    """Runs are interrupted and resumed until they are done, or there is no more time."""
    round_ = 0
    while clock.left > 0:
        store = tmp_path / f"pressed{round_}"
        terminal = Terminal(corpus.words(store), tmp_path)
        while terminal.wait_for(moment(dice.uniform(0.1, 5), store)):
            terminal.press()
            took = terminal.end(10)
            table.add("Ctrl-C: a random moment", terminal.wrong(took), took)
            terminal.close()
            terminal = Terminal(corpus.words(store), tmp_path)
            if clock.left < 0:
                break
        terminal.end(600)
        differing = corpus.differing(store) if terminal.code == 0 else [f"exit code {terminal.code}"]
        table.add("Ctrl-C: all bytes after random moments", f"{differing[:3]}" if differing else None)
        terminal.close()
        shutil.rmtree(store)
        round_ += 1
    assert not table.lost("Ctrl-C: a")


@pytest.mark.torture
def test_a_second_press_ends_at_once_and_so_does_a_closed_window(corpus: World, tmp_path: Path, table: Table) -> None:
    store = tmp_path / "pressed"
    for wait in (0.15, 0.3, 0.6):
        terminal = Terminal(corpus.words(store), tmp_path)
        assert terminal.wait_for(lambda t=terminal: members(t.pid, "worker"))
        terminal.press()
        terminal.look(wait)
        if terminal.code is None:
            terminal.press()
        took = terminal.end(10)
        table.add("Ctrl-C twice", terminal.wrong(took, 1.5), took)
    terminal = Terminal(corpus.words(store), tmp_path)
    assert terminal.wait_for(lambda: members(terminal.pid, "worker"))
    terminal.close()
    took = terminal.end(10)
    wrong = None if terminal.code == 129 and took < 3 else f"exit code {terminal.code} after {took:.1f} s"
    table.add("the window is closed", wrong, took)
    assert not table.lost("Ctrl-C twice") and not table.lost("the window")


@pytest.mark.torture
def test_ctrl_c_while_rows_are_generated(chat: World, tmp_path: Path, table: Table) -> None:
    terminal = Terminal(chat.words(tmp_path / "pressed"), tmp_path)
    assert terminal.wait_for(moment("generate.*.partial", tmp_path / "pressed"))
    terminal.press()
    took = terminal.end(10)
    table.add("Ctrl-C: rows are generated", terminal.wrong(took), took)
    assert not table.lost("Ctrl-C: rows")


@pytest.mark.torture
@pytest.mark.parametrize("words", [["filter", "--rules", "gopher_quality"], ["dedup", "--kind", "minhash"]])
def test_ctrl_c_on_files_of_ones_own(words: list[str], corpus: World, tmp_path: Path, table: Table) -> None:
    lines = [json.dumps({"text": file.read_text() + str(n)}) for file in corpus.texts() for n in range(20)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    for seconds in (1.0, 2.0, 3.0, 4.0):
        out = tmp_path / str(seconds)
        terminal = Terminal([*COMMAND, words[0], str(tmp_path / "in.jsonl"), str(out), *words[1:]], tmp_path)
        if terminal.wait_for(moment(seconds, out)):
            terminal.press()
            took = terminal.end(10)
            table.add(f"Ctrl-C: {words[0]}", terminal.wrong(took), took)
    assert not table.lost(f"Ctrl-C: {words[0]}")
