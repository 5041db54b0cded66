"""Loggers: TensorBoard's files hold the numbers, a service that is down or hangs stops nothing, keys stay out."""

from __future__ import annotations

import threading
import types
from typing import Any

import polars as pl
import pytest

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.plugin_files import relative_to
from windtunnel.trainer.loggers import tensorboard
from windtunnel.trainer.loggers._logger import Logger
from windtunnel.trainer.loop import services
from windtunnel.trainer.loop.run import TrainRun

MODEL = {"llama": {"width": 32, "layers": 1, "heads": 2, "context": 32}}
STAGE = {"causal_lm": {"lr": 1e-2, "batch_tokens": 1024}}
OWN = """
import os, time
from windtunnel.trainer.loggers._logger import Logger

class Session:
    def __init__(self, run, how):
        self.run, self.how, self.rows = run, how, []
    def add(self, step, values):
        if self.how == "drops" and step > 2:
            raise ConnectionError(f"lost; Authorization: {os.environ['SECRET_TEST_KEY']}\\x1b[31m")
        if self.how == "hangs":
            time.sleep(60)
        self.rows.append((step, sorted(values)))
    def close(self):
        (self.run.store / "rows.txt").write_text(repr(self.rows))

class Own(Logger):
    package = "json"
    install = "nothing"
    how: str = "works"
    def start(self, run):
        if self.how == "exits":
            raise SystemExit(3)
        return Session(run, self.how)
"""


def work(log: Any, **more) -> TrainRun:
    return TrainRun(mix="both", seed=0, model=MODEL, schedule="constant", stages=(STAGE,), log=log, **more)


@pytest.fixture(scope="module")
def plain(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain")
    work(None, watch={"validate": 4}).run(world.inputs(), out, 0)
    return (out / "model" / "model.safetensors").read_bytes()


@pytest.fixture
def run(world, tmp_path, monkeypatch):
    def trained(how):
        monkeypatch.setenv("SECRET_TEST_KEY", "hunter2-hunter2")
        (tmp_path / "own.py").write_text(OWN)
        out = tmp_path / "store" / "train.both.0-12345678.partial"
        with relative_to(tmp_path):
            counts = work({"./own.py:Own": {"how": how}}, watch={"validate": 4}).run(world.inputs(), out, 0)
        return counts, out

    return trained


def test_a_logger_gets_every_row_and_the_validation(run, plain):
    counts, out = run("works")
    rows = eval((out.parent / "rows.txt").read_text())
    assert [step for step, _ in rows] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert rows[4] == (4, ["held_out/bits_per_byte"])
    assert {"train/loss", "train/lr", "train/tokens", "train/grad_norm"} <= set(rows[0][1])
    assert "log:" not in str(counts.notes)
    assert (out / "model" / "model.safetensors").read_bytes() == plain


@pytest.mark.parametrize(("how", "said"), [("drops", "ConnectionError"), ("exits", "SystemExit"), ("hangs", "within")])
def test_a_service_that_is_down_stops_nothing(run, plain, monkeypatch, how, said):
    monkeypatch.setattr(services, "PATIENCE", 0.5)
    counts, out = run(how)
    warning = str(counts.notes["warning"])
    assert said in warning and "log.parquet" in warning and warning.isprintable()
    assert "hunter2" not in counts.model_dump_json()
    assert (out / "model" / "model.safetensors").read_bytes() == plain
    assert pl.read_parquet(out / "log.parquet").height == 8


def test_a_missing_package_is_said_before_anything_is_done(world, tmp_path, monkeypatch):
    monkeypatch.setattr("windtunnel.trainer.loggers._logger.find_spec", lambda name: None)
    for name in ("tensorboard", "trackio", "wandb"):
        with pytest.raises(RecipeError, match=f"pip install {name}"):
            work(name).run(world.inputs(), tmp_path, 0)
    assert not list(tmp_path.iterdir())


def test_tensorboard_reads_what_was_written(world, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "store" / "train.both.0-12345678.partial"
    work("tensorboard", watch={"validate": 4}).run(world.inputs(), out, 0)
    events = EventAccumulator(str(tmp_path / "store" / "tensorboard" / "train.both.0-12345678" / "stage0"))
    events.Reload()
    log = pl.read_parquet(out / "log.parquet")
    found = events.Scalars("train/loss")
    assert [event.step for event in found] == list(range(1, 9))
    assert [event.value for event in found] == pytest.approx(log["loss"].to_list(), rel=1e-6)
    assert [event.step for event in events.Scalars("held_out/bits_per_byte")] == [4, 8]
    assert not list(out.rglob("*tfevents*"))  # of results there is none


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_clients_are_asked_as_they_want_it(world, tmp_path, monkeypatch, name):
    calls: list[tuple[str, Any]] = []
    started = types.SimpleNamespace(
        log=lambda values, step: calls.append(("log", step)), finish=lambda: calls.append(("finish", None))
    )
    fake: Any = types.ModuleType(name)
    fake.init = lambda **words: calls.append(("init", words)) or started
    fake.Settings = lambda **words: words
    monkeypatch.setitem(__import__("sys").modules, name, fake)
    monkeypatch.setattr("windtunnel.trainer.loggers._logger.find_spec", lambda name: object())
    out = tmp_path / "train.both.0-12345678.partial"
    work({name: "mixes"}).run(world.inputs(), out, 0)
    words = calls[0][1]
    assert (words["project"], words["name"], words["resume"]) == ("mixes", "train.both.0-12345678.stage0", "allow")
    assert words["config"]["mix"] == "both"
    assert [call for call in calls[1:] if call[0] == "log"] == [("log", step) for step in range(1, 9)]
    assert calls[-1] == ("finish", None)


def test_a_log_that_nobody_takes_is_cut_and_said(monkeypatch):
    monkeypatch.setattr(services, "WAITING", 3)
    monkeypatch.setattr(services, "PATIENCE", 0.2)
    release = threading.Event()
    logger: Any = make(Logger, "tensorboard")
    monkeypatch.setattr(tensorboard.TensorBoard, "start", lambda self, run: release.wait(5))
    service = services.Service(logger, None, None)  # type: ignore[arg-type]
    service._thread.start()
    service.settled(None, [{"step": float(step), "loss": 1.0} for step in range(9)])  # type: ignore[arg-type]
    assert "took no numbers" in (service.close() or "")
    release.set()
