"""A store on a small file system that runs full: the error names it, and with more room the run ends as any other."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.torture.conftest import Clock
from tests.torture.table import Table
from tests.torture.worlds import World


def mount(options: str, folder: Path) -> None:
    action = ["-o", f"remount,{options}"] if folder.is_mount() else ["-o", options]
    done = subprocess.run(["mount", "-t", "tmpfs", *action, "none", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.share(0.1)
def test_a_full_disk_is_named_and_with_room_the_run_goes_on(
    corpus: World, small_disk: Path, clock: Clock, dice: random.Random, table: Table
) -> None:
    store, log = small_disk / "store", corpus.folder / "disk.log"
    files = [file for file in corpus.whole.rglob("*") if file.is_file()]
    kilobytes, inodes = sum(file.stat().st_size for file in files) // 1024, len(files)
    mount("size=64k,nr_inodes=100000", small_disk)
    steps = [f"size={int(kilobytes * share) + 64}k,nr_inodes=100000" for share in sorted(_shares(dice))]
    steps += [f"size=512m,nr_inodes={int(inodes * share) + 8}" for share in sorted(_shares(dice))]
    for options in [*steps, "size=512m,nr_inodes=100000"]:
        last = options == "size=512m,nr_inodes=100000"
        if clock.left < 0 and not last:
            continue
        mount(options, small_disk)
        started = time.monotonic()
        code = corpus.start(store, log).wait(300)
        seconds = time.monotonic() - started
        if last:
            differing = corpus.differing(store) if code == 0 else [f"exit code {code}: {log.read_text()[-300:]}"]
            table.add("disk: all bytes with room again", str(differing[:3]) if differing else None, seconds)
        elif code:
            fault = "disk: no space" if options.endswith("100000") else "disk: no inodes"
            shown = log.read_text(errors="replace")
            named = code == 1 and "the disk is full" in shown and "Traceback (" not in shown
            table.add(fault, None if named else f"{options}: exit code {code}: {shown[-600:]}", seconds)
    assert not table.lost("disk: ")


def _shares(dice: random.Random) -> list[float]:
    return [dice.uniform(0, 0.9) for _ in range(5)]
