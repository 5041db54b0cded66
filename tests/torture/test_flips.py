"""One flipped bit in one file of a finished store: it is found, or it changes nothing that anybody is told."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.commands import Ended, called
from tests.torture.conftest import Clock
from tests.torture.table import Table
from tests.torture.worlds import World
from windtunnel.generators.client.store import COMPLETIONS

DETECTED, NO_EFFECT, SILENT = "detected", "without effect", "SILENT"
ANSWERS = ("compare", "report")  # what people read
EVERY = 4  # so many flips are verified for one that is also run: that takes longer


def kinds(store: Path) -> dict[str, list[Path]]:
    """Return the files of a store by kind: folder and suffix of a table, or the name of a file."""
    found: dict[str, list[Path]] = {COMPLETIONS: [store / COMPLETIONS]} if (store / COMPLETIONS).exists() else {}
    for file in sorted(store.glob("[!.]*/**/*")):
        if file.is_file():
            inner = file.relative_to(store).parts[1:]
            kind = f"{inner[-2]}/*{file.suffix}" if len(inner) > 1 and file.stem.isdigit() else file.name
            found.setdefault(kind, []).append(file)
    return found


def flip(file: Path, dice: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    file.write_bytes(content)


def completions(store: Path) -> list[tuple[object, ...]] | None:
    """Return what models have said, without times; None where that cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(store / COMPLETIONS)) as base:
            return base.execute("SELECT key, model, revision, error, reply FROM completion ORDER BY key").fetchall()
    except sqlite3.Error:
        return None


def named(ended: Ended, file: Path, store: Path) -> bool:
    """Whether a command ended with an error that names the step of a file."""
    step = file.relative_to(store).parts[0].rpartition("-")[0]
    return ended.code == 1 and not ended.raised and (step in ended.said or step.replace(".", ":") in ended.said)


def answers(store: Path) -> dict[str, bytes]:
    """Return what the comparison found, and nothing of times."""
    return {
        file.name: file.read_bytes() for file in sorted(store.glob("compare-*/*.*")) if file.name != "manifest.json"
    }


def classified(world: World, pristine: Path, file: Path, rerun: bool) -> tuple[str, str]:
    """Return what became of a flip in a file of the world's store, and what was said of it."""
    store = world.whole
    words = world.words(store)[-1:]
    verified = called(["verify", *words])
    if file.name == COMPLETIONS:
        if verified.code == 1 and not verified.raised and "completion" in verified.said:
            return DETECTED, ""
        same = completions(store) == completions(pristine) and verified.code == 0
        return (NO_EFFECT, "") if same else (SILENT, f"verify: exit code {verified.code}: {verified.said[-300:]}")
    if not named(verified, file, store):
        return SILENT, f"verify: exit code {verified.code}: {verified.said[-300:]}"
    if not rerun:
        return DETECTED, ""
    before = answers(store)
    for folder in [folder for name in ANSWERS for folder in store.glob(f"{name}-*")]:
        shutil.rmtree(folder)  # to be made anew from what was flipped
    ran = called(["run", *words, "--executor", "inline"], limit=300)
    if ran.raised or ran.code not in (0, 1):
        return SILENT, f"run: exit code {ran.code}: {ran.said[-600:]}"
    if ran.code == 1:
        return (DETECTED, "") if named(ran, file, store) else (SILENT, f"run names no step: {ran.said[-300:]}")
    after = answers(store)
    return (DETECTED if "warning" in ran.said else NO_EFFECT, "") if before == after else (SILENT, "another answer")


def flips(world: World, folder: Path, dice: random.Random, clock: Clock) -> Iterator[tuple[str, str, str]]:
    """Flip bits while there is time, ten at least, in one kind of file after the other.

    Yields (kind, outcome, what was said).
    """
    store, pristine = world.whole, folder / "pristine"  # in its own place: the report's key knows it
    shutil.copytree(store, pristine)
    order: list[str] = []
    number = 0
    while number < 10 or clock.left > 0:
        found = kinds(pristine)
        order = order or dice.sample(sorted(found), len(found))
        kind = order.pop()
        file = store / dice.choice(found[kind]).relative_to(pristine)
        if file.stat().st_size:
            flip(file, dice)
            rerun = file.relative_to(store).parts[0].partition("-")[0] not in ANSWERS and number % EVERY == 0
            yield kind, *classified(world, pristine, file, rerun)
            shutil.rmtree(store)
            shutil.copytree(pristine, store)
        number += 1


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.share(0.1)
@pytest.mark.parametrize("name", ["corpus", "chat"])
def test_a_flipped_bit_is_found(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, dice: random.Random, table: Table
) -> None:
    world: World = request.getfixturevalue(name)
    intact = called(["verify", *world.words(world.whole)[-1:]])
    assert intact.code == 0, intact.said
    for kind, outcome, said in flips(world, tmp_path, dice, clock):
        table.add(f"flip: {kind} ({outcome})", f"{kind}: {said}" if outcome == SILENT else None)
    assert not table.lost("flip: ")
