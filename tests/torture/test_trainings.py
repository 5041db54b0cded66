"""Kills of a training at random moments until it is done: every objective ends with the files of an undisturbed run."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.torture.conftest import Clock
from tests.torture.table import Table
from tests.trainer.conftest import chat_inputs  # noqa: F401
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.results import RunResult
from windtunnel.trainer.loop import train as stages
from windtunnel.trainer.loop.run import TrainRun

SIZE = {"width": 32, "layers": 2, "heads": 2, "context": 32}
CHAT = {"llama": {**SIZE, "ff": 64, "context": 128, "init_std": 0.1}}
WORDS = {"lr": 3e-3, "batch_tokens": 256}
ROWS = {"lr": 3e-3, "batch_tokens": 64, "epochs": 3}
LOOKS = {"watch": {"validate": 0.25, "documents": 50, "samples": 16, "tokens": 6}, "keep": {"every": 12}}
RUNS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {  # model, what it reads, the rest of the run
    "causal_lm": ({"llama": SIZE}, "world", {"stages": [{"causal_lm": WORDS}]}),
    "causal_lm, looked at": ({"llama": SIZE}, "world", {"stages": [{"causal_lm": WORDS}], **LOOKS}),
    "causal_lm by muon, averaged": (
        {"gpt2": SIZE},
        "world",
        {"stages": [{"causal_lm": {**WORDS, "optimizer": "muon", "average": {"ema": 0.9}, "skip_spikes": 5}}]},
    ),
    "causal_lm of two tokens": ({"gpt2": SIZE}, "world", {"stages": [{"causal_lm": {**WORDS, "predict": 2}}]}),
    "prefix_lm in bf16": ({"llama": SIZE}, "world", {"stages": [{"prefix_lm": WORDS}], "precision": "bf16"}),
    "causal_lm, mixtral": ({"mixtral": SIZE}, "world", {"stages": [{"causal_lm": WORDS}]}),
    "masked_lm": ({"bert": SIZE}, "world", {"stages": [{"masked_lm": {**WORDS, "next_sentence": True}}]}),
    "span_corruption": ({"t5": SIZE}, "world", {"stages": [{"span_corruption": WORDS}]}),
    "bidirectional_lm": (
        {"elmo": {"width": 32, "cell": 48, "context": 32}},
        "world",
        {"stages": [{"bidirectional_lm": WORDS}]},
    ),
    "skipgram": ({"static": {"width": 16, "buckets": 1000}}, "world", {"stages": [{"skipgram": {}}]}),
    "sft with lora": (CHAT, "chat_inputs", {"stages": [{"sft": {**ROWS, "delta": {"lora": {"rank": 2}}}}]}),
    "sft, then dpo": (CHAT, "chat_inputs", {"stages": [{"sft": ROWS}, {"dpo": ROWS}]}),
    "reward": (CHAT, "chat_inputs", {"stages": [{"reward": ROWS}]}),
}
ENOUGH = 50  # kills of a training
MODULES = [  # that are otherwise imported in every process
    *(f"transformers.models.{name}.modeling_{name}" for name in ("llama", "gpt2", "mixtral", "bert", "t5")),
    "windtunnel.trainer.loop.watching",
    "windtunnel.trainer.modules.export",
    "transformers.generation",
    "peft",
]


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.share(0.01)) for name in RUNS])
def test_a_training_killed_again_and_again(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, dice: random.Random, table: Table
) -> None:
    model, reads, rest = RUNS[name]
    found = request.getfixturevalue(reads)
    inputs: dict[str, Artifact] = found.inputs() if reads == "world" else found
    work = TrainRun.model_validate({"mix": "both", "seed": 0, "model": model, "schedule": "constant", **rest})
    seconds = min(_undisturbed(work, inputs, tmp_path / out) for out in ("warm", "whole"))
    whole, kills = _files(tmp_path / "whole"), 0
    while (clock.left > 0 and kills < ENOUGH) or not kills:
        struck, codes = _done(work, inputs, tmp_path / "killed", seconds, clock, dice)
        kills += struck
        table.add(f"{name}: processes", f"exit codes {codes}" if codes - {0, -signal.SIGKILL} else None)
        files = _files(tmp_path / "killed")
        differing = sorted(file for file in whole.keys() | files if whole.get(file) != files.get(file))
        table.add(f"{name}: all bytes after kills", f"{differing[:3]} differ" if differing else None)
        shutil.rmtree(tmp_path / "killed")
    table.add(f"{name}: {kills} kills")
    assert not table.lost(f"{name}: ")


def _undisturbed(work: TrainRun, inputs: dict[str, Artifact], out: Path) -> float:
    """Run it in a process; return the seconds that it takes."""
    started = time.monotonic()
    process = _started(work, inputs, out, 1)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - started


def _started(work: TrainRun, inputs: dict[str, Artifact], out: Path, checkpoint_steps: int) -> Any:
    """Start a training in a process of its own, which has the modules from a server of forks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *MODULES])
    process = context.Process(target=_train, args=(work, inputs, out, checkpoint_steps), daemon=True)
    process.start()
    return process


def _done(
    work: TrainRun, inputs: dict[str, Artifact], out: Path, seconds: float, clock: Clock, dice: random.Random
) -> tuple[int, set[int | None]]:
    """Run it in processes that are killed while there is time, until one is done; return how many were, all codes."""
    codes: list[int | None] = []
    while not codes or codes[-1] == -signal.SIGKILL:
        process = _started(work, inputs, out, dice.choice((1, 3, 7)))
        process.join(dice.uniform(0.2, 1) * seconds if clock.left > 0 or not codes else None)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        codes.append(process.exitcode)
    return codes.count(-signal.SIGKILL), set(codes)


def _train(work: TrainRun, inputs: dict[str, Artifact], out: Path, checkpoint_steps: int) -> None:
    train, module = stages.train, __import__("windtunnel.trainer.loop.run", fromlist=["train"])
    module.train = lambda *given, **words: train(*given, checkpoint_steps=checkpoint_steps, **words)
    work.run(inputs, out, 0)


def _files(out: Path) -> dict[str, bytes]:
    """Return the bytes of all files but half-written ones, which the store removes; results without times."""
    files = {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    files = {name: content for name, content in files.items() if ".partial" not in name}
    for name in [name for name in files if name.endswith("result.json")]:
        result = json.loads(files[name])
        files[name] = json.dumps({k: v for k, v in result.items() if k not in RunResult.measured}).encode()
    return files
