"""Generate and calibrate give what the step and the command give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

import windtunnel as wt
from tests.generators.conftest import ScriptedServer, fits
from windtunnel.generators.core.generate import Generate
from windtunnel.generators.serving.served import Served
from windtunnel.pipelines.cli import app


@pytest.fixture
def server() -> Any:
    server = ScriptedServer()
    server.script = lambda body, before: fits
    yield server
    server.shutdown()
    server.server_close()


def test_rows_are_those_of_the_step(server: ScriptedServer, tmp_path: Path) -> None:
    kind = {"ultrachat": {"model": "m", "sectors": {"world": 1.0}, "rows": 3}}
    served = Served(url=server.url, model="small")
    Generate(kind=kind, models={"m": served}).run({}, tmp_path, 0)
    found = wt.generate({"ultrachat": {"model": "m", "sectors": {"world": 1.0}}}, f"small@{server.url}", rows=3)
    assert found.rows.equals(pl.read_parquet(tmp_path / "rows/*")) and found.rows.height > 0
    assert found.dropped.equals(pl.read_parquet(tmp_path / "dropped/*"))
    assert found.counts.kept == found.rows.height and found.counts.seen == found.rows.height + found.dropped.height
    assert repr(found).startswith(f"Generated: {found.counts.seen} candidates, {found.rows.height} rows")


def test_texts_and_frames_are_inputs_and_completions_are_kept(server: ScriptedServer, tmp_path: Path) -> None:
    kind = {"best_of_n": {"model": "m", "judge": "j", "n": 2}}
    models = {"m": {"url": server.url, "model": "small"}, "j": f"large@{server.url}"}
    prompts = [f"What is {i}?" for i in range(4)]
    store = tmp_path / "completions.sqlite"
    first = wt.generate(kind, models, {"prompts": prompts}, completions=store)
    asked = len(server.bodies)
    frame = pl.LazyFrame({"question": prompts, "more": [1, 2, 3, 4]})
    again = wt.generate(kind, models, {"prompts": frame}, completions=store, text="question")
    assert asked and len(server.bodies) == asked
    assert first.rows["prompt"].to_list() == again.rows["prompt"].to_list() and first.counts.seen == 4
    other = wt.generate(kind, models, {"prompts": prompts}, rows=2, seed=9, completions=store)
    assert other.counts.seen == 2 and len(server.bodies) > asked


def test_rows_of_one_generator_are_the_input_of_another() -> None:
    def chat(i: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"Why {i}?"}, {"role": "assistant", "content": "So. " * i}]

    rows = pl.DataFrame([{"id": str(i), "source": "s", "messages": chat(i)} for i in range(1, 6)])
    found = wt.generate({"lima": {"by": "longest", "rows": 2}}, inputs={"conversations": rows})
    assert sorted(row[1]["content"].count("So") for row in found.rows["messages"]) == [4, 5]
    assert found.counts.dropped == {"not_chosen": 3}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"kind": "ultrachatt"}, "did you mean 'ultrachat'"),
        ({"kind": {"ultrachat": {"modle": "m"}}}, "did you mean 'model'"),
        ({"models": None}, "no address is given for model 'm'"),
        ({"models": {"n": "a@http://h/v1"}}, "asks no model called 'n': available: m"),
        ({"models": "nowhere"}, "write MODEL@URL"),
        ({"models": {"m": {"url": "http://h/v1"}}}, "needs .model:., its name there"),
        ({"rows": 0}, "parameter 'rows': Input should be greater than 0"),
        ({"kind": {"best_of_n": {"model": "m", "judge": "m"}}}, "needs prompts as input"),
        ({"inputs": {"documnts": ["x"]}}, "takes no input called documnts"),
        ({"inputs": {"documents": pl.DataFrame({"txt": ["x"]})}}, "no column 'text'; it has 'txt'"),
    ],
)
def test_wrong_arguments_of_generate(words: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"kind": {"ultrachat": {"model": "m"}}, "models": "small@http://127.0.0.1:9/v1"}
    with pytest.raises((wt.RecipeError, wt.InputError), match=message):
        wt.generate(**{**right, **words})


PAIRS: list[dict[str, Any]] = [
    {"prompt": f"p{i}", "response_a": "x" * (i + 1), "response_b": "yyy", "labels": ["a", "b", "a"][: 1 + i % 3],
     "judge": {"ab": i / 12, "ba": 0.5}}
    for i in range(12)
]  # fmt: skip


@pytest.mark.parametrize("judge", ["longest", "recorded"])
def test_calibrate_gives_what_the_command_prints(tmp_path: Path, judge: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in PAIRS), encoding="utf-8")
    done = CliRunner().invoke(app, ["judge", "calibrate", str(file), "--judge", judge, "--json"])
    told = json.loads(done.stdout)
    for given in (PAIRS, pl.DataFrame(PAIRS), pl.LazyFrame(PAIRS), pl.DataFrame(PAIRS).to_arrow(), file):
        found = wt.calibrate(given, judge)
        assert found.figures == told and isinstance(found.findings, list)


def test_what_calibrate_leaves_out_is_said() -> None:
    bad = [*PAIRS, {"prompt": "p", "response_a": "x", "response_b": "y", "labels": ["A"]}]
    with pytest.warns(UserWarning) as told:
        assert wt.calibrate(bad, "longest").figures["n"] == 12
    assert [str(warning.message) for warning in told] == [
        "pairs, line 13: unknown_label: 'A' is none of a, b, tie",
        "1 of 13 lines are left out: unknown_label 1",
    ]
    assert told[0].filename == __file__
    with pytest.raises(wt.InputError, match="pairs holds no labelled pair"):
        wt.calibrate(pl.DataFrame({"prompt": ["x"]}), "longest")
    with pytest.raises(wt.RecipeError, match="did you mean 'longest'"):
        wt.calibrate(PAIRS, "longst")
    with pytest.raises(wt.WindtunnelError, match="no verdict on any of 12 pairs"):
        wt.calibrate([{**row, "judge": None} for row in PAIRS], "recorded")
