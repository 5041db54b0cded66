"""Damaged stores: whatever is not as it was written is named and done again, never read as a result."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tests.pipelines.test_run import Joined, Letters
from tests.torture.worlds import CORPUS
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.integrity import damage
from windtunnel.pipelines.engine.run import Progress, StepFailed, run
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.views.verification import verify
from windtunnel.schemas.artifact import MANIFEST, Manifest
from windtunnel.schemas.errors import InputError, WindtunnelError

INLINE = Where("inline")


class Said(Progress):
    """Keeps what the runner says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "marks").mkdir()
    return tmp_path / "store"


def letters(store: Path, **fields: str) -> Step:
    return Step("letters:x", Letters(marks=str(store.parent / "marks"), **fields))


def joined(source: Step, name: str = "joined:x") -> Step:
    return Step(name, Joined(), {"letters": source})


def word(step: Step, store: Path) -> str:
    return (step.artifact(store).path / "word.txt").read_text()


def flip(file: Path, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def flip_some(file: Path) -> None:
    flip(file, random.Random(file.name).randrange(8 * file.stat().st_size))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def add(file: Path) -> None:
    (file.parent / f"more{file.suffix}").write_bytes(file.read_bytes())


DAMAGES: list[tuple[str, Callable[[Path], None], str]] = [
    ("letters/00001.txt", flip_some, "letters/00001.txt has other content than was written"),
    ("letters/00001.txt", cut, "letters/00001.txt has 0 bytes where 1 were written"),
    ("letters/00001.txt", Path.unlink, "letters/00001.txt is missing"),
    ("counts/00002.json", flip_some, "counts/00002.json has other content than was written"),
    (MANIFEST, empty, "manifest.json is empty"),
    (MANIFEST, cut, "manifest.json is damaged"),
]


@pytest.mark.parametrize(("file", "harm", "said"), DAMAGES)
def test_what_a_step_is_about_to_read_is_whole(store: Path, file: str, harm: Callable, said: str) -> None:
    source, progress = letters(store), Said()
    run([source], store, INLINE)
    harm(source.artifact(store).path / file)
    step = joined(source)
    assert run([step], store, INLINE, progress).executed == ["letters:x", "joined:x"]
    assert [line for line in progress.lines if said in line and line.startswith("letters:x: letters.x-")], (
        progress.lines
    )
    assert word(step, store) == "abc" and damage(source.artifact(store).path, source.key, content=True) == []


def test_files_of_others_in_a_data_folder_are_moved_and_nothing_is_made_again(store: Path) -> None:
    source, progress = letters(store), Said()
    run([source], store, INLINE)
    folder = source.artifact(store).path
    add(folder / "letters" / "00001.txt")
    (folder / "letters" / "link.txt").symlink_to("/nowhere")
    with pytest.raises(InputError, match="was not written by its step"):
        source.artifact(store).intact("letters")
    step = joined(source)
    assert run([step], store, INLINE, progress).executed == ["joined:x"]
    assert "was not written by its step" in progress.lines[0] and progress.lines[0].endswith("it is moved")
    assert word(step, store) == "abc" and damage(folder, source.key, content=True) == []
    assert sorted(f.name for f in (store / "set_aside" / folder.name / "letters").iterdir()) == ["link.txt", "more.txt"]


@pytest.mark.parametrize("name", [".DS_Store", "._00001.txt", ".nfs0001"])
def test_hidden_files_of_systems_are_no_damage_and_no_data(store: Path, name: str) -> None:
    source = letters(store)
    run([source], store, INLINE)
    folder = source.artifact(store).path / "letters"
    (folder / name).write_text("x")
    assert damage(folder.parent, source.key, content=True) == []
    assert len(source.artifact(store).intact("letters").files("letters", ".txt")) == 3


def test_links_within_a_store_and_beside_data(store: Path) -> None:
    """Data that was moved to another disk is whole; a damaged artifact's link goes, and not what it leads to."""
    source = letters(store)
    run([source], store, INLINE)
    folder = source.artifact(store).path
    (folder / "note").symlink_to("/nowhere")
    (folder / "loop").symlink_to(folder)
    elsewhere = store.parent / "elsewhere"
    shutil.move(folder / "letters", elsewhere)
    (folder / "letters").symlink_to(elsewhere)
    assert damage(folder, source.key, content=True) == []
    shutil.move(folder, store.parent / "whole")
    folder.symlink_to(store.parent / "whole")
    assert run([source], store, INLINE).executed == []
    cut(elsewhere / "00001.txt")
    assert run([source], store, INLINE).executed == ["letters:x"]
    assert not folder.is_symlink() and (elsewhere / "00001.txt").exists()


def test_a_manifest_that_is_a_directory_and_data_that_is_a_pipe(store: Path) -> None:
    source = letters(store)
    run([source], store, INLINE)
    folder = source.artifact(store).path
    (folder / "letters" / "00001.txt").unlink()
    os.mkfifo(folder / "letters" / "00001.txt")
    assert [str(item) for item in damage(folder, source.key)] == ["letters/00001.txt is no regular file"]
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).mkdir()
    assert run([source], store, INLINE).executed == ["letters:x"]


@pytest.mark.parametrize(("file", "harm", "said"), [("word.txt", flip_some, "word.txt has other"), *DAMAGES[-2:]])
def test_what_is_shown_is_whole(store: Path, file: str, harm: Callable, said: str) -> None:
    """A second run has nothing to do, and still shows no damaged answer: neither a target nor what is beside it."""
    source, progress = letters(store), Said()
    step, other = joined(source), joined(source, "joined:other")
    run([step, other], store, INLINE)
    for damaged in (step, other):
        harm(damaged.artifact(store).path / file)
    assert run([step], store, INLINE, progress, shown=[other]).executed == ["joined:x", "joined:other"]
    assert sum(said in line for line in progress.lines) == 2
    assert (word(step, store), word(other, store)) == ("abc", "abc")


def test_every_bit_of_a_manifest_counts(store: Path) -> None:
    source = letters(store, letters="a")
    run([source], store, INLINE)
    file = source.artifact(store).path / MANIFEST
    whole, silent = file.read_bytes(), []
    manifest = Manifest.read(file)
    for bit in random.Random(0).sample(range(8 * len(whole)), 400):
        flip(file, bit)
        try:
            if Manifest.read(file) != manifest:
                silent.append(bit)
        except InputError:
            pass
        file.write_bytes(whole)
    assert silent == []


def test_an_artifact_under_the_name_of_another_is_refused(store: Path) -> None:
    a, b = letters(store), letters(store, letters="xyz")
    run([a, b], store, INLINE)
    for file in (b.artifact(store).path / "letters").iterdir():
        file.unlink()
    b.artifact(store).path.joinpath(MANIFEST).write_bytes((a.artifact(store).path / MANIFEST).read_bytes())
    with pytest.raises(WindtunnelError, match=r"it was renamed or copied there\. Move it away and run again"):
        run([joined(b)], store, INLINE)


def test_damage_that_nothing_reads_is_found_by_verify(store: Path) -> None:
    source, progress = letters(store), Said()
    step = joined(source)
    run([step], store, INLINE)
    (source.artifact(store).path / "README.md").write_text("a card")  # beside the data: no damage
    assert run([step], store, INLINE, progress, verify=True).executed == []
    flip_some(source.artifact(store).path / "letters" / "00000.txt")
    assert run([step], store, INLINE, progress).executed == [] == progress.lines
    assert run([step], store, INLINE, progress, verify=True).executed == ["letters:x"]
    assert len(progress.lines) == 2 and "letters/00000.txt" in progress.lines[0]
    assert "README.md" in progress.lines[1]
    assert next((store / "set_aside").rglob("README.md")).read_text() == "a card"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("file", "harm", "again"),
    [
        ("letters/00000.txt", flip_some, "a"),
        ("letters/00000.txt", Path.unlink, "a"),
        ("counts/00001.json", flip_some, "b"),
        ("counts/00001.json", empty, "b"),
        (".files/00000.jsonl", empty, ""),  # its files are then not recorded
    ],
)
def test_a_resumed_step_does_damaged_shards_again(
    store: Path, workers: int, file: str, harm: Callable, again: str
) -> None:
    source, progress, marks = letters(store, bad="c"), Said(), store.parent / "marks"
    (marks / "broken").touch()
    with pytest.raises(StepFailed):
        run([source], store, Where(workers=workers))
    harm(store / f"{source.directory}.partial" / file)
    (marks / "broken").unlink()
    run([joined(source)], store, Where(workers=workers), progress)
    assert word(joined(source), store) == "abc"
    assert {letter: (marks / f"ran_{letter}").read_text() for letter in "abc"} == {
        letter: "x" * (1 + (letter in again + "c")) for letter in "abc"
    }
    assert len([line for line in progress.lines if file in line]) == len(again)
    assert not (source.artifact(store).path / ".files").exists()


def test_a_file_that_was_put_between_the_shards_of_an_interrupted_step_is_no_shard(store: Path) -> None:
    """Its rows would be rows of the artifact, sealed with it, and its counts would say nothing of them."""
    source, progress, marks = letters(store, bad="c"), Said(), store.parent / "marks"
    (marks / "broken").touch()
    with pytest.raises(StepFailed):
        run([source], store, Where(workers=1))
    folder = store / f"{source.directory}.partial"
    for name in ("00077.txt", "00000 copy.txt"):
        (folder / "letters" / name).write_text("z")
    (folder / "letters" / "00002.txt").write_text("half")  # of a shard that is not finished: it is written again
    (marks / "broken").unlink()
    step = joined(source)
    run([step], store, Where(workers=1), progress)
    assert word(step, store) == "abc" and "set_aside/" in "".join(progress.lines)
    assert len(list((store / "set_aside").rglob("*.txt"))) == 2


def test_the_counts_of_a_manifest_are_those_of_the_shards(store: Path) -> None:
    source = letters(store)
    run([source], store, INLINE)
    manifest = Manifest.read(source.artifact(store).path / MANIFEST)
    assert manifest.counts["seen"] == 6
    assert sorted(manifest.files) == [
        *(f"counts/0000{k}.json" for k in range(3)),
        *(f"letters/0000{k}.txt" for k in range(3)),
    ]
    assert json.loads((source.artifact(store).path / MANIFEST).read_text())["seal"] == manifest.seal


def test_counts_that_a_power_failure_left_empty_are_counted_anew(store: Path) -> None:
    """The journal went with them."""
    source, marks = letters(store, bad="c"), store.parent / "marks"
    (marks / "broken").touch()
    with pytest.raises(StepFailed):
        run([source], store, Where(workers=1))
    folder = store / f"{source.directory}.partial"
    shutil.rmtree(folder / ".files")
    empty(folder / "counts" / "00000.json")
    (marks / "broken").unlink()
    run([source], store, Where(workers=1))
    assert (marks / "ran_a").read_text() == "xx" and (marks / "ran_b").read_text() == "x"


def test_verify_promises_no_mend_for_completions_that_a_run_cannot_make_again(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("A text.")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(CORPUS.format(store=tmp_path / "store", text=tmp_path / "text"))
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "completions.sqlite").write_bytes(b"no database" * 100)
    console = Console(record=True, width=200)
    assert verify(str(recipe), [], False, console) == 1
    said = " ".join(console.export_text().split())
    assert "Move it away and run again" in said and "does them again" not in said
