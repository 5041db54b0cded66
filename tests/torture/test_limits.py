"""Limits of the system, from far too low to enough: an error that names the limit, or a run as any other."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.torture.conftest import Clock
from tests.torture.table import Table
from tests.torture.worlds import World

GIB = 1 << 30
TOO_LOW = [(resource.RLIMIT_AS, int(gib * GIB)) for gib in (0.5, 1, 1.5, 2, 2.75)]
TOO_LOW += [(resource.RLIMIT_NOFILE, files) for files in (12, 16, 24)]
PERHAPS_ENOUGH = [(resource.RLIMIT_AS, 6 * GIB), (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_AS, 3 * GIB)]
WORDS = {resource.RLIMIT_AS: "ulimit -v", resource.RLIMIT_NOFILE: "ulimit -n"}
FOUND_SECONDS = 20.0  # until the error, the start of the interpreter and of workers included


def limit(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, value))


def tried(world: World, store: Path, kind: int, value: int) -> tuple[float, str | None]:
    """Return the seconds until a run under a limit ended with an error, and what is wrong with that."""
    log = world.folder / "limited.log"
    started = time.monotonic()
    run = world.start(store, log, limit(kind, value))
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(world.seconds * 4 + 60)
    code, seconds = run.poll(), time.monotonic() - started
    run.kill()
    run.wait()
    shown = log.read_text(errors="replace")
    if code == 1 and WORDS[kind] in shown and "Traceback (" not in shown and seconds < FOUND_SECONDS:
        return seconds, None
    if code == 0:
        differing = world.differing(store)
        return 0.0, f"{differing[:3]} differ" if differing else None
    return seconds, f"exit code {code} after {seconds:.0f} s: {shown[-900:]}"


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.share(0.08)
def test_limits_are_named(corpus: World, tmp_path: Path, clock: Clock, table: Table) -> None:
    for kind, value in [*TOO_LOW, *PERHAPS_ENOUGH]:
        if clock.left < 0 and (kind, value) not in TOO_LOW:
            continue
        seconds, wrong = tried(corpus, tmp_path / f"store{value}", kind, value)
        amount = f"{value / GIB:g} GB" if kind == resource.RLIMIT_AS else str(value)
        table.add(f"limit: {WORDS[kind]} {amount}", wrong, seconds)
    assert not table.lost("limit: ")
