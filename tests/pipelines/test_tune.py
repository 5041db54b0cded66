"""The learning-rate finder: which rates are tried, what is best, and that a run with it does nothing again."""

from __future__ import annotations

import io
import json

import pytest

from tests.command_line import windtunnel
from windtunnel.pipelines import tune
from windtunnel.pipelines.engine.run import Progress, StepFailed
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.store import partial
from windtunnel.pipelines.engine.tasks.task import ERRORS
from windtunnel.pipelines.tune import Tuned, _further, _lowest, print_tuned
from windtunnel.pipelines.views.console import PlainConsole
from windtunnel.schemas.artifact import write_text
from windtunnel.schemas.role import StepName
from windtunnel.schemas.work import Work
from windtunnel.trainer.loop.loop import TrainingError

WORDS = ["harbour", "morning", "letter", "garden", "engine", "winter", "river", "market", "yellow", "paper", "silent"]
RECIPE = """
question: Which rate?
store: {root}/store
corpora:
  raw: {{source: {{jsonl: {root}/texts.jsonl}}}}
held_out: {{from: raw, share: 0.2}}
mixes: {{raw: {{raw: 1.0}}, again: {{raw: 1.0}}}}
tokens: {{tokenizer: {{bpe: 300, trained_on: raw}}, budget: 4096, max_epochs: 100}}
train:
  model: {{llama: {{width: 32, layers: 1, heads: 2, context: 32}}}}
  seeds: [0]
  device: cpu
  stages: [{{causal_lm: {{batch_tokens: 256, lr: 1e-3}}}}]
compare: {{baseline: raw}}
"""


@pytest.fixture
def recipe(tmp_path):
    lines = [{"text": " ".join(WORDS[(i * k + k) % len(WORDS)] for k in range(40))} for i in range(60)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(root=tmp_path))
    return str(tmp_path / "recipe.yaml")


def test_the_best_rate_is_found_beyond_the_grid_and_its_runs_are_kept(recipe, tmp_path):
    done = windtunnel("tune", recipe, "--json", "--workers", "1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    tried = {each["lr"]: each["bits_per_byte"] for each in found["tried"]}
    assert len(tried) > 5 and max(tried) > 4e-3  # 1e-3 is far too low for so short a run
    best = min(tried, key=lambda lr: tried[lr])
    assert found["lr"] == best and found["open_end"] == (best in (min(tried), max(tried)))
    assert all(f"train:raw:0 at lr {lr:g} " in done.stderr for lr in tried)
    (fact,) = (tmp_path / "store" / "tuned").iterdir()
    assert json.loads(fact.read_text())["lr"] == found["lr"]
    again = windtunnel("run", recipe, "--set", f"train.stages=[{{causal_lm: {{batch_tokens: 256, lr: {best}}}}}]",
                       "--until", "train:raw:0")  # fmt: skip
    assert "0 steps executed" in again.stdout


def test_wrong_stages_and_recipes(recipe):
    done = windtunnel("tune", recipe, "--stage", "3")
    assert done.returncode == 2 and "the recipe has stages 0 to 0" in done.stderr


def test_where_the_grid_grows():
    assert _further({1.0: 3.0, 2.0: 2.0, 4.0: 2.5}) == []
    assert _further({1.0: 3.0, 2.0: 2.0}) == [4.0]
    assert _further({1.0: 1.0, 2.0: 2.0}) == [0.5]
    assert _further({1.0: None, 2.0: None}) == [0.5]
    assert _further({1.0: 3.0, 2.0: 2.0, 4.0: None}) == []  # beyond is divergence


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({1e-3: 3.0, 2e-3: 2.0, 4e-3: 2.5}, "lr 0.002 scores lowest of the 3 rates that were tried; write"),
        ({1e-3: 3.0, 2e-3: 2.0, 4e-3: None}, "lr 0.002 scores lowest of the 3 rates that were tried; write"),
        ({1e-3: 3.0, 2e-3: 2.0}, "lr 0.002 scores lowest and is the highest of the 2 rates that were tried: the best"),
        ({1e-3: 2.0, 2e-3: 3.0}, "lr 0.001 scores lowest and is the lowest of the 2 rates that were tried: the best"),
    ],
)
def test_only_a_rate_that_was_tried_is_recommended_and_the_measured_set_is_said(scores, words):
    console = PlainConsole(file=io.StringIO(), width=80, emoji=False)
    print_tuned(Tuned(_lowest(scores), scores, bool(_further(scores)), "train:a:0"), 0, False, console)
    text = console.file.getvalue()
    assert words in text and text.count("<- lowest") == 1 and text.count("diverged") == (None in scores.values())
    assert "scores of one run (train:a:0) on the held-out set that `compare:` judges by" in text


@pytest.mark.parametrize("error", ["TrainingError", "NotADirectoryError", None])
def test_only_runs_that_diverged_are_said_to_have(tmp_path, monkeypatch, error):
    step = Step(StepName("train", "a", 0), Work())

    def failing(*_):
        if error:
            report = {"error": error, "message": "cannot go on", "exit_code": 1}
            write_text(partial(tmp_path, step) / ERRORS / "00000.json", json.dumps(report))
        raise StepFailed("step corpus:raw: the learning rate is not at fault")

    monkeypatch.setattr(tune, "run", failing)
    if error == TrainingError.__name__:
        assert tune._scored({0.5: step}, tmp_path, 1, Progress()) == {0.5: None}
    else:
        with pytest.raises(StepFailed, match="at lr 0.5: cannot go on" if error else "corpus:raw"):
            tune._scored({0.5: step}, tmp_path, 1, Progress())
