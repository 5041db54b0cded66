"""The learning-rate finder: which rates are tried, what is best, and that a run with it does nothing again."""

from __future__ import annotations

import json
import math

import pytest

from tests.command_line import windtunnel
from windtunnel.pipelines.tune import _further, best_rate

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
    assert best / 2 <= found["lr"] <= best * 2
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


def test_the_lowest_point_of_a_parabola():
    curve = {lr: (math.log(lr) - math.log(3e-3)) ** 2 for lr in (1e-3, 2e-3, 4e-3, 8e-3)}
    assert best_rate(curve) == 3e-3
    assert best_rate({1e-3: 2.0, 2e-3: 1.0, 4e-3: None}) == 2e-3
