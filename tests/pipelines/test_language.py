"""The language rule: its limit beside datatrove's, the scripts that the letters are of; whose words exact ones are."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from windtunnel.pipelines.features.scripts import script_shares
from windtunnel.pipelines.files.filter import filter_files
from windtunnel.pipelines.filters import language as rule_file
from windtunnel.pipelines.filters._chain import chain, judge
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.recipe.recipe import Recipe
from windtunnel.schemas.errors import RecipeError

MIXED = "Ünï 12 Привет مرحبا 漢字かなカナ नमस्ते 𝐀𐐀 ß!"


class Model:
    """Says of every text the language and the score that stand in it."""

    def predict(self, texts: list[str]) -> Any:
        found = [text.split() for text in texts]
        return [[f"__label__{words[0]}"] for words in found], [[float(words[1])] for words in found]


def reasons(texts: list[str], **parameters: Any) -> list[str | None]:
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    return judge(batch, chain([{"language": parameters}])).reasons.to_list()


def test_a_score_of_just_the_threshold_is_not_enough_as_in_datatrove(monkeypatch: pytest.MonkeyPatch) -> None:
    from datatrove.data import Document
    from datatrove.pipeline.filters import LanguageFilter

    monkeypatch.setattr(rule_file, "_model", lambda name: Model())
    texts = ["en 0.65", "en 0.651", "en 0.649", "fr 0.9", "fr 0.65", "en 1.0"]

    class Lid:
        def predict(self, document: Document) -> Any:
            label, score = document.text.split()
            return (label, float(score)), {"en": float(score) if label == "en" else 0.0}

    peer = LanguageFilter("en")
    peer.model = Lid()  # type: ignore[assignment]
    theirs = [bool(peer.filter(Document(text, "0"))) for text in texts]
    ours = reasons(texts, keep="en")
    assert [reason is None for reason in ours] == theirs == [False, True, False, False, False, True]
    assert ours[0] == "language.unsure"


def test_the_share_of_letters_is_unicodes() -> None:
    def share(text: str, *names: str) -> float:
        letters = [c for c in text if unicodedata.category(c).startswith("L")]
        return sum(unicodedata.name(c).startswith(names) for c in letters) / len(letters)

    texts = pa.array([MIXED, "abc", "абв", "aб", None, "12 !", MIXED[2:]])
    latin, cyrillic, japanese, _ = (
        script_shares(texts, scripts).tolist()
        for scripts in (("Latin",), ("Cyrillic",), ("Han", "hiragana", "Katakana"), ("Latin", "Deseret"))
    )
    assert latin[0] == pytest.approx(share(MIXED, "LATIN")) and latin[6] == pytest.approx(share(MIXED[2:], "LATIN"))
    assert cyrillic[0] == pytest.approx(share(MIXED, "CYRILLIC"))
    assert japanese[0] == pytest.approx(share(MIXED, "CJK", "HIRAGANA", "KATAKANA"))
    assert latin[1:4] == [1.0, 0.0, 0.5]
    assert latin[4] != latin[4] and latin[5] != latin[5]  # nan: no letters
    sliced = script_shares(texts.slice(2, 2), ("Cyrillic",)).tolist()
    assert sliced == [1.0, 0.5]


def test_a_document_of_another_script_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_file, "_model", lambda name: Model())
    texts = ["en 0.9 привет, мир", "en 0.9 hello, мир", "1 0.9"]
    assert reasons(texts, keep=None, scripts="Latin") == ["language.other_script", None, None]
    strict = reasons(texts, keep=None, scripts="Latin", min_script_share=0.8)
    assert strict == ["language.other_script", "language.other_script", None]
    assert reasons(texts, keep=None) == [None, None, None]


@pytest.mark.parametrize("name", ["Klingon", "L", "Latin}|.{", ""])
def test_an_unknown_script_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="no Unicode script"):
        chain([{"language": {"scripts": [name]}}])


def test_exact_words_are_those_of_the_language_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"text": "l'homme d'une ville"}))
    rules = [{"length": {"min_words": 1}}]
    counts = {}
    for language in (None, "fr"):
        filter_files(source, out := tmp_path / f"{language}", rules, exact_words=True, language=language)
        counts[language] = pl.read_parquet(out / "kept")["why"].struct.field("words").to_list()
    assert counts == {None: [3], "fr": [5]}
    with pytest.raises(RecipeError, match="--exact-words"):
        filter_files(source, tmp_path / "x", rules, language="fr")

    corpus = {"source": {"jsonl": str(source)}, "rules": rules, "words": "exact", "language": "fr"}
    recipe = Recipe.model_validate({"question": "Whose words?", "store": str(tmp_path), "corpora": {"c": corpus}})
    (measure,) = (step.work for step in plan(recipe).steps if step.name == "measure:c")
    assert measure.settings.language == "fr"  # type: ignore[attr-defined]
