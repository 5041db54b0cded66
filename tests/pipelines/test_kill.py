"""kill -9 at any moment, then the same command: the same bytes as a run that was never touched."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from tests.torture.worlds import CORPUS, TIMED


@pytest.fixture
def text(tmp_path: Path) -> Path:
    folder = tmp_path / "text"
    folder.mkdir()
    library = Path(sysconfig.get_paths()["stdlib"])
    for file in sorted(library.glob("*.py"))[:60]:
        source = file.read_text(encoding="utf-8", errors="replace")
        (folder / f"{file.stem}.txt").write_text(source[:6000], encoding="utf-8")
        if len(source) % 5 == 0:  # duplicates to find
            (folder / f"{file.stem}_again.txt").write_text(source[:6000] + "\n# again", encoding="utf-8")
    return folder


def command(tmp_path: Path, text: Path, name: str) -> list[str]:
    recipe = tmp_path / f"{name}.yaml"
    recipe.write_text(CORPUS.format(store=tmp_path / name, text=text), encoding="utf-8")
    return [sys.executable, "-c", "from windtunnel.pipelines.cli import main; main()", "run", str(recipe)]


def digests(store: Path) -> dict[str, str]:
    """Return the hash of every file that must not depend on time; directory names hold the content keys."""
    return {
        str(file.relative_to(store)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(store.rglob("*"))
        if file.is_file() and file.name not in TIMED and "counts" not in file.parts and file.name != ".lock"
    }


@pytest.mark.slow
def test_killed_at_five_moments_the_same_bytes(tmp_path: Path, text: Path) -> None:
    subprocess.run(command(tmp_path, text, "whole"), check=True, capture_output=True)
    shards = finished(tmp_path / "whole")
    moments = random.Random(20)
    killed = 0
    for share in sorted(moments.uniform(0.05, 0.95) for _ in range(5)):
        run = subprocess.Popen(
            command(tmp_path, text, "killed"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while run.poll() is None and finished(tmp_path / "killed") < share * shards:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.5) * (1 - share))  # less to the end, so that the run is not over before
        if run.poll() is None:
            killed += 1
            kill_group(run.pid)
        run.wait()
    assert killed >= 4, "the run was over before it could be killed"
    done = subprocess.run(command(tmp_path, text, "killed"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, resumed = digests(tmp_path / "whole"), digests(tmp_path / "killed")
    assert len(whole) > 40
    assert resumed == whole
    assert not list((tmp_path / "killed").glob("*.partial"))


def finished(store: Path) -> int:
    """Return how many shards of a store are done."""
    return sum(1 for _ in store.glob("*/counts/*.json"))


def kill_group(leader: int) -> None:
    """Kill the run and its workers at once, as the system does when it ends a session."""
    import os

    os.killpg(leader, signal.SIGKILL)
