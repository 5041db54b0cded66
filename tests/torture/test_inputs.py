"""Files of every format in every state: no traceback, no row lost without a count, no wait without end."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from tests.torture.commands import Ended, called
from tests.torture.conftest import Clock
from tests.torture.hostile_files import FORMATS, ROWS, Case, cases, write
from tests.torture.table import Table

RECIPE = """
question: What can be read?
store: {store}
corpora: {{raw: {{source: {{{source}: {path}}}}}}}
"""
LIMIT_SECONDS = 30.0
ROWS_OF = {source: 1 if source in ("text", "html") else ROWS for source in FORMATS}


def read(case: Case, folder: Path) -> tuple[Ended, dict[str, int]]:
    """Return how reading a file ended, and what was kept and counted as unreadable."""
    path = json.dumps(str(write(case, folder / "in")))
    (folder / "r.yaml").write_text(RECIPE.format(store=folder / "store", source=case.source, path=path))
    ended = called(["corpus", str(folder / "r.yaml"), "--executor", "inline"], LIMIT_SECONDS)
    counts = {"kept": 0, "unreadable": 0}
    for file in (folder / "store").glob("read.raw-*/manifest.json"):
        found = json.loads(file.read_bytes())["counts"]
        counts = {"kept": found["kept"], "unreadable": sum(found["unreadable"].values())}
    return ended, counts


def wrong(case: Case, ended: Ended, counts: dict[str, int]) -> str | None:
    told = f"{case.source}, {case.state}: exit code {ended.code}, {counts}: {ended.said[-900:]}"
    if ended.raised or ended.code not in (0, 1, 2):
        return told
    if case.state == "intact" and (ended.code or counts != {"kept": ROWS_OF[case.source], "unreadable": 0}):
        return told
    if ended.code == 0 and case.content and not counts["kept"] + counts["unreadable"]:
        return told
    lost = counts["kept"] < ROWS_OF[case.source] and not counts["unreadable"]
    return told if case.checked and case.content and ended.code == 0 and lost else None


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.share(0.1)
def test_files_of_every_kind(tmp_path: Path, clock: Clock, dice: random.Random, table: Table) -> None:
    rounds = 0
    while rounds == 0 or clock.left > 0:
        for number, case in enumerate(cases(dice)):
            folder = tmp_path / str(number)
            folder.mkdir()
            ended, counts = read(case, folder)
            table.add(f"input: {case.source}", wrong(case, ended, counts), ended.seconds)
            shutil.rmtree(folder)
            if rounds and clock.left < 0:
                break
        rounds += 1
    assert not table.lost("input: ")
