"""Cards of models: fields that the Hub reads, how each kind loads, foreign text that stays text."""

from __future__ import annotations

import pytest

from tests.data_cards.test_card import HOSTILE, matter
from windtunnel.data_cards.card import Origin
from windtunnel.data_cards.model_card import Drawn, ModelCard, Score, front_matter, render_model


def card(**change) -> ModelCard:
    fields = {
        "run": "clean", "seed": 3, "question": "Does cleaning help?", "kind": "causal", "tokenizer": "a BPE",
        "drawn": [Drawn(corpus="web", source="docs", tokens=1_000_000, share=1.0, epochs=1.5)],
        "mixed": {"web": 1.0}, "corpora": {"web": [{"length": {"min_words": 50}}]},
        "origins": [Origin(name="docs", about="manuals", licence="MIT", origin="a package")],
        "settings": {"model": {"llama": {"width": 96}}}, "parameters": 400_000, "tokens": 1_000_000, "bytes": 3_000_000,
        "steps": 250, "flops": 2.4e12, "seconds": 130.0, "device": "cpu", "measure": "likelihood",
        "scores": [Score(name="all", value=2.345, documents=40)], "key": "0123abcd", "versions": {"torch": "2.13"},
    }  # fmt: skip
    return ModelCard(**{**fields, **change})


@pytest.mark.parametrize(
    ("change", "library", "loads"),
    [
        ({}, "transformers", "AutoModelForCausalLM.from_pretrained"),
        ({"kind": "masked"}, "transformers", "AutoModelForMaskedLM.from_pretrained"),
        ({"kind": "seq2seq"}, "transformers", "AutoModelForSeq2SeqLM.from_pretrained"),
        ({"kind": "reward"}, "transformers", "AutoModelForSequenceClassification.from_pretrained"),
        ({"kind": "bidirectional"}, "windtunnel", "transformers has no class for this model"),
        ({"kind": "static"}, "windtunnel", "StaticVectors.load(PATH)"),
        ({"delta": "prefix"}, "windtunnel", "a base with the delta `prefix` beside it"),
    ],
)
def test_a_card_says_what_loads_the_model(change, library, loads) -> None:
    text = render_model(card(**change))
    assert matter(text) == front_matter(card(**change))
    assert matter(text)["library_name"] == library and matter(text)["license"] == "mit" and loads in text
    assert ("from_pretrained" in text) == (library == "transformers")
    assert ("pipeline_tag" in matter(text)) == (library == "transformers" and change.get("kind") != "seq2seq")
    for code in text.split("```python\n")[1:]:  # its imports are there
        for line in code.split("```")[0].splitlines():
            if line.startswith("from windtunnel"):
                exec(line, {})


def test_tokens_of_rows_are_those_of_answers() -> None:
    text, rows = (Drawn(corpus="c", source="s", tokens=5, share=0.5, answers=answers) for answers in (False, True))
    assert "| tokens trained on |" in render_model(card())
    assert "| tokens of answers |" in render_model(card(drawn=[rows]))
    assert "| tokens trained on; of rows, those of answers |" in render_model(card(drawn=[text, rows]))


def test_names_in_code_stand_as_they_are_and_gaps_are_said() -> None:
    text = render_model(card(delta="p_tuning", origins=[Origin(name="own", licence="MIT")]))
    assert "the delta `p_tuning` beside" in text and "| own |  | MIT | not stated |" in text
    assert "`a'b`" in render_model(card(delta="a`b"))
    assert "Not measured" not in text
    assert "Not measured: 2 held out rows." in render_model(card(left_out={"held out rows": 2}))


def test_measures_that_do_not_compare_say_so() -> None:
    assert "does not compare" not in render_model(card())
    for measure in ("pseudo_likelihood", "target"):
        assert "does not compare with a likelihood" in " ".join(render_model(card(measure=measure)).split())
    assert "None: this training says nothing" in render_model(card(scores=[], measure=None))


def test_foreign_text_stays_text() -> None:
    plain = render_model(card())
    text = render_model(
        card(
            run=HOSTILE,
            question=HOSTILE,
            start=HOSTILE,
            tokenizer=HOSTILE,
            device=HOSTILE,
            drawn=[Drawn(corpus=HOSTILE, source=HOSTILE, tokens=1, share=1.0)],
            origins=[Origin(name=HOSTILE, about=HOSTILE, licence=HOSTILE, origin=HOSTILE)],
            settings={"model": f"{HOSTILE} ``` # out"},
            scores=[Score(name=HOSTILE, value=1.0)],
            effects=[HOSTILE],
        )
    )
    assert len([line for line in text.splitlines() if line.startswith("#")]) == plain.count("\n#")
    outside = "".join(part for number, part in enumerate(text.split("```")) if number % 2 == 0)
    assert "<script>" not in outside and "[l](" not in outside and "`code`" not in outside and "**bold**" not in outside
    assert "\u202e" not in text and "\x00" not in text
    assert text.count("```") == plain.count("```")
    columns = {line.count("|") - line.count("\\|") for line in outside.splitlines() if line.startswith("| ")}
    assert columns <= {3, 4, 5, 6}
