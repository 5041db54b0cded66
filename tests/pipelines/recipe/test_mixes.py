"""Mixes of a recipe that are more than weights: what is accepted, what it comes to, and errors with their line."""

from __future__ import annotations

import json

import pytest

from tests.command_line import windtunnel
from windtunnel.pipelines.engine.run import Outcome
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.plan.notes import rescaled
from windtunnel.pipelines.recipe.file import parse
from windtunnel.pipelines.recipe.recipe import json_schema
from windtunnel.schemas.errors import RecipeError

HEAD = """\
question: Does it help?
corpora:
  web: {source: {samples: drama}}
  good: {source: {samples: encyclopedia}, rules: [{language: {keep: [en], threshold: 0.65}}]}
held_out: {from: web}
tokens: {tokenizer: {bpe: 512, trained_on: web}, budget: 100_000}
train: {model: {llama: {width: 32, layers: 1, heads: 2, context: 64}}, stages: [causal_lm]}
mixes:
  even: {web: 0.9, good: 0.1}
"""
DECAY = "{phases: [{until: 0.8, mix: {web: 1.0}}, {mix: {web: 0.5, good: 0.5}}]}"


def work(mix, more=""):
    recipe = parse(f"{HEAD}  own: {mix}\n{more}", [], origin="r.yaml")
    return next(step.work for step in plan(recipe).steps if step.name == "mix:own")


def test_phases_are_weights_or_other_mixes_of_the_recipe() -> None:
    phases = work("{phases: [{until: 0.1, mix: sized}, {until: 0.8, mix: even}, {ramp: true, mix: {good: 1, web: 0}}]}",
                  "  sized: {alpha: 0.5, over: [web, good]}\n").phases  # fmt: skip
    assert [(p.until, p.ramp, p.alpha) for p in phases] == [(0.1, False, 0.5), (0.8, False, 1.0), (1.0, True, 1.0)]
    assert [p.weights for p in phases] == [
        {"web": "tokens", "good": "tokens"}, {"web": 0.9, "good": 0.1}, {"good": 1.0},
    ]  # fmt: skip


def test_an_order_goes_with_any_form_and_reads_what_was_measured() -> None:
    ordered = "{weights: {good: 1.0}, order: {by: lang_score, direction: descending}}"
    steps = {s.name: s for s in plan(parse(f"{HEAD}  own: {ordered}\n", [])).steps}
    assert {role: s.name for role, s in steps["mix:own"].inputs.items()} == {
        "tokens:good": "tokens:good", "corpus:good": "corpus:good",
    }  # fmt: skip
    assert {"mix", "tokens:good", "held_out", "tokenizer"} == set(steps["train:own:0"].inputs)
    assert work("{alpha: 0.3, over: [web, good], order: {by: tokens}}").order.by == "tokens"
    assert work(DECAY[:-1] + ", order: {by: bytes}}").order.direction == "ascending"


def test_a_mix_of_weights_alone_is_the_step_that_it_was_and_plans_leave_others_alone() -> None:
    alone, beside = (plan(parse(text, [])) for text in (HEAD, f"{HEAD}  late: {DECAY}\n"))
    keys = {step.name: step.key for step in beside.steps}
    assert all(keys[step.name] == step.key for step in alone.steps if step.kind != "report")


def test_corpora_may_be_called_like_the_words_of_plans() -> None:
    text = HEAD.replace("good", "alpha").replace("web", "phases")
    recipe = parse(text, [])
    assert recipe.weights == {"even": {"phases": 0.9, "alpha": 0.1}}
    assert parse(text + "  own: {phases: tokens, alpha: tokens}\n", []).parts("own") == ["phases", "alpha"]


def test_a_recipe_of_phases_is_dumped_and_read_again() -> None:
    recipe = parse(f"{HEAD}  late: {DECAY}\n", [])
    dumped = json.dumps(recipe.model_dump(mode="json", by_alias=True, exclude_none=True)["mixes"])
    again = parse(HEAD.partition("mixes:")[0] + f"mixes: {dumped}\n", [])
    assert again.mixes == recipe.mixes
    assert "MixPlan" in json_schema()["$defs"]


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ("{phases: [{until: 0.8, mix: {web: 1}}, {until: 1.0, mix: {good: 1}}]}", r"phases.1.until: .*less than 1"),
        ("{phases: [{until: 0.8, mix: {web: 1}}, {until: 0.9, mix: {good: 1}}]}", r"last phase goes to the end"),
        (
            "{phases: [{until: 0.8, mix: {web: 1}}, {until: 0.5, mix: {good: 1}}, {mix: even}]}",
            r"`until:` grows from phase to phase, and here it is 0.8, 0.5",
        ),
        (
            "{phases: [{until: 0.5, mix: even}, {until: 0.5, mix: {good: 1}}, {mix: even}]}",
            r"`until:` grows from phase to phase, and here it is 0.5, 0.5",
        ),
        ("{phases: [{mix: {web: 1}}, {mix: {good: 1}}]}", r"phase 1 needs `until:`, the share of the budget"),
        ("{phases: [{mix: {web: 1}}]}", r"own.phases: List should have at least 2 items"),
        ("{phases: {web: 1}}", r"own.phases: Input should be a valid list"),
        ("{phases: }", r"a mix has one of `phases:`, `weights:`"),
        ("{phases: [{until: 0.8, mix: {web: 1}, ramp: true}, {mix: even}]}", r"the first phase has none before it"),
        ("{phases: [{until: 0.8, mix: {wed: 1}}, {mix: even}]}", r"no corpus is called 'wed': did you mean 'web'"),
        ("{phases: [{until: 0.8, mix: evn}, {mix: even}]}", r"no mix is called 'evn': did you mean 'even'"),
        ("{phases: [{until: 0.8, mix: own}, {mix: even}]}", r"mix 'own' has phases itself, and phases take shares"),
        ("{phases: [{until: 0.8, mix: other}, {mix: even}]}", r"mix 'other' has an order itself"),
        ("{phases: [{until: 0.8, mix: {phases: []}}, {mix: even}]}", r"phases.0.mix.phases: Input should be a valid n"),
        ("{phases: [{until: 0.8, mix: {web: -1}}, {mix: even}]}", r"phases.0.mix.web: Input should be greater than"),
        ("{phases: [{until: 0.8, mix: {web: 0}}, {mix: even}]}", r"needs at least one weight above zero"),
        ("{phases: [{untill: 0.8, mix: {web: 1}}, {mix: even}]}", r"phases.0.untill: no such word .*mean 'until'"),
        ("{phases: [{until: 0.8}, {mix: even}]}", r"own.phases.0.mix is missing"),
        ("{phases: [{until: .nan, mix: even}, {mix: even}]}", r"own.phases.0.until: Input should be"),
        ("{phases: [{until: 0.8, mix: even}, {mix: even}], weights: {web: 1}}", r"a mix has one of `phases:`"),
        ("{alpha: -1, over: [web, good]}", r"own.alpha: Input should be greater than or equal to 0"),
        ("{over: [web, good]}", r"shares by a power of the sizes need both"),
        ("{alpha: 0.5, over: web}", r"own.over: Input should be a valid list"),
        ("{alpha: 0.5, over: [web, web]}", r"'web' is named twice in `over:`"),
        ("{alpha: 0.5, over: [web, wob]}", r"no corpus is called 'wob': did you mean 'web'"),
        ("{weights: {web: 1}}", r"`weights:` goes with `order:`"),
        ("{weights: {wob: 1}, order: {by: tokens}}", r"no corpus is called 'wob': did you mean 'web'"),
        ("{weights: {web: 1}, order: {by: tokens, direction: up}}", r"own.order.direction: Input should be 'asc"),
        ("{weights: {web: 1}, order: tokens}", r"own.order: Input should be a valid dictionary"),
    ],
)
def test_errors_name_the_line_and_the_mend(mix: str, message: str) -> None:
    other = "  other: {weights: {web: 1}, order: {by: tokens}}\n"
    with pytest.raises(RecipeError, match=rf"line 10: .*{message}") as caught:
        parse(f"{HEAD}  own: {mix}\n{other}", [], origin="r.yaml")
    assert caught.value.exit_code == 2


def test_an_error_in_a_phase_names_its_own_line() -> None:
    phases = "      - {until: 0.8, mix: even}\n      - mix:\n          web: 0.5\n          god: 1\n"
    text = f"{HEAD}  own:\n    phases:\n{phases}"
    with pytest.raises(RecipeError, match=r"r.yaml, line 15: no corpus is called 'god'"):
        parse(text, [], origin="r.yaml")


def test_rows_and_pinned_sources_have_no_phases() -> None:
    rows = HEAD.replace("held_out: {from: web}", "rows: {chat: {source: {jsonl: r.jsonl}}}\nheld_out: {from: web}")
    with pytest.raises(RecipeError, match=r"line 11: mix 'own' takes rows: phases, an order and `alpha:` are for"):
        parse(
            f"{rows}  own: {{phases: [{{until: 0.5, mix: {{chat: 1}}}}, {{mix: {{chat: 1}}}}]}}\n", [], origin="r.yaml"
        )
    pinned = f"{HEAD}  own: {DECAY}\ncompare: {{baseline: even, pin: source}}\n"
    with pytest.raises(RecipeError, match=r"line 11: `pin: source` is for mixes that are weights alone: 'own' is not"):
        parse(pinned, [], origin="r.yaml")


@pytest.mark.parametrize(
    ("source", "by", "message"),
    [
        ("{samples: drama}", "lang_score", r"nothing is measured on the documents of the corpus 'web', so none has a"),
        ("{jsonl: {path: p/, meta: false}}", "meta.stars", r"no document of the corpus 'web' has 'meta.stars'"),
        ("{jsonl: {path: p/, meta: [star]}}", "meta.stars", r"no document of the corpus 'web' has 'meta.stars'"),
        ("{jsonl: {path: p/, url: stars}}", "meta.stars", r"no document of the corpus 'web' has 'meta.stars'"),
        ("{jsonl: {path: p/, meta: [stars]}}", "meta.stars", None),
        ("{jsonl: p/}", "meta.stars", None),
        ("{samples: drama}", "meta.stars", None),
    ],
)
def test_an_order_by_what_no_document_can_have_is_refused_by_the_plan(tmp_path, source, by, message) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "a"}\n')
    head = HEAD.replace("{samples: drama}", source.replace("p/", str(tmp_path / "texts.jsonl")))
    recipe = parse(f"{head}  own: {{weights: {{web: 1, good: 1}}, order: {{by: {by}}}}}\n", [])
    if message is None:
        assert {"corpus:web", "corpus:good"} < set(plan(recipe).find("mix:own").inputs)
        return
    with pytest.raises(RecipeError, match=message) as caught:
        plan(recipe)
    assert caught.value.path == ("mixes", "own", "order", "by")


def test_holding_out_from_several_corpora_names_the_corpus_that_does_it() -> None:
    head = HEAD.replace("held_out: {from: web}", "held_out: {from: [web, good]}")
    with pytest.raises(RecipeError, match=r"line 5: .*all, `corpora: {all: {from: \[web, good\]}}`"):
        parse(head, [])
    union = head.replace("{from: [web, good]}", "{from: all}").replace(
        "held_out:", "  all: {from: [web, good]}\nheld_out:"
    )
    assert plan(parse(union, [])).find("held_out").inputs["corpus"].name == "corpus:all"


def test_weights_that_are_rescaled_are_told() -> None:
    phases = "{phases: [{until: 0.8, mix: {web: 1.0}}, {mix: {web: 1, good: 3}}]}"
    more = "".join(f"  m{k}: {{web: {k}, good: {k}}}\n" for k in range(1, 4))
    found = rescaled(plan(parse(f"{HEAD}  own: {phases}\n  over: {{web: 0.5, good: 0.6}}\n{more}", [])))
    assert found == [
        "mix:own, phase 2: the weights web 1, good 3 sum to 4 and are rescaled to web 0.25, good 0.75",
        "mix:over: the weights web 0.5, good 0.6 sum to 1.1 and are rescaled to web 0.4545, good 0.5455",
        "mix:m1: the weights web 1, good 1 sum to 2 and are rescaled to web 0.5, good 0.5",
        "the weights of 2 more mixes or phases are rescaled, too",
    ]
    thirds = "  thirds: {web: 0.333, good: 0.666}\n  sized: {web: tokens, good: tokens}\n"
    assert rescaled(plan(parse(HEAD + thirds, []))) == []


def test_notes_are_shown_by_plan_and_run(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("windtunnel.trainer.runtime.device._driver", lambda: False)
    monkeypatch.setattr("windtunnel.pipelines.run_recipe.run", lambda *_: Outcome([], 0.0))
    (tmp_path / "r.yaml").write_text(f"{HEAD}  over: {{web: 0.5, good: 0.6}}\n")
    commands = (("plan", "--set", "train.device=cuda"), ("plan",), ("run", "--until", "mix"))
    said = [windtunnel(word, "r.yaml", *more, folder=tmp_path).stdout for word, *more in commands]
    assert [text.count("note: mix:over: the weights web 0.5, good 0.6 sum to 1.1") for text in said] == [1, 1, 1]
    assert [text.count("note: this machine has no GPU for `device: cuda`") for text in said] == [1, 0, 0]
