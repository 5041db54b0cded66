"""How a plan brings the models of a recipe to the steps that ask them: what decides the answers, and who sees a key."""

from __future__ import annotations

from pipelines.plan import Plan, plan
from pipelines.recipes_shipped import load

WRITER = "models.smol"


def planned(*sets: str) -> Plan:
    return plan(load("align", list(sets)))


def test_options_of_the_server_that_change_answers_make_other_steps() -> None:
    def keys(words: str) -> list[str]:
        made = planned(f"{WRITER}={{sample: smollm2, serve: {{arguments: {words}}}}}")
        return [made.find(name).key for name in ("generate:dialogues", "wins:ultrachat:0", "calibrate:smol")]

    assert keys("[--enforce-eager]") == keys("[]") == keys("[--max-num-seqs, 16]")
    assert not set(keys("[--quantization, fp8]")) & set(keys("[]"))


def test_a_server_of_ours_gets_no_key_that_the_recipe_names() -> None:
    made = planned("models.api={url: 'http://x/v1', model: m, key: MY_ENTRANCE}")
    for name in ("generate:dialogues", "wins:ultrachat:0", "calibrate:smol"):
        work = made.find(name).work
        (served,) = (getattr(work, "models", None) or getattr(work, "judge", None) or {}).values()
        assert served.withheld == ("MY_ENTRANCE",)
