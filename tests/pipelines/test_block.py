"""Blocks of datatrove inside a recipe, and corpora of ours in datatrove's readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pytest

from pipelines.measuring.datatrove_block import documents_of, parse
from pipelines.plan import plan
from pipelines.steps.chain import chain, judge
from schemas.artifact import Artifact
from schemas.errors import RecipeError
from schemas.recipe import Recipe
from schemas.work import Counts

REGEX = "datatrove.pipeline.filters.RegexFilter(regex_exp='(?i)buy (now|today)')"
SYMBOLS = "datatrove.pipeline.formatters.SymbolLinesFormatter(symbols_to_remove=['|'])"
TEXTS = ["A quiet page.", "Buy now!", "one\n|\ntwo", "buy Today", ""]


def judged(texts: list[str], *rules: dict[str, Any]) -> Any:
    return judge(pa.record_batch({"text": pa.array(texts, pa.large_string())}), chain(rules))


def test_a_filter_drops_what_datatrove_drops() -> None:
    from datatrove.data import Document
    from datatrove.pipeline.filters import RegexFilter

    theirs = {doc.id for doc in RegexFilter("(?i)buy (now|today)").run([Document(t, t) for t in TEXTS])}  # type: ignore[arg-type]
    found = judged(TEXTS, {"block": {"call": REGEX, "name": "adverts"}})
    assert [reason is None for reason in found.reasons] == [text in theirs for text in TEXTS]
    assert found.reasons.to_list() == [None, "block.adverts", None, "block.adverts", None]
    assert found.why["adverts_kept"].to_list() == [True, False, True, False, True]


def test_the_reason_of_the_block_is_the_reason_of_the_drop() -> None:
    gopher = "datatrove.pipeline.filters.GopherQualityFilter(min_doc_words=2, min_stop_words=1)"
    found = judged(["word", "words without such ones", "of the waters"], {"block": {"call": gopher, "name": "gopher"}})
    assert found.reasons.to_list() == ["block.gopher.gopher_short_doc", "block.gopher.gopher_enough_stop_words", None]


def test_two_blocks_stand_in_one_list() -> None:
    other = REGEX.replace("now", "later")
    found = judged([*TEXTS, "buy later"], {"block": REGEX}, {"block": other})
    assert found.reasons.is_null().to_list() == [True, False, True, False, True, False]
    assert found.reasons[1] != found.reasons[5]


def test_a_formatter_rewrites_and_what_follows_sees_it() -> None:
    found = judged(TEXTS, {"block": SYMBOLS}, {"length": {"min_words": None, "max_characters": 8}})
    assert found.batch.column("text").to_pylist()[2] == "one\ntwo"
    assert found.reasons.to_list() == ["length.too_many_characters", None, None, "length.too_many_characters", None]
    assert found.edits == {"block.rewritten_documents": 1}


def test_a_filter_that_rewrites_must_say_so() -> None:
    c4 = "datatrove.pipeline.filters.C4QualityFilter(min_num_sentences=1, filter_no_terminal_punct=False)"
    text = "This line of the page is long enough.\nshort\nThis other line of the page is long enough."
    with pytest.raises(RecipeError, match="rewrites: true"):
        judged([text], {"block": c4})
    found = judged([text], {"block": {"call": c4, "rewrites": True}})
    assert found.reasons.to_list() == [None]
    assert "short" not in found.batch.column("text")[0].as_py()


def test_a_document_on_which_the_block_raises_is_counted() -> None:
    bare = "datatrove.pipeline.filters.GopherQualityFilter(min_doc_words=None, min_avg_word_length=None)"
    found = judged(["", "of the sea and the land"], {"block": {"call": bare, "name": "g"}})
    assert found.reasons.to_list() == ["block.g.failed", None]
    assert found.why["g_error"].to_list() == ["ZeroDivisionError", None]


LANGUAGES = "datatrove.pipeline.filters.C4BadWordsFilter(fail_on_missing_language=False)"


def test_a_block_sees_the_language_by_both_names_and_the_fields_of_meta() -> None:
    batch = pa.record_batch(
        {
            "text": pa.array(["a", "b", "c", "d"], pa.large_string()),
            "lang": ["xx", None, None, "de"],
            "url": ["https://a.example/", None, None, None],
            "meta": ['{"language":"fr","stars":3,"url":"no"}', '{"language":"fr"}', None, "[1]"],
        }
    )
    assert [document.metadata for document in documents_of(batch)] == [
        {"language": "xx", "stars": 3, "url": "https://a.example/", "lang": "xx"},
        {"language": "fr"},
        {},
        {"lang": "de", "language": "de"},
    ]


def test_a_filter_by_language_goes_by_that_of_the_source(tmp_path: Path) -> None:
    """datatrove's list of bad words has no language `xx`: it keeps such a document, and falls back to English else."""
    rows = [{"text": "a darn page", "language": "xx"}, {"text": "a darn page", "metadata": {"language": "yy"}}]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    corpus = {"source": {"jsonl": {"path": str(tmp_path / "in.jsonl")}}, "rules": [{"block": LANGUAGES}]}
    words = {"question": "Which language?", "store": str(tmp_path), "corpora": {"c": corpus}}
    for step in plan(Recipe.model_validate(words)).steps[:-1]:
        inputs = {role: Artifact(tmp_path / source.name) for role, source in step.inputs.items()}
        for rank in range(step.work.shards(inputs)):
            step.work.run(inputs, tmp_path / step.name, rank)
    kept = pl.read_parquet(Artifact(tmp_path / "corpus:c").files("kept"))
    assert kept.height == 2


@pytest.mark.parametrize(
    "call",
    [
        "os.system('true')",
        "__import__('os').system('true')",
        "datatrove.pipeline.filters.RegexFilter(open('/etc/passwd').read())",
        "datatrove.pipeline.filters.RegexFilter(**{'regex_exp': 'x'})",
        "datatrove.pipeline.filters.RegexFilter",
        "datatrove.utils.logging.logger('x')",
        "datatrove.pipeline.filters.__class__('x')",
        "datatrove.pipeline.filters.RegexFilter(regex_exp='x'); 1",
        "(" * 500 + ")" * 500,
        "",
    ],
)
def test_nothing_but_a_call_of_a_block_with_literals(call: str) -> None:
    with pytest.raises(RecipeError, match="block"):
        chain([{"block": call}])


@pytest.mark.parametrize(
    ("call", "word"),
    [
        ("datatrove.pipeline.filters.NoSuchFilter()", "no filter or formatter"),
        ("datatrove.pipeline.filters.base_filter.logger()", "no filter or formatter"),
        ("datatrove.pipeline.readers.JsonlReader('x')", "no filter or formatter"),
        ("datatrove.pipeline.nowhere.RegexFilter('x')", "nowhere"),
        ("datatrove.pipeline.filters.RegexFilter(regexp='x')", "regex_exp"),
        ("datatrove.pipeline.filters.RegexFilter('(')", "cannot be built"),
    ],
)
def test_wrong_blocks_are_told(call: str, word: str) -> None:
    with pytest.raises(RecipeError, match=word):
        judged(["x"], {"block": call})


def test_arguments_keep_their_types() -> None:
    call = parse("datatrove.pipeline.filters.RegexFilter('a', b=[1, -2.5], c=None, d={'e': True})")
    assert call.positional == ("a",) and call.named == {"b": [1, -2.5], "c": None, "d": {"e": True}}


class Made(NamedTuple):
    """A corpus made in this process, with the counts of every step."""

    corpus: Artifact
    counts: dict[str, Counts]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("blocks")
    texts = [f"{text} {number}" if text else "" for number, text in enumerate(TEXTS)]
    rows = [json.dumps({"text": text, "url": "https://a.example/"}) for text in texts]
    (folder / "in.jsonl").write_text("\n".join(rows))
    corpus = {"source": {"jsonl": str(folder / "in.jsonl")}, "rules": [{"block": REGEX}, {"block": SYMBOLS}]}
    words = {"question": "What do blocks do?", "store": str(folder), "corpora": {"c": corpus}}
    made = plan(Recipe.model_validate(words))
    counts = {}
    for step in made.steps[:-1]:  # all but the report
        inputs = {role: Artifact(folder / source.name) for role, source in step.inputs.items()}
        parts = [step.work.run(inputs, folder / step.name, rank) for rank in range(step.work.shards(inputs))]
        counts[step.name] = Counts.total(parts)
    return Made(Artifact(folder / "corpus:c"), counts)


def test_a_recipe_with_blocks_runs_and_nothing_vanishes(finished: Made) -> None:
    counts = finished.counts["corpus:c"]
    assert counts.seen == 4 and counts.kept == 2 and sum(counts.dropped.values()) == 2
    dropped = pl.read_parquet(finished.corpus.files("dropped"))
    assert sorted(dropped["text"]) == ["Buy now! 1", "buy Today 3"]
    assert finished.counts["edit:c"].notes == {"block.rewritten_documents": 1}


def test_datatrove_reads_a_corpus_of_ours(finished: Made) -> None:
    from datatrove.pipeline.readers import ParquetReader

    read = {doc.id: doc for doc in ParquetReader(str(finished.corpus.path / "kept")).run()}
    kept = pl.read_parquet(finished.corpus.files("kept"))
    assert kept.height == 2
    assert {key: doc.text for key, doc in read.items()} == dict(zip(kept["id"], kept["text"], strict=True))
    assert {doc.metadata["url"] for doc in read.values()} == {"https://a.example/"}
    assert all(any(key.endswith("_kept") for key in doc.metadata["why"]) for doc in read.values())
