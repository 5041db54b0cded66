"""Stores in object storage: nothing is executed twice on any machine, and whatever is interrupted is repaired."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
from rich.console import Console

from tests.pipelines.remote.conftest import put, without_aws
from windtunnel.generators.client.completion import Completion
from windtunnel.generators.client.store import COMPLETIONS, CompletionStore
from windtunnel.pipelines.api.store import Store
from windtunnel.pipelines.engine.mirrors import completions, lock, mirror
from windtunnel.pipelines.engine.mirrors.mirror import STATE, Mirror
from windtunnel.pipelines.engine.mirrors.opening import fetched_path, open_store, store_folder
from windtunnel.pipelines.engine.run import Outcome, Progress, run
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.recipe.file import parse
from windtunnel.pipelines.run_recipe import run_recipe
from windtunnel.pipelines.views.cards import write_cards
from windtunnel.pipelines.views.preview import preview
from windtunnel.pipelines.views.show import show
from windtunnel.pipelines.views.why import tell
from windtunnel.schemas.artifact import MANIFEST, Manifest
from windtunnel.schemas.errors import InputError, RecipeError, WindtunnelError

RECIPE = """\
question: What is kept?
store: {store}
corpora:
  raw: {{source: {{jsonl: {source}}}}}
  again: {{from: raw}}
"""
TEXTS = ["one two three four five", "one two", *(f"text number {i} of many more" for i in range(20))]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give this machine a cache of its own; return what makes another machine of it."""

    def become(name: str) -> None:
        monkeypatch.setenv("WINDTUNNEL_CACHE", str(tmp_path / name))

    become("first")
    return become


@pytest.fixture
def recipe(bucket: str, tmp_path: Path) -> str:
    put(f"{bucket}/in.jsonl", b"".join(json.dumps({"text": text}).encode() + b"\n" for text in TEXTS))
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(store=f"{bucket}/runs/one", source=f"{bucket}/in.jsonl"), encoding="utf-8")
    return str(path)


def text_console() -> tuple[Console, Callable[[], str]]:
    console = Console(record=True, width=300, file=io.StringIO())
    return console, lambda: console.export_text(clear=False)


def do(recipe: str) -> list[str]:
    """Run a recipe as the command does; return what it printed."""
    console, text = text_console()
    run_recipe(recipe, [], None, "local", 1, True, console)
    return text().splitlines()


def executed(recipe: str) -> list[str]:
    """Run a recipe up to its corpora; return the steps that were executed."""
    made = planned(recipe, [])
    targets = [step for step in made.targets if step.kind == "corpus"]
    return run(targets, open_store(made.recipe.store)).executed


@contextmanager
def patched(method: str, wrong: Callable[[str, Path], None], first: bool = True) -> Iterator[None]:
    """Call `wrong` with the remote and the local path before (or after) every transfer of a file."""
    s3 = fsspec.get_filesystem_class("s3")
    plain = getattr(s3, method)

    async def transfer(self: Any, source: str, target: str, **more: Any) -> None:
        remote, local = (source, Path(target)) if method == "_get_file" else (target, Path(source))
        if first:
            wrong(remote, local)
        await plain(self, source, target, **more)
        if not first:
            wrong(remote, local)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3, method, transfer)
        s3.clear_instance_cache()
        yield
    s3.clear_instance_cache()


def keys(bucket: str) -> list[str]:
    fs = fsspec.filesystem("s3")
    fs.invalidate_cache()
    return [name.partition("/")[2] for name in fs.find(bucket.removeprefix("s3://"))]


def manifests(bucket: str) -> list[str]:
    return [key for key in keys(bucket) if key.endswith(MANIFEST)]


def test_no_machine_does_a_finished_step_again(
    recipe: str, bucket: str, machine: Callable[[str], None], tmp_path: Path
) -> None:
    first = do(recipe)
    assert first[-2].startswith("4 steps executed"), first
    assert Path(first[-1]).read_bytes().startswith(b"<!doctype html>")
    assert len(manifests(bucket)) == 4
    assert not [key for key in keys(bucket) if "partial" in key or ".lock" in key or STATE in key]
    assert do(recipe)[-2].startswith("0 steps executed")
    machine("second")
    second = do(recipe)
    assert second[-2].startswith("0 steps executed")
    assert second[-1] != first[-1], "the report of the mirror of the second machine"
    assert Path(second[-1]).read_bytes() == Path(first[-1]).read_bytes()
    mirror = store_folder(f"{bucket}/runs/one")
    files = {file.relative_to(mirror).parts for file in mirror.glob("[a-z]*/**/*") if file.is_file()}
    assert {name.partition("-")[0] for name, *rest in files if rest != [MANIFEST]} == {"report"}, "others came whole"


def test_commands_read_a_store_that_another_machine_has_made(
    recipe: str, bucket: str, machine: Callable[[str], None]
) -> None:
    executed(recipe)
    machine("second")
    (corpus,) = {key.split("/")[2] for key in keys(bucket) if "/corpus.again-" in key}
    console, text = text_console()
    show(f"{bucket}/runs/one/{corpus}", 1, None, None, console)
    assert "corpus:again: 22 in, 22 kept" in text()
    assert "text: one two three four five" in text()
    document = next(line.removeprefix("id: ") for line in text().splitlines() if line.startswith("id: "))
    machine("third")
    console, text = text_console()
    preview(recipe, [], False, console)
    assert "4 steps, 3 cached" in text()
    console, text = text_console()
    tell(recipe, [], document, console)
    assert "corpus:again: kept" in text()
    machine("fourth")
    cards = write_cards(recipe, [])
    assert "one two" not in cards[0].read_text()
    assert sum(key.endswith("/README.md") for key in keys(bucket)) == 2
    with pytest.raises(InputError, match=r"s3://bucket-\d+/in.jsonl is in no artifact of a store: copy it here"):
        show(f"{bucket}/in.jsonl", 1, None, None, console)


def test_the_api_reads_a_store_in_object_storage(recipe: str, bucket: str, machine: Callable[[str], None]) -> None:
    executed(recipe)
    time.sleep(1.1)  # the server's times are whole seconds
    put(f"{bucket}/in.jsonl", b'{"text": "only this"}\n')
    executed(recipe)
    machine("second")
    store = Store.open(f"{bucket}/runs/one")
    assert store["corpus:again"].to_polars()["text"].to_list() == ["only this"], "the one that was finished last"
    assert len(store) == 6
    with pytest.raises(InputError, match="no password and no query"):
        Store.open("s3://key:hush-hush@bucket/runs")


def test_a_step_gets_its_inputs_from_the_bucket(recipe: str, bucket: str, machine: Callable[[str], None]) -> None:
    executed(recipe)
    machine("second")
    path = Path(recipe)
    path.write_text(path.read_text() + "  third: {from: raw}\n")
    assert executed(recipe) == ["corpus:third"]
    (third,) = {key.split("/")[2] for key in keys(bucket) if "/corpus.third-" in key}
    assert pl.read_parquet(fetched_path(f"{bucket}/runs/one/{third}") / "kept/*.parquet")["text"].to_list() == TEXTS


def test_an_upload_that_was_cut_short_is_made_anew(recipe: str, bucket: str, machine: Callable[[str], None]) -> None:
    def cut(remote: str, local: Path) -> None:
        if "/corpus.again-" in remote and "/kept/" in remote:
            raise ConnectionResetError("the line is cut")

    message = r"corpus.again-\w+ cannot be uploaded \(it is finished in .*run again\): ConnectionResetError: the line"
    with patched("_put_file", cut), pytest.raises(InputError, match=message):
        executed(recipe)
    assert not [key for key in manifests(bucket) if "corpus.again" in key]
    assert ".lock" not in "".join(keys(bucket))
    names = executed(recipe)
    assert "corpus:again" not in names, "it was finished, only not uploaded"
    assert len(manifests(bucket)) == 3
    machine("second")
    assert executed(recipe) == []


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_a_damaged_file_of_a_mirror_comes_from_the_bucket(recipe: str, bucket: str) -> None:
    do(recipe)
    mirror = store_folder(f"{bucket}/runs/one")
    (report,) = mirror.glob("report-*/report.html")
    whole = report.read_bytes()
    for harm in (flip_a_bit, Path.unlink):
        harm(report)
        said = do(recipe)
        assert any(f"report: {report.parent.name}/report.html" in line for line in said), said
        assert said[-2].startswith("0 steps executed") and report.read_bytes() == whole


def test_a_file_that_is_damaged_before_its_upload_is_made_anew(recipe: str, bucket: str) -> None:
    def cut(remote: str, local: Path) -> None:
        if "/corpus.again-" in remote:
            raise ConnectionResetError("the line is cut")

    with patched("_put_file", cut), pytest.raises(InputError, match="cannot be uploaded"):
        executed(recipe)
    (file,) = store_folder(f"{bucket}/runs/one").glob("corpus.again-*/kept/*.parquet")
    whole = file.read_bytes()
    flip_a_bit(file)
    assert "corpus:again" in executed(recipe)
    (key,) = [key for key in keys(bucket) if "corpus.again" in key and "/kept/" in key]
    assert file.read_bytes() == whole == fsspec.filesystem("s3").cat_file(f"{bucket}/{key}")


@pytest.mark.parametrize(
    "damage", ["manifest is gone", "manifest is cut", pytest.param("file is gone", marks=pytest.mark.slow)]
)
def test_an_artifact_without_a_whole_manifest_is_not_finished(
    damage: str, recipe: str, bucket: str, machine: Callable[[str], None]
) -> None:
    executed(recipe)
    fs = fsspec.filesystem("s3")
    (manifest,) = [f"{bucket}/{key}" for key in manifests(bucket) if "corpus.again" in key]
    (data,) = [f"{bucket}/{key}" for key in keys(bucket) if "corpus.again" in key and "/kept/" in key]
    before = fs.cat_file(data)
    fs.rm_file(data)
    put(f"{manifest.rpartition('/')[0]}/kept/stray.parquet", b"left over")
    if damage == "manifest is gone":
        fs.rm_file(manifest)
        assert executed(recipe) == [], "this machine has it, and uploads it again"
    else:
        if damage == "manifest is cut":
            put(manifest, b'{"step": "corp')
        machine("second")
        assert executed(recipe) == ["corpus:again"]
    assert fs.cat_file(data) == before
    assert not [key for key in keys(bucket) if "stray" in key]
    assert len(manifests(bucket)) == 3


def test_a_download_of_another_size_is_refused_and_an_interrupted_one_goes_on(
    recipe: str, bucket: str, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    executed(recipe)
    (data,) = [f"{bucket}/{key}" for key in keys(bucket) if "corpus.again" in key and "/kept/" in key]
    artifact = data.rpartition("/kept/")[0]
    machine("second")
    got: list[str] = []

    def short(remote: str, local: Path) -> None:
        if "/kept/" in remote:
            local.write_bytes(local.read_bytes()[:-1])

    message = "kept/00000.parquet is not as it was written: run again"
    with patched("_get_file", short, first=False), pytest.raises(InputError, match=message):
        fetched_path(artifact)
    assert not list(store_folder(f"{bucket}/runs/one").rglob("*.parquet*"))[1:], "half a file is not kept"
    whole = fetched_path(f"{artifact}/kept/00000.parquet").read_bytes()
    assert whole == fsspec.filesystem("s3").cat_file(data)
    with patched("_get_file", lambda remote, local: got.append(remote)):
        fetched_path(artifact)
    assert got == [], "what is here is not downloaded again"


def test_keys_that_lead_out_of_the_mirror_are_left_alone(bucket: str, tmp_path: Path) -> None:
    name = "corpus.raw-01234567"
    manifest = (
        Manifest(step="corpus:raw", version=1, key="01234567" * 4, config={}, bytes=1)
        .sealed()
        .model_dump_json()
        .encode()
    )
    fs = fsspec.filesystem("s3")
    for file, data in {MANIFEST: manifest, "kept/a": b"1", "../../../../out": b"2", "/abs": b"3"}.items():
        fs.call_s3("put_object", Bucket=bucket.removeprefix("s3://"), Key=f"store/{name}/{file}", Body=data)
    store = open_store(f"{bucket}/store")
    mirror = Mirror.at(store)
    assert mirror is not None
    mirror.fetch(name)
    assert sorted(str(f.relative_to(store / name)) for f in (store / name).rglob("*") if f.is_file()) == [
        "kept/a",
        MANIFEST,
    ]


class Lines(Progress):
    """Keeps what the runner says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def another_run(bucket: str) -> str:
    url = f"{bucket}/runs/one/.lock"
    put(url, json.dumps({"token": "other", "pid": 77, "host": "elsewhere", "since": "2026-01-01 10:00:00"}).encode())
    return url


def test_a_store_in_use_is_refused_or_waited_for(recipe: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = another_run(bucket)
    made = planned(recipe, [])
    store = open_store(made.recipe.store)
    message = (
        rf"in use by process 77 on elsewhere since 2026-01-01 10:00:00; wait .*; if that run was killed, remove {url}$"
    )
    with pytest.raises(WindtunnelError, match=message):
        run(made.targets, store, wait=False)
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.02)

    class OtherEnds(Lines):
        def say(self, line: str) -> None:
            super().say(line)
            if line.startswith("waiting"):
                fsspec.filesystem("s3").rm_file(url)

    progress = OtherEnds()
    monkeypatch.setattr(mirror, "LARGE_BYTES", 1)
    outcome: Outcome = run(made.targets, store, progress=progress)
    assert len(outcome.executed) == 4
    assert len([line for line in progress.said if line.startswith("uploading corpus.again-")]) == 1
    assert len([line for line in progress.said if line.startswith("waiting: the store s3://")]) == 1
    assert ".lock" not in "".join(keys(bucket))


def test_a_lock_that_is_not_renewed_is_taken_over(recipe: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    another_run(bucket)
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.5)
    made = planned(recipe, [])
    assert len(run(made.targets, open_store(made.recipe.store)).executed) == 4


def test_the_lock_of_a_killed_run_of_this_mirror_is_taken_at_once(recipe: str, bucket: str) -> None:
    store = open_store(f"{bucket}/runs/one")
    mirror = Mirror.at(store)
    assert mirror is not None
    put(f"{mirror.url}/.lock", json.dumps({"token": mirror.token, "pid": 1, "host": "here"}).encode())
    made = planned(recipe, [])
    assert len(run(made.targets, store, wait=False).executed) == 4


def test_a_lock_is_renewed_and_a_lost_one_stops_uploads(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    store, url = f"{bucket}/runs/one", f"{bucket}/runs/one/.lock"
    fs = fsspec.filesystem("s3")
    with lock.held(store, "mine", True, print):
        lock.check(store, "mine")
        before = json.loads(fs.cat_file(url))["renewed"]
        until = time.monotonic() + 10
        while json.loads(fs.cat_file(url))["renewed"] == before:
            assert time.monotonic() < until
            time.sleep(0.05)
        monkeypatch.setattr(lock, "BEAT_SECONDS", 3600)
        time.sleep(0.5)  # until the last renewal is over
        another_run(bucket)
        with pytest.raises(WindtunnelError, match=r"was lost to process 77 on elsewhere .* Run again"):
            lock.check(store, "mine")
        monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
        ended = threading.Event()
        threading.Timer(0.3, ended.set).start()
        lock._Lock(store, "mine").renew(ended)
        assert json.loads(fs.cat_file(url))["token"] == "other", "a lost lock is not renewed"
    assert json.loads(fs.cat_file(url))["token"] == "other", "nor removed"


@pytest.mark.parametrize("conditional", [True, False])
def test_only_one_of_two_mirrors_makes_the_lock(
    conditional: bool, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = fsspec.get_filesystem_class("s3")
    plain = s3._pipe_file

    async def without_conditions(self: Any, path: str, data: bytes, mode: str = "overwrite", **more: Any) -> None:
        if mode == "create":
            raise OSError(errno.ENOSYS, "A header you provided implies functionality that is not implemented")
        await plain(self, path, data, **more)

    if not conditional:
        monkeypatch.setattr(s3, "_pipe_file", without_conditions)
        monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.5)
        s3.clear_instance_cache()
    locks = [lock._Lock(f"{bucket}/runs/one", token) for token in ("a", "b")]
    barrier, made = threading.Barrier(2), []

    def create(own: Any) -> None:
        barrier.wait()
        made.append(own._create())

    threads = [threading.Thread(target=create, args=(own,)) for own in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    s3.clear_instance_cache()
    assert sorted(made) == [False, True]


def test_a_store_without_bucket_credentials_or_driver(
    server: str, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Path(recipe).read_text()
    with pytest.raises(InputError, match=r"there is no bucket no-such-bucket: create it, or correct `store:`"):
        preview(recipe, ["store=s3://no-such-bucket/runs"], False, Console())
    with pytest.raises(RecipeError, match=r"recipe.yaml, line 2: store: .* no password and no query") as error:
        planned(recipe, ["store=s3://key:hush-hush@bucket/runs"])
    assert "hush-hush" not in str(error.value)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(RecipeError, match=r"line 2: store: gs:// needs a package that is not installed: .*gcsfs"):
        planned(recipe, ["store=gs://bucket/runs"])
    local = tmp_path / "in.jsonl"
    local.write_text('{"text": "one"}\n')
    Path(recipe).write_text(RECIPE.format(store="s3://bucket/runs", source=local))
    with pytest.MonkeyPatch.context() as patch:
        without_aws(patch)
        with pytest.raises(InputError, match="the store s3://bucket/runs cannot be listed: no credentials are config"):
            preview(recipe, [], False, Console())
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    assert plain != Path(recipe).read_text()


def test_other_executors_need_a_shared_mirror(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINDTUNNEL_CACHE")
    with pytest.raises(RecipeError, match=r"--executor slurm: the store s3://.* set WINDTUNNEL_CACHE to a directory"):
        run_recipe(recipe, [], None, "slurm", 1, True, Console())


def test_a_store_in_memory_and_one_named_by_a_file_address(memory: str, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    for store in (f"{memory}/store/", f"file://{tmp_path}/store"):
        (tmp_path / "r.yaml").write_text(RECIPE.format(store=store, source=source))
        assert len(executed(str(tmp_path / "r.yaml"))) == 3
        assert executed(str(tmp_path / "r.yaml")) == []
    assert (tmp_path / "store").is_dir()
    assert len(fsspec.filesystem("memory").glob("/texts/store/*/manifest.json")) == 3


def completion(key: str, text: str) -> Completion:
    return Completion(
        text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1, logprobs=None, error=None, detail=None,
        model="m", revision="", key=key * 64, cached=False,
    )  # fmt: skip


def test_completions_of_all_machines_come_together(memory: str, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder, keys_ in zip(folders, ("ab", "bc"), strict=True):
        store = CompletionStore(folder / COMPLETIONS)
        for key in keys_:
            store.write(completion(key, f"{folder.name} said {key}"), {})
        store.close()
    mark = "mark.json"
    for folder in (folders[0], folders[1], folders[0]):
        completions.pull(folder, memory, folder / mark)
        completions.push(folder, memory, folder / mark)
    texts = []
    for folder in folders:
        store = CompletionStore(folder / COMPLETIONS)
        texts.append({key[0]: found.text for key, found in store.read([k * 64 for k in "abc"]).items()})
        store.close()
    assert texts[0] == {"a": "one said a", "b": "one said b", "c": "two said c"}
    assert texts[1] == {"a": "one said a", "b": "two said b", "c": "two said c"}, "what a machine has it keeps"
    before = fsspec.filesystem("memory").info("/texts/completions.sqlite")["created"]
    completions.push(folders[0], memory, folders[0] / mark)
    assert fsspec.filesystem("memory").info("/texts/completions.sqlite")["created"] == before, "nothing new to upload"
    put(f"{memory}/{COMPLETIONS}", b"no database " * 1000)
    with pytest.raises(InputError, match="is not a usable completion store"):
        completions.pull(folders[0], memory, folders[0] / mark)


KILLED = """\
import os, signal
import fsspec
s3 = fsspec.get_filesystem_class("s3")
put_file = s3._put_file
async def killed(self, source, target, **more):
    await put_file(self, source, target, **more)
    if "/corpus.raw-" in target:
        os.kill(os.getpid(), signal.SIGKILL)
s3._put_file = killed
from windtunnel.pipelines.cli import main
main()
"""


@pytest.mark.slow
def test_kill_9_during_an_upload_then_the_same_command(
    recipe: str, bucket: str, machine: Callable[[str], None]
) -> None:
    words = [sys.executable, "-c", KILLED, "run", recipe, "--workers", "1"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert "runs/one/.lock" in keys(bucket)
    assert not [key for key in manifests(bucket) if "corpus.raw" in key]
    again = subprocess.run(
        [sys.executable, "-m", "windtunnel", "run", recipe, "--workers", "1", "--no-wait"],
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert len(manifests(bucket)) == 4
    assert "runs/one/.lock" not in keys(bucket)
    machine("second")
    assert executed(recipe) == []


def test_a_recipe_says_where_its_completions_are(memory: str) -> None:
    recipe = parse(RECIPE.format(store=f"{memory}/store", source="in.jsonl"), [])
    assert store_folder(recipe.store).parent.name == "stores"
