"""Blocks of datatrove inside a recipe, and corpora of ours in datatrove's readers."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pytest

from windtunnel.pipelines.filters._chain import chain, judge
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.readers.batches import Unreadable
from windtunnel.pipelines.recipe.datatrove_block import documents_of, parse
from windtunnel.pipelines.recipe.recipe import Recipe
from windtunnel.pipelines.sources._source import Source
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.work import Counts

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
        ("datatrove.pipeline.filters.NoSuchFilter()", "no filter, formatter, extractor"),
        ("datatrove.pipeline.filters.base_filter.logger()", "no filter, formatter, extractor"),
        ("datatrove.pipeline.writers.JsonlWriter('x')", "no filter, formatter, extractor"),
        ("datatrove.pipeline.readers.JsonlReader('x')", "is a reader: as a source"),
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


EXTRACTOR = "datatrove.pipeline.extractors.Trafilatura(timeout=60)"
PARAGRAPH = "The tide comes in twice a day, and twice a day it goes out again, as every sailor knows."
PAGE = f"<html><body><article><h1>Tides</h1><p>{PARAGRAPH}</p><p>{PARAGRAPH[:40]} too.</p></article></body></html>"


def test_an_extractor_rewrites_and_what_has_no_text_goes() -> None:
    from datatrove.data import Document
    from datatrove.pipeline.extractors import Trafilatura

    pages = [PAGE, "<html><body></body></html>", PAGE.replace("Tides", "Moon")]
    theirs = {doc.id: doc.text for doc in Trafilatura(timeout=60).run(Document(p, str(i)) for i, p in enumerate(pages))}  # type: ignore[arg-type]
    found = judged(pages, {"block": {"call": EXTRACTOR, "name": "text"}}, {"length": {"min_words": 5}})
    assert PARAGRAPH in theirs["0"] and sorted(theirs) == ["0", "2"]
    assert found.reasons.to_list() == [None, "block.text.no_text", None]
    assert {str(i): found.batch.column("text")[i].as_py() for i in (0, 2)} == theirs


def test_a_page_that_takes_too_long_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from datatrove.pipeline.extractors import Trafilatura

    monkeypatch.setattr(Trafilatura, "extract", lambda self, text: time.sleep(60) or text)
    slow = EXTRACTOR.replace("timeout=60", "timeout=0.1")
    found = judged([PAGE], {"block": {"call": slow, "name": "text"}})
    assert found.reasons.to_list() == ["block.text.failed"] and found.why["text_error"].to_list() == ["TimeoutError"]


def read_all(call: str) -> tuple[list[dict[str, Any]], list[Unreadable]]:
    source = make(Source, {"block": call})
    assert isinstance(source, Source)
    items = [item for part in source.parts() for item in source.read(part)]
    rows = [row for item in items if not isinstance(item, Unreadable) for row in item.to_pylist()]
    return rows, [item for item in items if isinstance(item, Unreadable)]


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """Two files, the first compressed; in it are lines that datatrove passes over."""
    good = [{"content": f"page {i}", "url": f"https://a.example/{i}", "language": "fr", "stars": i} for i in range(3)]
    bad = ["{broken", '{"content": ""}', '{"other": 1}', '{"content": 7}', '{"content": "half"}']
    with gzip.open(tmp_path / "news-00.jsonl.gz", "wt") as file:
        file.write("\n".join([*map(json.dumps, good), *bad]))
    (tmp_path / "wiki.jsonl").write_text('{"content": "last", "id": "mine"}\n')
    return tmp_path


def test_a_reader_of_datatrove_is_a_source(lines: Path) -> None:
    from datatrove.pipeline.readers import JsonlReader

    rows, lost = read_all(f"datatrove.pipeline.readers.JsonlReader({str(lines)!r}, text_key='content')")
    reader = JsonlReader(str(lines), text_key="content")
    everything = reader.read_files_shard(reader.data_folder.list_files())  # its `run` dies of a text that is a number
    theirs = [doc for doc in everything if isinstance(doc.text, str)]
    texts = [doc.text for doc in theirs]
    assert [row["text"] for row in rows] == texts == ["page 0", "page 1", "page 2", "half", "last"]
    assert [json.loads(row["meta"])["id"] for row in rows] == [doc.id for doc in theirs]
    assert rows[1] | {"id": ""} == {
        "id": "",
        "text": "page 1",
        "source": "news",
        "url": "https://a.example/1",
        "lang": "fr",
        "meta": '{"id":"news-00.jsonl.gz/1","stars":1}',
    }
    assert rows[-1]["source"] == "wiki" and str(lines) not in "".join(row["meta"] for row in rows)
    assert Counter(item.error for item in lost) == {"reader_warning": 1, "no_text": 2, "text_not_string": 1}
    assert {item.where for item in lost if item.error == "no_text"} == {"news-00.jsonl.gz:4", "news-00.jsonl.gz:5"}


def test_a_reader_that_fails_says_so_and_keeps_what_it_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n[1]\n{"text": "two"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n')
    rows, lost = read_all(f"datatrove.pipeline.readers.JsonlReader({str(tmp_path)!r})")
    assert [row["text"] for row in rows] == ["one", "three"]
    (failed,) = lost
    assert (failed.where, failed.error) == ("a.jsonl", "reader_failed") and "AttributeError" in str(failed.detail)


def test_a_reader_reads_other_file_systems_and_a_changed_file_is_refused(tmp_path: Path) -> None:
    import fsspec

    with fsspec.open("memory://corpus/x.jsonl", "w") as file:
        file.write('{"text": "from memory"}\n')
    source = make(Source, {"block": "datatrove.pipeline.readers.JsonlReader('memory://corpus')"})
    assert isinstance(source, Source)
    (part,) = source.parts()
    (batch,) = source.read(part)
    assert not isinstance(batch, Unreadable) and batch.column("text").to_pylist() == ["from memory"]
    with fsspec.open("memory://corpus/x.jsonl", "w") as file:
        file.write('{"text": "another"}\n')
    with pytest.raises(InputError, match="changed"):
        list(source.read(part))


@pytest.mark.parametrize(
    ("call", "word"),
    [
        ("datatrove.pipeline.filters.RegexFilter('x')", "no reader of files .filter"),
        ("datatrove.pipeline.readers.HuggingFaceDatasetReader('x')", "no filter, formatter, extractor"),
        ("datatrove.pipeline.readers.WarcReader('x')", "the source `warc`"),
        ("datatrove.pipeline.readers.JsonlReader(('s3://x', {'key': 'secret'}))", "plain paths or addresses"),
        ("datatrove.pipeline.readers.JsonlReader('https://me:secret@a.example/x')", "plain paths or addresses"),
        ("datatrove.pipeline.readers.JsonlReader('https://a.example/x?signature=secret')", "plain paths or addresses"),
        ("datatrove.pipeline.readers.JsonlReader()", "data_folder"),
        ("os.system('true')", "no class of datatrove"),
    ],
)
def test_wrong_readers_are_told(call: str, word: str) -> None:
    with pytest.raises(RecipeError, match=word):
        make(Source, {"block": call})


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    source = make(Source, {"block": f"datatrove.pipeline.readers.JsonlReader({str(tmp_path)!r})"})
    assert isinstance(source, Source)
    with pytest.raises(InputError, match="finds no file"):
        source.parts()
