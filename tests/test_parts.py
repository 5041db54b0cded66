"""Every built-in part of every kind: its own examples hold; and the skeletons of new parts work as they are written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.conftest import bigrams, write_byte_tokenizer  # noqa: F401 (bigrams is a fixture)
from windtunnel.pipelines.parts import check, findings
from windtunnel.pipelines.parts.skeleton import class_name, write_skeleton
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import KINDS, built_in

PARTS = [(kind, name) for kind in KINDS for name in built_in(kind)]


@pytest.fixture(scope="session")
def beside_models(bigrams: Path) -> Path:  # noqa: F811
    """Return a directory with the models that the examples of `perplexity` and `reward` name."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    folder = bigrams.parent / "tiny-reward"
    end = write_byte_tokenizer(folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pad_token": "<|end|>"}))
    config = LlamaConfig(
        vocab_size=264,
        hidden_size=264,
        intermediate_size=8,
        num_hidden_layers=0,
        num_attention_heads=1,
        num_labels=1,
        pad_token_id=end,
    )
    model: Any = LlamaForSequenceClassification(config)
    with torch.no_grad():  # the reward is the last byte
        model.get_input_embeddings().weight.copy_(torch.eye(264))
        model.score.weight.copy_(torch.arange(264.0)[None] / 264)
    model.save_pretrained(str(folder))
    return bigrams.parent


@pytest.mark.parametrize(("kind", "name"), PARTS, ids=[f"{kind}-{name}" for kind, name in PARTS])
def test_the_examples_of_a_built_in_part_hold(
    kind: str, name: str, beside_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(beside_models)
    outcomes = list(findings(kind, name))
    assert outcomes
    assert [outcome for outcome in outcomes if outcome.problem or outcome.skipped] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_skeleton_works_as_it_is_written(kind: str, tmp_path: Path) -> None:
    name = f"my_{kind}"
    skeleton = write_skeleton(kind, name, tmp_path)
    reference = f"./{name}.py:{class_name(name)}"
    assert reference in skeleton.usage
    assert check(kind, reference, tmp_path) == []
    text = skeleton.files[1].read_text()
    assert f'check("{kind}", "{reference}"' in text and "NewPart" not in text + skeleton.files[0].read_text()


@pytest.mark.slow
def test_the_test_of_a_skeleton_runs_the_examples(tmp_path: Path) -> None:
    write_skeleton("rule", "my_rule", tmp_path)
    source = Path(__file__).parent.parent / ".src"
    env = {**os.environ, "PYTHONPATH": str(source)}
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    passed = subprocess.run(run, env=env, capture_output=True, text=True, cwd="/")
    assert passed.returncode == 0 and "1 passed" in passed.stdout, passed.stdout
    file = tmp_path / "my_rule.py"
    file.write_text(file.read_text().replace('"Now!" * 6', '"Now!"'))
    failed = subprocess.run(run, env=env, capture_output=True, text=True, cwd="/")
    assert failed.returncode == 1 and "too_many_marks" in failed.stdout, failed.stdout


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("rul", "mine", "no kind of plug-in is called 'rul': did you mean 'rule'"),
        ("rule", "My-Rule", "'My-Rule' is no name for a part"),
        ("rule", "../mine", "is no name for a part"),
        ("rule", "class", "'class' is a word of Python itself, and no name for a part"),
        ("rule", "gopher_quality", "there is a rule called 'gopher_quality' already"),
        ("rule", "json", "'json' is the name of another Python module"),
        ("rule", "polars", "'polars' is the name of another Python module"),
        ("rule", "test_mine", "'test_mine' is the name of another Python module"),
    ],
)
def test_a_bad_name_is_refused_and_nothing_is_written(kind: str, name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        write_skeleton(kind, name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("taken", ["mine.py", "test_mine.py"])
def test_a_file_is_never_overwritten(taken: str, tmp_path: Path) -> None:
    (tmp_path / taken).write_text("precious")
    with pytest.raises(RecipeError, match=f"{taken} exists already"):
        write_skeleton("rule", "mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "precious"


def changed(folder: Path, kind: str, *changes: tuple[str, str]) -> list[str]:
    """Return what the check says of a skeleton that is changed as its comments offer."""
    file, _ = write_skeleton(kind, f"my_{kind}", folder).files
    text = file.read_text()
    for old, new in changes:
        assert re.search(old, text, re.M), old
        text = re.sub(old, new, text, flags=re.M)
    file.write_text(text)
    return check(kind, f"./my_{kind}.py:{class_name(file.stem)}", folder)


def test_the_rule_skeleton_shows_how_text_is_rewritten(tmp_path: Path) -> None:
    code = (r"^    # ((?:    )*(?:@|def |return |texts =|new =).*)$", r"    \1")
    example = (r"keeps: (.*) = \(", r'keeps: \1 = (Example("Stop!!!", becomes="Stop!"), ')
    assert changed(tmp_path / "right", "rule", code, example) == []
    wrong = (example[0], example[1].replace('"Stop!"', '"Stop"'))
    assert changed(tmp_path / "wrong", "rule", code, wrong) == ["keeps 'Stop!!!': expected 'Stop', got 'Stop!'"]


def test_a_delta_that_does_not_merge_is_told_to_write_base(tmp_path: Path) -> None:
    change = (r"mergeable: ClassVar = True", "mergeable: ClassVar = False")
    with pytest.raises(RecipeError, match=r"MyDelta is not mergeable, .* define `base\(model\)`"):
        changed(tmp_path / "without", "delta", change)
    base = (r"(?<=    )def merge\(", "def base(self, model):\n        return model\n\n    def merge(")
    (one, other) = changed(tmp_path / "with", "delta", change, base)  # the norms stay as they were trained
    assert "predicts something else than the base" in one and "predicts something else than the base" in other


def test_an_objective_on_a_mix_of_corpora_is_told_its_base_class(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"for a mix of corpora derive from .*causal_lm\.CausalLM"):
        changed(tmp_path / "chat", "objective", (r'ClassVar = "conversations"', 'ClassVar = "tokens"'))
    (tmp_path / "own.py").write_text(ON_A_MIX)
    assert check("objective", "./own.py:Own", tmp_path) == []


ON_A_MIX = """
from windtunnel.trainer.objectives._objective import Loss
from windtunnel.trainer.objectives.causal_lm import CausalLM

class Own(CausalLM):
    def loss(self, model, batch):
        ids = batch.tensors["ids"]
        logps = model(input_ids=ids[:, :-1]).logits.log_softmax(-1).gather(-1, ids[:, 1:, None])
        return Loss(-logps.sum(), float(logps.numel()), {})
"""

BROKEN = {
    "rule": ("Now!\" * 6", "Now!\" * 2", "drops .*: kept"),
    "source": ('{"empty_text": 1}', '{"empty_text": 2}', "expected {'empty_text': 2}, got {'empty_text': 1}"),
    "dedup": ('("Title\\none", "Other\\ntwo", "\\n")', '("Title\\none",)', "expected"),
    "generator": ('dropped={"no_question": 1}', 'dropped={"other": 1}', "got {'no_question': 1}"),
    "family": ("str(len(word))", "str(len(word) + 1)", "`verify` refuses"),
    "layout": ("raise Refused(\"no_reply\"", "raise Refused(\"none\"", "expected 'no_reply', got 'none'"),
    "judge": ('"In a lake."), "a")', '"In a lake."), "b")', "expected 'b', got 'a'"),
    "objective": ("Loss(losses.sum(), ", "Loss(losses.mean(), ", "the total of one batch is .*, of its"),
    "delta": ("parameter.requires_grad_(self.part in name)", "pass", "weights train"),
    "model": ("vocab_size=vocabulary", "vocab_size=vocabulary + 1", "does not predict 300 token ids"),
    "optimizer": ("-group[\"lr\"]", "group[\"lr\"]", "the loss went from"),
    "logger": ('package: ClassVar = "json"', 'package: ClassVar = ""', "what is imported"),
    "schedule": ("return (step + 1) / up if", "return step / up if", "step 0 has the factor 0"),
    "task": ("return None\n", "return Item(texts[0].id, 'p', 'a')\n", "it gives Item"),
    "reward": ("1.0 if share >= self.least else share", "0.5", "expected 1.0, got 0.5"),
    "constraint": ("<= self.longest", "> self.longest", "expected True, got False"),
    "law": ("return lambda mixes: mean + mixes @ values", "return lambda mixes: mean * mixes[:, 0]", "are missed by"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_finds_what_is_wrong(kind: str, tmp_path: Path) -> None:
    """A checker that says yes to everything is none: each kind's skeleton is broken in one place."""
    right, wrong, message = BROKEN[kind]
    file, _ = write_skeleton(kind, f"my_{kind}", tmp_path).files
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong))
    problems = check(kind, f"./my_{kind}.py:{class_name(file.stem)}", tmp_path)
    assert problems
    assert any(re.search(message, problem) for problem in problems), problems
