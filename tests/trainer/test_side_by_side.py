"""The table of trainings names the delta of every stage, and how many weights the last one trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest, write_text
from windtunnel.schemas.results import RunResult
from windtunnel.schemas.side_by_side import Table
from windtunnel.trainer.stats.side_by_side import SideBySide

COUNTS = {"seen": 0, "kept": 0, "dropped": {}, "unreadable": {}, "notes": {}}


def result(objective: str, **fields: Any) -> str:
    return RunResult(
        mix="m", seed=0, config="", objective=objective, parameters=1000, tokens=5, steps=1, bytes_trained=9,
        flops=1.0, seconds=1.0, cpu_seconds=1.0, tokens_per_second=5.0, final_loss=2.0, **fields,
    ).model_dump_json()  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "delta", "words"),
    [
        ({"dpo": {"delta": {"ladder": {"share": 0.1}}}}, "ladder", "sft (lora) + dpo (ladder)"),
        ({"dpo": {"delta": "ladder"}}, None, "sft (lora) + dpo (ladder)"),  # the result of an earlier version
        ({"dpo": {"delta": {"./own.py:Mine": {}}}}, None, "sft (lora) + dpo (Mine)"),
        ("dpo", None, "sft (lora) + dpo"),
    ],
)
def test_a_stage_stands_with_its_delta(spec: Any, delta: str | None, words: str, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    (run / "stage0").mkdir(parents=True)
    out.mkdir()
    write_text(run / "stage0" / "result.json", result("sft", delta="lora", trained_parameters=20))
    write_text(run / "result.json", result("dpo", delta=delta, trained_parameters=90))
    config = {"model": {"llama": {}}, "stages": [spec], "earlier": 1}
    manifest = Manifest(step="train:m:0", version=1, key="k" * 32, config=config, inputs={}, counts=COUNTS)
    manifest.write(run / MANIFEST)
    SideBySide(baseline="m").run({"run:m:0": Artifact(run)}, out, 0)
    (row,) = Table.read(out).rows
    assert (row.objective, row.trained, row.parameters) == (words, 90, 1000)
