"""Limits of the system, from far too low to enough: an error that names the limit, or a run as any other."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.torture.conftest import Clock
from tests.torture.table import Table
from tests.torture.worlds import World

GIB = 1 << 30
LIMITS = [(resource.RLIMIT_AS, int(gib * GIB), "ulimit -v") for gib in (0.5, 1, 1.5, 2, 2.75, 3, 3.25, 4, 6)]
LIMITS += [(resource.RLIMIT_NOFILE, files, "ulimit -n") for files in (12, 16, 24, 32, 64)]


def limit(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, value))


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.share(0.15)
def test_limits_are_named(corpus: World, tmp_path: Path, clock: Clock, table: Table) -> None:
    """One store for all that fail; from the first limit under which the run ends, the others begin anew while time is left."""
    for kind, value, words in LIMITS:
        store, log = tmp_path / "limited", corpus.folder / "limited.log"
        if clock.left < 0 and (store / ".ended").exists():
            continue
        started = time.monotonic()
        run = corpus.start(store, log, limit(kind, value))
        try:
            code = run.wait(corpus.seconds * 4 + 60)
        except Exception:
            run.kill()
            code = None
        seconds = time.monotonic() - started
        shown = log.read_text(errors="replace")
        wrong: str | None = f"{value}: exit code {code}: {shown[-900:]}"
        if code == 1 and words in shown and "Traceback (" not in shown:
            wrong = None
        elif code == 0:
            differing = corpus.differing(store)
            wrong = f"{value}: {differing[:3]} differ" if differing else None
            shutil.rmtree(store)
        table.add(f"limit: {words} {value / GIB:g} GB" if kind == resource.RLIMIT_AS else f"limit: {words} {value}",
                  wrong, 0 if code == 0 else seconds)  # fmt: skip
    assert not table.lost("limit: ")
