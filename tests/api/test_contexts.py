"""The functions work where code runs: notebooks, threads, worker processes, scripts; and print nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

import windtunnel as wt

ROWS = ["one two three four", "short", "one two three four", "five six seven eight nine"]
FRAME = pl.DataFrame({"text": ROWS})


def kept(_: int = 0) -> list[str]:
    rows = wt.dedup(wt.filter(FRAME, {"length": {"min_words": 3}}).kept, "exact").kept
    return rows["text"].to_list()


LEFT = [ROWS[0], ROWS[3]]
SORTING = """
import windtunnel as wt, polars as pl
frame = pl.DataFrame({"text": ["one two three", "one", "one two three"]})
assert wt.dedup(wt.filter(frame, {"length": {"min_words": 2}}).kept, "exact").kept.height == 1
"""
TRAINING = """
import windtunnel as wt
texts = [f"the river of {i} runs to the stone {i * i} and back again" for i in range(200)]
model = wt.train(texts, token_budget=2048, batch_tokens=256, tokenizer=300, device="cpu",
                 model={"llama": {"width": 32, "layers": 1, "heads": 2, "context": 32}})
assert wt.evaluate(model, texts[:3]).height == 3
"""


def test_in_a_running_event_loop() -> None:
    async def cell() -> list[str]:
        return kept()

    assert asyncio.run(cell()) == LEFT


def test_in_threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(kept, range(6))) == [LEFT] * 6


@pytest.mark.slow
def test_in_daemonic_worker_processes() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # its workers may have no children
        assert pool.map(kept, range(2)) == [LEFT] * 2


@pytest.mark.slow
def test_in_processes_that_train_beside_one_another() -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        first, second = pool.map(_weights, [0, 0])
    assert first == second


def _weights(seed: int) -> bytes:
    model = wt.train(
        [f"a river of {i} stones" for i in range(300)],
        token_budget=1024,
        batch_tokens=256,
        tokenizer=300,
        seed=seed,
        model={"llama": {"width": 32, "layers": 1, "heads": 2, "context": 32}},
    )
    return (model.path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("code", [SORTING, pytest.param(TRAINING, marks=pytest.mark.slow)], ids=["sorting", "training"])
def test_a_script_without_a_guard_prints_nothing_and_leaves_nothing(tmp_path: Path, code: str) -> None:
    (tmp_path / "script.py").write_text(code, encoding="utf-8")
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list((tmp_path / "tmp").glob("windtunnel-*"))


@pytest.mark.slow
def test_several_workers_give_the_same_rows(tmp_path: Path) -> None:
    code = (
        "import polars as pl, windtunnel as wt\n"
        "if __name__ == '__main__':\n"
        "    frame = pl.DataFrame({'text': [f'{i % 90} has a few words' for i in range(200)]})\n"
        "    one, two = (wt.dedup(frame, 'exact', workers=n) for n in (1, 2))\n"
        "    print(one.kept.equals(two.kept), one.dropped.equals(two.dropped), one.kept.height)\n"
    )
    (tmp_path / "script.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True True 90\n"), done.stderr
