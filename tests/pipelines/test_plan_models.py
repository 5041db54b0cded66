"""How a plan brings the models of a recipe to the steps that ask them: what decides the answers, and who sees a key."""

from __future__ import annotations

from typing import Any

import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from windtunnel.generators.serving.served import Served
from windtunnel.pipelines.cli import app
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.shipped import load
from windtunnel.schemas.errors import RecipeError

WRITER = "models.writer"
AT_A_URL = f"{WRITER}={{url: 'https://api.example.org/v1', model: big, key: MY_ENTRANCE}}"
ASKING = ("generate:instructions", "generate:dialogues", "generate:preferences", "wins:ultrachat:0", "calibrate:writer")


def planned(*sets: str) -> Plan:
    return plan(load("align", list(sets)))


def asked(made: Plan, name: str) -> Served:
    work: Any = made.find(name).work
    (served,) = (work.judge if hasattr(work, "judge") else work.models).values()
    return served


def shown(*sets: str) -> str:
    """What `windtunnel plan` prints."""
    found = CliRunner().invoke(app, ["plan", "align", *(word for change in sets for word in ("--set", change))])
    assert found.exit_code == 0, found.output
    return found.output


def test_options_of_the_server_that_change_answers_make_other_steps() -> None:
    def keys(words: str) -> list[str]:
        made = planned(f"{WRITER}={{sample: smollm2, serve: {{arguments: {words}}}}}")
        return [made.find(name).key for name in ASKING]

    assert keys("[--enforce-eager]") == keys("[]") == keys("[--max-num-seqs, 16]")
    assert not set(keys("[--quantization, fp8]")) & set(keys("[]"))


def test_a_server_of_ours_gets_no_key_that_the_recipe_names() -> None:
    made = planned("models.api={url: 'http://x/v1', model: m, key: MY_ENTRANCE}")
    assert all(asked(made, name).withheld == ("MY_ENTRANCE",) for name in ASKING)


def test_one_server_is_enough_for_a_writer_and_a_student_of_the_same_files() -> None:
    made = planned()
    assert {(asked(made, name).role, asked(made, name).arguments) for name in ASKING} == {
        ("model:writer", ("--enforce-eager",))
    }
    assert all(made.find(f"train:{mix}:0").inputs["start"].name == "model:student" for mix in made.recipe.mixes)


def test_a_writer_at_a_url_is_one_line() -> None:
    made = planned(AT_A_URL)
    for name in ASKING:
        served = asked(made, name)
        assert (served.url, served.model, served.key_variable) == ("https://api.example.org/v1", "big", "MY_ENTRANCE")
    assert made.find("train:ultrachat:0").inputs["start"].name == "model:student"
    assert not any(step.name == "model:writer" for step in made.steps)
    assert "generate:instructions" in shown(AT_A_URL)


def test_a_big_writer_from_files_is_one_line(tmp_path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    save_file({}, tmp_path / "model.safetensors")
    change = f"{WRITER}={{path: '{tmp_path}', serve: {{context: 8192}}}}"
    made = planned(change)
    assert {(asked(made, name).context, asked(made, name).arguments) for name in ASKING} == {(8192, ())}
    assert made.find("train:ultrachat:0").inputs["start"].key == planned().find("model:student").key
    assert "model:writer" in shown(change)


def test_a_student_at_a_url_is_refused_with_its_line() -> None:
    with pytest.raises(RecipeError, match=r"line \d+: model 'student' is at a URL: training starts from files"):
        planned("models.student={url: 'https://api.example.org/v1', model: big}")


@pytest.mark.parametrize(
    ("sets", "interface"),
    [
        ([], "completion"),
        ([AT_A_URL], "chat"),
        ([AT_A_URL, f"{WRITER}.dialect=vllm"], "completion"),
        ([AT_A_URL, "generate.instructions.with.self_instruct.interface=completion"], "completion"),
        (["generate.instructions.with.self_instruct.interface=chat"], "chat"),
    ],
)
def test_self_instruct_asks_as_the_endpoint_can_be_asked(sets: list[str], interface: str) -> None:
    identity = planned(*sets).find("generate:instructions").work.identity()
    assert identity["kind"]["self_instruct"]["interface"] == interface


def test_a_revision_tells_models_at_one_address_apart() -> None:
    one, two = (planned(AT_A_URL, f"{WRITER}.revision={name}") for name in ("june", "july"))
    assert all(one.find(name).key != two.find(name).key for name in ASKING)
