"""`windtunnel watch` and the lines of `run`: what files of the store say, at any moment, without control characters."""

from __future__ import annotations

import io
import json
import math
import threading
import time
from types import SimpleNamespace

import pytest

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.store import commit, partial
from windtunnel.pipelines.engine.tasks.task import COUNTS, Task
from windtunnel.pipelines.views import terminal, watch
from windtunnel.pipelines.views.console import PlainConsole
from windtunnel.pipelines.views.run_progress import sparkline, told
from windtunnel.schemas.artifact import write_text
from windtunnel.schemas.progress import RunProgress, end_progress
from windtunnel.schemas.results import RunResult, Totals
from windtunnel.schemas.work import Counts, Work

NOW = RunProgress(
    step=30, steps=120, tokens=30_000, loss=3.25, curve=[9.0, 5.0, 3.25], tokens_per_second=15_200.4, seconds_left=42.0,
    bits_per_byte=2.5, validated_at=20,
)  # fmt: skip
WORDS = "step 30 of 120, loss 3.250, 15,200 tokens/s, 42 s left, held-out 2.500 bits per byte at step 20"


class Nothing(Work):
    """Stands for a training run."""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    steps = [Step(f"train:{mix}:0", Nothing()) for mix in ("raw", "clean")]  # pyright: ignore[reportArgumentType]
    recipe = SimpleNamespace(store=str(tmp_path))
    plan = SimpleNamespace(of_kind=lambda kind: steps if kind == "train" else [], recipe=recipe)
    monkeypatch.setattr(watch, "planned", lambda recipe, sets: plan)
    monkeypatch.setattr(watch, "LINE_SECONDS", 0.02)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.02)
    return steps


def end(step, store):
    """Leave what a run leaves that is done, before it is committed with the others of its group."""
    folder = partial(store, step)
    end_progress(folder)
    note = {"counts": Counts().model_dump(), "cost": {"seconds": 1.0, "cpu_seconds": 1.0, "peak_memory_bytes": 1}}
    write_text(folder / COUNTS / "00000.json", json.dumps(note))


def finish(step, store):
    end(step, store)
    return commit(store, step, 0.0)


def followed(as_json=False, is_terminal=False):
    file = io.StringIO()
    code = watch.watch("recipe", [], as_json, PlainConsole(file=file, force_terminal=is_terminal, width=160))
    return code, file.getvalue()


def test_a_finished_run_says_what_it_left_out_and_what_its_noise_is():
    file = io.StringIO()
    shown = terminal.TerminalProgress(PlainConsole(file=file, width=80, emoji=False))
    for seed, notes in enumerate(({"critical_batch_tokens": 1234}, {"gradient_noise": "not measured: why"})):
        counts = Counts(tokens=9, notes={**notes, "steps_left_out": "9 of 15", "many_left_out": "they are many"})
        artifact = SimpleNamespace(manifest=SimpleNamespace(counts=counts.model_dump(), seconds=1.0))
        shown.committed(Step(f"train:a:{seed}", Nothing()), artifact)  # pyright: ignore[reportArgumentType]
    words = file.getvalue()
    assert "9 tokens, 9 of 15 steps left out, critical batch 1,234 tokens" in words
    assert "  train:a:1: gradient noise not measured: why" in words
    assert [f"warning: train:a:{seed}: they are many" in words for seed in (0, 1)] == [True, True]


def test_words_and_sparkline():
    assert told(NOW) == WORDS
    assert told(RunProgress(stage=2, stages=3)) == "stage 2 of 3, starting"
    assert sparkline([1.0, 2.0, float("nan"), float("inf"), 8.0]) == "▁▂  █"
    assert sparkline([]) == "" and sparkline([2.0, 2.0]) == "▁▁"


def test_json_is_one_look_and_changes_nothing(runs, tmp_path):
    NOW.write(partial(tmp_path, runs[0]))
    before = sorted(tmp_path.rglob("*"))
    code, text = followed(as_json=True)
    first, second = json.loads(text)
    assert (code, first["run"], first["state"], first["step"], first["loss"]) == (0, "train:raw:0", "running", 30, 3.25)
    assert second["state"] == "waiting" and "curve" not in first
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("is_terminal", [False, True])
def test_it_follows_until_all_are_finished(runs, tmp_path, is_terminal):
    NOW.write(partial(tmp_path, runs[0]))

    def train():
        time.sleep(0.3)
        for step in runs:
            NOW.write(partial(tmp_path, step))
            finish(step, tmp_path)

    thread = threading.Thread(target=train)
    thread.start()
    code, text = followed(is_terminal=is_terminal)
    thread.join()
    assert code == 0 and "step 30 of 120" in text and text.count("finished after") >= 2
    assert ("\x1b" in text) == is_terminal


def test_a_run_is_finished_while_others_of_its_group_still_train(runs, tmp_path):
    for step in runs:
        NOW.write(partial(tmp_path, step))
    result = RunResult(
        mix="raw", seed=0, config="", objective="causal_lm", parameters=1, tokens=60_000, steps=120, bytes_trained=1,
        flops=1.0, seconds=1.0, cpu_seconds=1.0, tokens_per_second=1.0, final_loss=2.25,
        held_out=Totals(nats=1.5 * math.log(2) * 900, bytes=900, documents=9),
    )  # fmt: skip
    write_text(partial(tmp_path, runs[0]) / "result.json", result.model_dump_json())
    end(runs[0], tmp_path)
    first, second = watch.look(runs, tmp_path)
    assert (first.state, second.state) == ("finished", "running")
    assert (first.progress.step, first.progress.loss) == (120, 2.25)
    assert watch._words(first) == "finished after 120 steps, loss 2.250, held-out 1.500 bits per byte"


def test_a_failure_is_said_escaped_and_ends_it(runs, tmp_path):
    NOW.write(partial(tmp_path, runs[0]))
    finish(runs[0], tmp_path)
    write_text(
        partial(tmp_path, runs[1]) / "errors" / "00000.json", json.dumps({"message": "\x1b]0;title\x07 diverged"})
    )
    code, text = followed()
    assert code == 1 and "train:clean:0: failed: <U+001B>]0;title<U+0007> diverged" in text and "\x1b" not in text


def test_an_interrupt_leaves_quietly(runs, monkeypatch):
    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", interrupted)
    code, text = followed()
    assert code == 0 and "Traceback" not in text


def test_run_tells_lines_about_training_where_there_is_no_terminal(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "LINE_SECONDS", 0.02)
    folder = partial(tmp_path, runs[0])
    NOW.write(folder)
    file = io.StringIO()
    progress = terminal.TerminalProgress(PlainConsole(file=file))
    progress.stage(runs[:1], [Task("train:raw:0", "", "", {}, str(folder), 0)])
    time.sleep(0.2)
    progress.end()
    assert f"  train:raw:0: {WORDS}" in file.getvalue()
