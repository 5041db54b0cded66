"""A recipe that pays for answers: what its plan expects, where its budget and its judge's floor end it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import StepFailed, run
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.recipe.file import parse
from windtunnel.pipelines.views.model_costs import estimates, spent_line
from windtunnel.pipelines.views.preview import preview
from windtunnel.pipelines.views.terminal import TerminalProgress
from windtunnel.schemas.errors import RecipeError

RECIPE = """
question: What does it cost?
store: {store}
corpora: {{texts: {{source: {{jsonl: {texts}}}}}}}
models:
  writer: {{url: {url}, model: m, revision: r, price: [100, 1000], parameters: {{reasoning_effort: low}}}}
  judge: {{url: {url}, model: j, revision: r, price: [100, 100]}}
generate:
  tasks: {{with: {{alpaca: {{model: writer, rows: {rows}, tasks_per_request: 2, max_tokens: 40}}}}}}
  pairs: {{with: {{best_of_n: {{model: writer, judge: judge, n: 2, readings: 1, rows: 3}}}}, from: {{prompts: tasks}}}}
evaluate: {{calibrate: {{judge: judge, number: 8, min_agreement: {floor}}}}}
"""


@pytest.fixture
def made(scripted, play, tmp_path):
    """Return the plan of the recipe with changes; its judge prefers the first answer."""

    def script(body, before):
        text = body["messages"][-1]["content"]
        if body["model"] == "j" and "response_format" in body:
            return play.says(json.dumps({"feedback": "x", "score": 1 + sum(map(ord, text)) % 9}))
        if body["model"] == "j":
            return play.says("Verdict: A")
        if "response_format" in body:
            tasks = [{"instruction": play.words({**body, "k": k}, 8), "input": "", "output": "yes"} for k in range(2)]
            return play.says(json.dumps({"tasks": tasks}))
        return play.answers

    scripted.script = script
    texts = tmp_path / "texts.jsonl"
    texts.write_text(json.dumps({"text": "A text."}))

    def of(rows=8, floor=0.1, **sets):
        places = {"store": tmp_path / "store", "texts": texts, "url": scripted.url, "rows": rows, "floor": floor}
        recipe = RECIPE.format(**places)
        (tmp_path / "recipe.yaml").write_text(recipe)
        return plan(parse(recipe, [f"{name}={value}" for name, value in sets.items()], origin="r.yaml", stem="r"))

    return of


def told(what, *given):
    console = Console(record=True, width=200, file=io.StringIO(), markup=False, highlight=False)
    what(*given, console)
    return console.export_text()


def test_a_plan_estimates_and_a_budget_ends_and_goes_on(made, scripted, tmp_path):
    poor = made(**{"budget.dollars": 0.2})
    store = Path(poor.recipe.store)
    (expected,) = estimates(poor, poor.find("generate:tasks"), store)
    assert (expected.model, expected.requests, expected.basis) == ("writer", 4, "assumed tokens a request")
    words = told(preview, str(tmp_path / "recipe.yaml"), ["budget.dollars=0.2"], False)
    assert "generate:tasks asks writer about 4 times: 2,400 + 1,200 tokens, $1.44 (assumed tokens a request)" in words
    assert "; $0.00 of the budget of $0.2 are spent" in words
    with pytest.raises(StepFailed, match=r"the budget of \$0.2 does not last") as failed:
        run([poor.find("generate:tasks")], store, Where(workers=1))
    assert failed.value.exit_code == 1
    paid = len(scripted.bodies)
    rich = made(**{"budget.dollars": 50})
    assert rich.find("generate:tasks").key == poor.find("generate:tasks").key
    console = Console(record=True, width=200, file=io.StringIO())
    run([rich.find("generate:tasks")], store, Where(workers=1), TerminalProgress(console))
    assert "4 answers of models for $0." in console.export_text()
    assert len(scripted.bodies) == 4 > paid
    assert all(body["reasoning_effort"] == "low" for body in scripted.bodies)
    more = made(rows=16)
    (expected,) = estimates(more, more.find("generate:tasks"), store)
    assert (expected.requests, expected.basis) == (8, "as 8 rows took before")
    assert spent_line(rich).endswith(" of $50")


def test_a_judge_below_the_floor_labels_nothing(made, scripted):
    # the first place wins in both orders: only ties, and no planted label is one
    strict = made(floor=0.6)
    store = Path(strict.recipe.store)
    with pytest.raises(
        StepFailed, match=r"agrees with 0\.000 \[0\.000, 0\.3\d+\] of 8 labels .* below the floor of 0\.6"
    ):
        run([strict.find("generate:pairs")], store, Where(workers=1))
    assert strict.find("calibrate:judge").artifact(store).done
    assert not strict.find("generate:pairs").artifact(store).done
    assert not any("score" in json.dumps(body) for body in scripted.bodies)
    loose = made(floor=0.6, **{"evaluate.calibrate.min_agreement": "null"})
    assert loose.find("floor:judge") is None
    assert loose.find("generate:pairs").key == strict.find("generate:pairs").key
    run([loose.find("generate:pairs")], store, Where(workers=1))


def test_a_budget_needs_prices(made):
    with pytest.raises(RecipeError, match="needs the price of every model"):
        made(**{"budget.dollars": 1, "models.judge": '{url: "http://h/v1", model: j}'})


def test_parameters_that_hold_a_secret_are_refused_with_their_place(made):
    with pytest.raises(RecipeError, match="hold no secret"):
        made(**{"models.judge.parameters": "{api_key: abc}"})
