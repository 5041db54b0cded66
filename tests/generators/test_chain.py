"""The chain behind a recipe like `align`: rows, SFT, DPO, every measure, the report; then a run that does nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.file import parse
from windtunnel.schemas.results import Comparison, RunResult

RECIPE = """
question: Which rows make a better assistant of a tiny model?
store: {store}
corpora:
  leads: {{source: {{jsonl: {leads}}}, rules: [{{length: {{min_characters: 300, max_characters: 3000}}}}]}}
models:
  writer: {{url: {url}, model: m, revision: scripted}}  # the port is another one each time: not so the rows
  student: {{path: {student}}}
generate:
  instructions:
    with: {{self_instruct: {{model: writer, rows: 16, lag: 4, interface: completion}}}}
  dialogues:
    with:
      ultrachat:
        model: writer
        rows: 16
        rounds: {{world: [1, 2], creation: [1, 2], material: [1, 2]}}
        openings_per_request: 2
        material_characters: 200
    from: {{documents: leads}}
  preferences:
    with:
      ultrafeedback:
        rows: 24
        pool: [{{model: writer, name: cool}}, {{model: writer, name: warm}}, {{model: writer, name: hot}}]
        judges: [writer]
        margin: 0.1
    from: {{prompts: [instructions, dialogues]}}
held_out: {{from: [instructions, dialogues], share: 0.4}}
mixes:
  self_instruct: {{instructions: 1.0}}
  ultrachat: {{dialogues: 1.0}}
train:
  start: student
  context: 256
  preferences: preferences
  schedule: constant
  seeds: [0]
  stages:
    - sft: {{budget: 128, batch_tokens: 128, micro_tokens: 1024, lr: 1e-3, delta: {{lora: {{rank: 2}}}}}}
    - dpo: {{budget: 128, batch_tokens: 128, micro_tokens: 1024, lr: 1e-3, delta: {{lora: {{rank: 2}}}}}}
evaluate:
  tasks: {{from: leads, tasks: [{{copying: {{items: 3}}}}, {{extraction: {{items: 3}}}}]}}
  win_rate: {{judge: writer, questions: 4, max_tokens: 8}}
  calibrate: {{judge: writer, number: 6}}
compare: {{baseline: self_instruct, margin: 0.01}}
"""
LEADS = [
    {"text": f"The mill of {town} was built in {1840 + k}. " + f"A carpenter of {town} cut its oak beams. " * 8}
    for k, town in enumerate(("Ash", "Birk", "Cole", "Dorn", "Elm", "Fenn", "Gorse", "Holt"))
]
MEASURES = ("compare", "compare:preferences", "compare:tasks", "compare:win_rate")


@pytest.fixture
def made(scripted, play, chat_model, tmp_path) -> Plan:
    """The plan of the recipe, its models on the scripted server and in a directory."""
    scripted.script = lambda body, before: play.fits
    file = tmp_path / "leads.jsonl"
    file.write_text("\n".join(map(json.dumps, LEADS)))
    places = {"store": tmp_path / "store", "leads": file, "url": scripted.url, "student": chat_model}
    return plan(parse(RECIPE.format(**places), [], origin="chain.yaml", stem="chain"))


@pytest.mark.slow
def test_the_whole_chain_runs_and_a_second_run_executes_nothing_and_asks_nothing(made, scripted) -> None:
    store = Path(made.recipe.store)
    first = run(made.targets, store, Where(workers=1))
    assert set(first.executed) == {step.name for step in made.steps}
    _rows_reach_the_models(made, store)
    _every_measure_is_there(made, store)
    asked = len(scripted.bodies)
    again = run(made.targets, store, Where(workers=1))
    assert again.executed == [] and len(scripted.bodies) == asked > 0


def _rows_reach_the_models(made: Plan, store: Path) -> None:
    """Both stages took a step and changed the model, and each set of rows reached the run that is named for it."""
    for mix, rows in (("self_instruct", "instructions"), ("ultrachat", "dialogues")):
        out = made.find(f"train:{mix}:0").artifact(store).path
        folders = [made.find("model:student").artifact(store).path, out / "stage0", out]
        results = [RunResult.model_validate_json((f / "result.json").read_bytes()) for f in folders[1:]]
        assert [(r.objective, r.steps) for r in results] == [("sft", 1), ("dpo", 1)]
        weights = [(f / "model" / "model.safetensors").read_bytes() for f in folders]
        assert len(set(weights)) == 3
        trained = pq.read_table(made.find(f"mix:{mix}").artifact(store).files("rows"))["id"].to_pylist()
        generated = pq.read_table(made.find(f"generate:{rows}").artifact(store).files("rows"))["id"].to_pylist()
        held_out = pq.read_table(made.find("held_out").artifact(store).files("rows"))["id"].to_pylist()
        assert trained and set(trained) < set(generated) and not set(trained) & set(held_out)


def _every_measure_is_there(made: Plan, store: Path) -> None:
    for name in MEASURES:
        found = Comparison.model_validate_json((made.find(name).artifact(store).path / "comparison.json").read_bytes())
        assert found.on.documents > 0 and [effect.mix for effect in found.effects] == ["ultrachat"]
    figures = json.loads((made.find("calibrate:writer").artifact(store).path / "calibration.json").read_bytes())
    assert figures["n"] == 6
    (page,) = made.find("report").artifact(store).path.glob("*.html")
    assert made.recipe.question in page.read_text(encoding="utf-8")
