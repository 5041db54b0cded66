"""One flipped bit in one file of a finished store: it is found, or it changes nothing that anybody is told."""

from __future__ import annotations

import contextlib
import random
import shutil
from pathlib import Path

import pytest

from tests.torture.commands import Ended, called
from tests.torture.conftest import Clock
from tests.torture.table import Table
from tests.torture.worlds import World
from windtunnel.generators.client.store import COMPLETIONS, CompletionStore
from windtunnel.pipelines.engine.integrity import damage
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.schemas.errors import InputError, WindtunnelError

ANSWERS = ("compare", "report")  # what people read
FLIPS = 1000  # in both recipes


def kinds(store: Path) -> dict[str, list[Path]]:
    """Return the files of a store by kind: folder and suffix of a table, or the name of a file."""
    found: dict[str, list[Path]] = {}
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


def named(ended: Ended, file: Path, store: Path) -> bool:
    """Whether a command ended with an error that names the step of a file."""
    step = file.relative_to(store).parts[0].rpartition("-")[0]
    return ended.code == 1 and not ended.raised and (step in ended.said or step.replace(".", ":") in ended.said)


def answers(store: Path) -> dict[str, bytes]:
    """Return what the comparison found, and nothing of times."""
    return {
        file.name: file.read_bytes() for file in sorted(store.glob("compare-*/*.*")) if file.name != "manifest.json"
    }


def verified(plan: Plan, store: Path, file: Path) -> str | None:
    """Return what is wrong with how a flip in a file is found; None where it is found, or nothing was changed by it."""
    if file.name == COMPLETIONS:
        return None if _found(file) or not _other_replies(file) else "other replies"
    (step,) = [step for step in plan.steps if step.directory == file.relative_to(store).parts[0]]
    with contextlib.suppress(WindtunnelError):  # the manifest is that of another step
        wrong = damage(store / step.directory, step.key, content=True)
        if not any((store / step.directory / item.file) == file for item in wrong):
            return f"not among {wrong}"
    return None


def _found(completions: Path) -> bool:
    try:
        store = CompletionStore(completions)
        damaged = store.damaged()
        store.close()
    except InputError:
        return True
    return damaged > 0


def _other_replies(completions: Path) -> list[str]:
    """Return the keys under which a run would read another reply; what is not there any more is requested again."""
    whole, flipped = CompletionStore(completions.with_suffix(".whole")), CompletionStore(completions)
    expected = whole.read([row["key"] for row in whole.rows()])
    read = flipped.read(expected)
    whole.close()
    flipped.close()
    return [key for key, reply in read.items() if reply != expected[key]]


def rerun(world: World, store: Path, file: Path) -> str | None:
    """Return what is wrong with a run that makes the answers anew on a store with a flipped bit; None if nothing is.

    Other answers are wrong, and an error that does not name the step.
    """
    words = world.words(store)[-1:]
    checked = called(["verify", *words])
    if not named(checked, file, store):
        return f"verify: exit code {checked.code}: {checked.said[-300:]}"
    before = answers(store)
    for folder in [folder for name in ANSWERS for folder in store.glob(f"{name}-*")]:
        shutil.rmtree(folder)  # to be made anew from what was flipped
    ran = called(["run", *words, "--executor", "inline"], limit=600)
    if ran.raised or ran.code not in (0, 1):
        return f"run: exit code {ran.code}: {ran.said[-600:]}"
    if ran.code == 1:
        return None if named(ran, file, store) else f"run names no step: {ran.said[-300:]}"
    return None if before == answers(store) else "another answer"


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.share(0.08)
@pytest.mark.parametrize("name", ["corpus", "chat"])
def test_a_flipped_bit_is_found(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, dice: random.Random, table: Table
) -> None:
    """Half of the flips that are tried at least; then, while there is time, runs on a store with a flipped bit."""
    world: World = request.getfixturevalue(name)
    store = world.whole  # every file is put back; in a copy the report, which names its store, is that of another one
    recipe = world.words(store)[-1]
    intact = called(["verify", recipe])
    assert intact.code == 0, intact.said
    plan, places = planned(recipe, []), kinds(store)
    for file in store.glob(COMPLETIONS):
        shutil.copy(file, file.with_suffix(".whole"))  # beside the artifacts
        places[COMPLETIONS] = [file]
    for number in range(FLIPS // 2):
        kind = dice.choice(sorted(places)) if number >= len(places) else sorted(places)[number]
        if not (files := [file for file in places[kind] if file.stat().st_size]):
            continue
        file = dice.choice(files)
        whole = file.read_bytes()
        flip(file, dice)
        table.add(f"{name}, flipped bit: {kind}", verified(plan, store, file))
        for rest in file.parent.glob(f"{file.name}-*"):  # what SQLite has beside its file
            rest.unlink()
        file.write_bytes(whole)
    store = tmp_path / "flipped"
    while clock.left > 0:
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(world.whole, store)
        inner = [f for files in kinds(store).values() for f in files if f.stat().st_size]
        file = dice.choice([f for f in inner if f.relative_to(store).parts[0].partition("-")[0] not in ANSWERS])
        flip(file, dice)
        table.add(f"{name}, flipped bit: run again", rerun(world, store, file))
    assert not table.lost(f"{name}, flipped bit: ")
