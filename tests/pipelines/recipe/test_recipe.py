"""Recipes: what is accepted, and errors that name the line and the nearest right word."""

from __future__ import annotations

import pytest

from windtunnel.pipelines.recipe.file import apply, parse
from windtunnel.pipelines.recipe.recipe import json_schema
from windtunnel.schemas.errors import RecipeError

GOOD = """\
question: Does cleaning help?
corpora:
  raw: {source: {jsonl: corpus.jsonl}}
  filtered: {from: raw, rules: [{language: {keep: [en], threshold: 0.65}}, gopher_quality]}
  deduped: {from: filtered, dedup: {minhash: {threshold: 0.72}}}
held_out: {from: raw, share: 0.02, where: 'lang = en'}
mixes:
  raw: {raw: 1.0}
  both: {raw: 0.5, filtered: 0.5}
tokens: {tokenizer: {bpe: 512, trained_on: raw}, budget: 100_000, max_epochs: 4}
train:
  model: {llama: {width: 32, layers: 1, heads: 2, context: 64}}
  seeds: [0, 1]
  stages: [{causal_lm: {lr: 3e-3}}]
compare: {baseline: raw, metric: bits_per_byte, on: held_out, margin: 0.005}
"""


def test_a_good_recipe_is_read() -> None:
    recipe = parse(GOOD, [], stem="does-cleaning-help")
    assert recipe.store == "runs/does-cleaning-help"
    assert recipe.corpora["filtered"].parents == ["raw"]
    assert recipe.tokens is not None and recipe.tokens.budget == 100_000
    assert recipe.compare is not None and recipe.compare.on == "held_out"  # not YAML 1.1's word for true


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "gopher_quality",
            "gopher_qualty",
            r"line 4: no rule is called 'gopher_qualty': did you mean 'gopher_quality'",
        ),
        (
            "threshold: 0.65",
            "treshold: 0.65",
            r"line 4: rule 'language' has no parameter 'treshold': did you mean 'threshold'",
        ),
        ("from: raw, rules", "from: raw, extract: html, rules", r"line 4: corpora.filtered.extract: no such word here"),
        ("from: raw, rules", "from: raw, language: de, rules", r"line 4: .*whose words `words: exact` finds"),
        (
            "from: raw, rules",
            "from: [raw, raw], rules",
            r"line 4: .*'raw' is named twice, and a corpus holds its documents once",
        ),
        ("raw: 0.5", "raw: -0.5", r"line 9: mixes.both.raw: Input should be greater than or equal to 0"),
        ("filtered: 0.5", "filterd: 0.5", r"line 9: no corpus is called 'filterd': did you mean 'filtered'"),
        ("from: filtered", "from: filterd", r"line 5: no corpus is called 'filterd'"),
        ("max_epochs", "max_epoch", r"line 10: tokens.max_epoch: no such word here: did you mean 'max_epochs'"),
        ("baseline: raw", "baseline: row", r"line 15: no mix is called 'row': did you mean 'raw'"),
        ("from: raw, rules", "from: deduped, rules", r"line 4: corpus 'filtered' is made from itself"),
        ("llama", "lama", r"line 12: no model is called 'lama': did you mean 'llama'"),
        ("causal_lm", "causal", r"line 14: no objective is called 'causal': did you mean 'causal_lm'"),
        ("'lang = en'", "'lang is en'", r"line 6: where 'lang is en': expected `null`, found 'en'"),
        ("metric: bits_per_byte,", "after: [2], looks: [2, 3],", r"line 15: compare: .*give one of them"),
        ("metric: bits_per_byte,", "after: [3],", r"line 15: .*names looks with fewer seeds than now"),
        ("metric: bits_per_byte,", "looks: [3, 2],", r"line 15: compare.looks: looks are growing numbers of seeds"),
        ("  both:", "  raw:", r"line 9: 'raw' stands twice"),
        ("raw: {source", "../raw: {source", r"is no name"),
        ("{raw: 1.0}", "{raw: 1.0", r"line \d+: not YAML"),
        ("seeds: [0, 1]", "seeds: [0, 0]", r"seeds must differ"),
        (
            "seeds: [0, 1]\n  stages: [{causal_lm: {lr: 3e-3}}]\ncompare: {",
            "seeds: [0, 1, 2]\n  stages: [{causal_lm: {lr: 3e-3}}]\ncompare: {looks: [2], ",
            r"line 15: the looks end at 2 seeds and there are 3: .* for example \[2, 3\]",
        ),
        ("{raw: 1.0}", "{raw: .inf}", r"line 8: mixes.raw.raw: Input should be a finite number"),
        ("margin: 0.005", "margin: .nan", r"line 15: compare.margin: Input should be a finite number"),
        ("{raw: 1.0}", "{? [a, b] : 1.0}", r"line 8: a key is a word, not a list or a mapping"),
        ("{raw: 1.0}", "&x {raw: *x}", r"line 8: what begins here contains itself, by an alias"),
        ("max_epochs: 4", "max_epochs: .inf", r"line 10: tokens.max_epochs: Input should be a finite number"),
        ("threshold: 0.65", "threshold: .nan", r"line 4: rule 'language', parameter 'threshold': .*finite number"),
        ("lr: 3e-3", "lr: .inf", r"line 14: objective 'causal_lm', parameter 'lr': .*finite number"),
        ("bpe: 512", "bpe: 258", r"line 10: tokens.tokenizer.bpe: Input should be greater than or equal to 259"),
        (
            "{jsonl: corpus.jsonl}",
            "{jsonl: {path: c, encoding: utf9}}",
            r"line 3: source 'jsonl', parameter 'encoding': no text encoding is called 'utf9'",
        ),
        ("{jsonl: corpus.jsonl}", "{jsonl: {path: c, encoding: hex}}", r"line 3: .* no text encoding is called 'hex'"),
        (
            "context: 64",
            "context: 200_000",
            r"line 12: a context of 200,000 tokens is longer than the budget of 100,000",
        ),
        (
            "  seeds: [0, 1]",
            "  gradient_noise: true\n  seeds: [0, 1]",
            r"line 15: `gradient_noise` compares micro-batches.* give a `micro_tokens`",
        ),
        ("{raw: 1.0}", "[" * 2000, r"nested too deeply"),
        ("{raw: 1.0}", "2026-13-45", r"not YAML: a value that is none of its type"),
    ],
)
def test_errors_name_the_line_and_the_nearest_word(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(RecipeError, match=message) as caught:
        parse(GOOD.replace(old, new, 1), [], origin="r.yaml")
    assert str(caught.value).startswith("r.yaml") and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{sample: s, serve: {contxt: 1}}", r"line 18: models.m.serve.contxt: .*did you mean 'context'"),
        ("{sample: s, serve: {context: many}}", r"line 18: models.m.serve.context: Input should be a valid integer"),
        ("{sample: s, serve: --enforce-eager}", r"line 18: models.m.serve: Input should be"),
        (
            "{url: 'http://x/v1', model: m, serve: {context: 9}}",
            r"line 18: models.m: `serve:` is for models",
        ),
        ("{url: 'http://x/v1', model: m, dialect: vlm}", r"line 18: models.m.dialect: Input should be 'openai' or"),
        ("{path: p, revision: r}", r"line 18: models.m: `revision:` and `dialect:` go with `url:`"),
    ],
)
def test_a_wrong_word_on_how_a_model_is_served_names_its_line(model: str, message: str) -> None:
    text = f"{GOOD}models:\n  # where it answers\n  m: {model}\n"
    with pytest.raises(RecipeError, match=message) as caught:
        parse(text, [], origin="r.yaml")
    assert caught.value.exit_code == 2


def test_numbers_may_stand_among_the_arguments_of_a_server() -> None:
    text = GOOD + "models: {m: {sample: s, serve: {arguments: [--max-num-seqs, 16]}}}\n"
    found = parse(text, [], origin="r.yaml").models["m"].serve
    assert found is not None and found.arguments == ["--max-num-seqs", "16"]


def test_set_reaches_into_lists_and_plugin_parameters() -> None:
    sets = ["corpora.filtered.rules[0].language.threshold=0.8", "train.seeds=[0,1,2]", "tokens.budget=2e5"]
    with pytest.raises(RecipeError, match="valid integer"):
        parse(GOOD, [*sets[:2], "tokens.budget=lots"])
    recipe = parse(GOOD, [*sets[:2], "tokens.budget=200000"])
    assert recipe.corpora["filtered"].rules[0] == {"language": {"keep": ["en"], "threshold": 0.8}}
    assert recipe.train is not None and recipe.train.seeds == [0, 1, 2]


def test_set_gives_parameters_to_a_bare_name() -> None:
    data = {"rules": ["gopher_quality"], "dedup": "minhash"}
    apply(data, "rules[0].gopher_quality.min_words=5")
    apply(data, "dedup.minhash.threshold=0.8")
    assert data == {"rules": [{"gopher_quality": {"min_words": 5}}], "dedup": {"minhash": {"threshold": 0.8}}}


def test_a_corpus_cannot_have_the_name_of_the_held_out_files() -> None:
    text = GOOD.replace("from: raw, share: 0.02, where: 'lang = en'", "files: {jsonl: e.jsonl}")
    parse(text, [])
    with pytest.raises(RecipeError, match=r"line 4: 'held_out' is the corpus of `held_out: files`"):
        parse(text.replace("  filtered:", "  held_out: {from: raw}\n  filtered:", 1), [])


@pytest.mark.parametrize(
    "change",
    [
        "corpora",
        "corpora.filtered.rules[9].x=1",
        "a[b]=1",
        "x=[1",
        "store=&x [*x]",
        "store={[a]: 1}",
        "store=2026-13-45",
        "tokens.budget[0]=1",
        "tokens.budget.x=1",
        "question[0].x=1",
        "corpora.filtered.rules.language=1",
        "store={a: 1, a: 2}",
    ],
)
def test_a_set_that_leads_nowhere_is_an_error(change: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        parse(GOOD, [change])


def test_aliases_repeat_values_but_no_endless_number_of_them() -> None:
    shared = GOOD.replace("raw: {raw: 1.0}", "raw: &one {raw: 1.0}").replace("{raw: 0.5, filtered: 0.5}", "*one")
    assert parse(shared, []).mixes["both"] == {"raw": 1.0}
    lines = ["  a: &a0 [l, l, l, l]", *(f"  a: &a{k} [{', '.join([f'*a{k - 1}'] * 8)}]" for k in range(1, 30))]
    laughs = "\n".join(line.replace(" a:", f" a{number}:") for number, line in enumerate(lines))
    with pytest.raises(RecipeError, match=r"r.yaml, line \d+: more than 100,000 values, aliases written out"):
        parse(f"{GOOD}models:\n{laughs}\n", [], origin="r.yaml")
    with pytest.raises(RecipeError, match=r"^--set .* more than 100,000 values"):
        parse(GOOD, ["models={" + ", ".join(line.strip() for line in laughs.splitlines()) + "}"])


def test_yaml_1_2_words_and_numbers_in_recipes_and_sets() -> None:
    text = f"{GOOD}models: {{on: {{path: off}}, yes: {{path: 'no'}}}}\n"
    recipe = parse(text, ["train.stages[0].causal_lm.lr=1e-3", "store=yes"])
    assert {name: model.path for name, model in recipe.models.items()} == {"on": "off", "yes": "no"}
    assert recipe.train is not None and recipe.train.stages == [{"causal_lm": {"lr": 1e-3}}]
    assert recipe.store == "yes"


def test_yaml_cannot_build_objects() -> None:
    with pytest.raises(RecipeError, match="not YAML"):
        parse("question: !!python/object/apply:os.system [id]\n", [])


def test_the_json_schema_names_every_part() -> None:
    assert {"question", "corpora", "mixes", "train", "compare"} <= set(json_schema()["properties"])


@pytest.mark.parametrize(
    ("remarks", "message"),
    [
        ("Of 9 rows read, 2 make sense.", "remarks name the rows they are about"),
        ("{rows: 12345678, text: read}", "in quotes"),
        ("{rows: 1234e567, text: read}", "in quotes"),
        ("{rows: '12345', text: read}", "8 digits"),
        ("{rows: '0123abcd'}", "remarks.text is missing"),
    ],
)
def test_remarks_name_the_rows_they_are_about(remarks, message) -> None:
    generate = "generate: {talk: {with: {ultrachat: m}, from: {documents: raw}, remarks: REMARKS}}\n"
    recipe = f"{GOOD}models: {{m: {{path: here}}}}\n{generate}"
    assert parse(recipe.replace("REMARKS", "{rows: '0123abcd', text: read}"), []).generate["talk"].remarks is not None
    with pytest.raises(RecipeError, match=message):
        parse(recipe.replace("REMARKS", remarks), [])


def test_a_recipe_has_a_bounded_number_of_mixes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windtunnel.pipelines.recipe.check_mixes.MOST_MIXES", 1)
    with pytest.raises(RecipeError, match=r"line 7: \d mixes are more than the 1 that one recipe may have"):
        parse(GOOD, [], origin="r.yaml")
