"""Filter, dedup and decontaminate on frames decide as the commands do on files; `read` reads any source."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

import windtunnel as wt
from windtunnel.pipelines.files.dedup import dedup_files
from windtunnel.pipelines.files.filter import filter_files
from windtunnel.schemas.work import Counts

RULES: list[Any] = ["gopher_quality", {"length": {"min_words": 3}}, {"pii": {}}]


def by_files(frame: pl.DataFrame, folder: Path, command: Callable[[Path, Path], Counts]) -> tuple[Any, Any, Counts]:
    frame.write_parquet(folder / "in.parquet")
    counts = command(folder / "in.parquet", folder / "out")
    return pl.read_parquet(folder / "out/kept/*"), pl.read_parquet(folder / "out/dropped/*"), counts


@pytest.mark.parametrize("name", ["polars", "again"])
def test_filter_decides_as_the_command_does(texts: pl.DataFrame, tmp_path: Path, name: str) -> None:
    frame = texts
    if (
        name == "again"
    ):  # what an earlier filter has kept brings `why`; a `why` and a `reason` of the user's are set aside
        frame = wt.filter(texts, "symbols").kept.with_columns(reason=pl.lit("mine"), why_before=pl.lit(1))
    kept, dropped, counts = by_files(frame, tmp_path, lambda file, out: filter_files(file, out, RULES))
    result = wt.filter(frame, RULES)
    assert_frame_equal(result.kept, kept, categorical_as_str=True)
    assert_frame_equal(result.dropped, dropped, categorical_as_str=True)
    assert result.counts.model_dump() == counts.model_dump()
    assert result.kept.schema["kind"] == pl.Enum(["a", "b"]) and result.kept.schema["group"] == pl.Categorical
    assert result.counts.seen == len(result.kept) + len(result.dropped) + len(result.unreadable) == len(frame)
    if name == "polars":
        assert result.unreadable["number"].to_list() == [52, 53]
        assert_frame_equal(result.unreadable, texts[52:54])
    else:
        assert result.dropped["reason_before"].unique().to_list() == ["mine"]


def test_a_why_that_is_no_struct_is_set_aside(texts: pl.DataFrame) -> None:
    result = wt.filter(texts.with_columns(why=pl.lit("because")), "length")
    assert result.kept.columns == [*texts.columns, "why_before", "why"]
    assert result.kept["why_before"].unique().to_list() == ["because"]


def test_a_rule_that_rewrites_text_rewrites_it_in_its_place(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["write to a.b@example.com now", "nothing here"], "n": [1, 2]})
    rules = [{"pii": {}}]
    kept, _, _ = by_files(frame, tmp_path, lambda file, out: filter_files(file, out, rules))
    result = wt.filter(frame.with_columns(pl.col("text").cast(pl.Categorical)), rules)
    assert result.kept["text"].cast(pl.String).to_list() == kept["text"].to_list() != frame["text"].to_list()
    assert result.kept.schema["text"] == pl.Categorical and result.kept.columns[:2] == ["text", "n"]


KINDS: list[Any] = [
    "exact",
    "minhash",
    {"minhash": {"keep": "highest score", "within": "kind"}},
    {"sentence": {"min_words": 1}},
    {"substring": {"min_words": 5}},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_dedup_decides_as_the_command_does(texts: pl.DataFrame, tmp_path: Path, kind: Any) -> None:
    kept, dropped, counts = by_files(texts, tmp_path, lambda file, out: dedup_files(file, out, kind))
    result = wt.dedup(texts, kind)
    assert_frame_equal(result.kept, kept, categorical_as_str=True)
    assert_frame_equal(result.dropped, dropped, categorical_as_str=True)
    assert result.counts.model_dump() == counts.model_dump()


def converted(frame: pl.DataFrame) -> dict[str, tuple[Any, Callable[[Any], pl.DataFrame]]]:
    """Return the frame in each type that is accepted, and how to read that type back."""
    table = pa.table({"text": pa.array(frame["text"].to_list(), pa.string()), "n": pa.array(range(60), pa.int8())})
    return {
        "lazy": (frame.lazy(), lambda found: found.collect()),
        "arrow": (table, pl.from_arrow),
        "batch": (table.combine_chunks().to_batches()[0], pl.from_arrow),
        "pandas": (frame.select("number", "text", "score").to_pandas(), pl.from_pandas),
    }


@pytest.mark.parametrize("name", ["lazy", "arrow", "batch", "pandas"])
def test_a_frame_comes_back_in_its_type(texts: pl.DataFrame, name: str) -> None:
    frame, back = converted(texts)[name]
    whole = wt.dedup(texts, "exact")
    result = wt.dedup(frame, "exact")
    for part in ("kept", "dropped", "unreadable"):
        assert type(getattr(result, part)) is type(frame)
        assert back(getattr(result, part))["text"].to_list() == getattr(whole, part)["text"].to_list()
    if name in ("arrow", "batch"):  # the columns' own types stay
        assert [result.kept.schema.field(i).type for i in range(2)] == [pa.string(), pa.int8()]
    assert "why" in back(result.dropped).columns and "reason" in back(result.dropped).columns


@pytest.mark.parametrize("text", [pa.string_view(), pa.binary_view(), pa.string()], ids=str)
def test_views_of_strings_and_bytes_come_back_as_views(text: pa.DataType) -> None:
    texts = ["a few words", "a", "a few words", None]
    columns = {"id": pa.array(list("abcd"), pa.string_view()), "bytes": pa.array([b"1"] * 4, pa.binary_view())}
    nested = pa.array([["a"], [], None, ["b"]], pa.list_(pa.string_view()))
    values = [value and value.encode() for value in texts] if text == pa.binary_view() else texts
    table = pa.table({"text": pa.array(values, text), **columns, "nested": nested})
    for frame in (table, table.combine_chunks().to_batches()[0]):
        for result in (wt.filter(frame, {"length": {"min_words": 2}}), wt.dedup(frame, "exact")):
            for part in (result.kept, result.dropped, result.unreadable):
                assert part.select(table.column_names).schema == table.schema
            assert result.kept["id"][0].as_py() == "a" and result.unreadable.to_pylist() == frame.slice(3).to_pylist()


@pytest.mark.parametrize("columns", [["text"], ["text", "score"]])
def test_a_frame_without_rows_keeps_its_columns(texts: pl.DataFrame, columns: list[str]) -> None:
    empty = texts.select(columns).clear()
    for frame in (empty, empty.lazy(), empty.to_arrow(), empty.to_arrow().schema.empty_table().to_pandas()):
        result = wt.filter(frame, "length")
        assert result.counts == Counts()
        kept = result.kept.collect() if isinstance(result.kept, pl.LazyFrame) else result.kept
        names = kept.column_names if isinstance(kept, pa.Table) else list(kept.columns)
        assert names == [*columns, "why"] and len(kept) == 0


def test_decontaminate_drops_or_cuts_what_an_evaluation_set_shares(tmp_path: Path) -> None:
    item = " ".join(f"item{i}" for i in range(20))
    other = " ".join(f"other{i}" for i in range(20))
    frame = pl.DataFrame({"id": ["a", "b", "c"], "text": [f"before {item} after", "quite clean", f"x {other}"]})
    result = wt.decontaminate(frame, [item])
    assert result.kept["id"].to_list() == ["b", "c"] and result.dropped["reason"].to_list() == ["contaminated"]
    assert result.overlap.select("evaluation", "items", "items_met", "documents").row(0) == ("evaluation", 1, 1, 1)
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": other}) + "\n", encoding="utf-8")
    sets = {"mine": pl.LazyFrame({"text": [item]}), "file": tmp_path / "test.jsonl"}
    both = wt.decontaminate(frame.lazy(), sets)
    assert both.kept.collect()["id"].to_list() == ["b"]
    assert sorted(both.overlap["evaluation"].to_list()) == ["file", "mine"]
    assert wt.decontaminate(frame, {"jsonl": str(tmp_path / "test.jsonl")}).kept["id"].to_list() == ["a", "b"]
    cut = wt.decontaminate(frame, [item], action="cut", margin=0, min_piece=0)
    assert cut.kept["text"].to_list()[1:] == frame["text"].to_list()[1:] and item not in cut.kept["text"][0]


def test_read_takes_files_of_any_format_and_sources_of_recipes(tmp_path: Path) -> None:
    rows = [{"text": f"row {i}", "url": f"u{i}", "more": i} for i in range(5)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "news-01.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "zip").mkdir()
    (tmp_path / "zip/b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    frame = wt.read(tmp_path / "news-01.jsonl")
    assert frame.columns == ["id", "text", "source", "url", "lang", "meta"] and frame["source"][0] == "news"
    assert frame["text"].to_list() == [row["text"] for row in rows] and json.loads(frame["meta"][4]) == {"more": 4}
    assert len(wt.read(str(tmp_path / "**/*.jsonl*"))) == 10
    assert len(wt.read(tmp_path / "zip", limit=3)) == 3
    pq.write_table(pa.table({"content": ["x", "y"]}), tmp_path / "c.parquet")
    assert wt.read({"parquet": {"path": str(tmp_path / "c.parquet"), "text": "content"}})["text"].to_list() == [
        "x",
        "y",
    ]


def test_read_says_in_python_how_the_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "good"}\n', encoding="utf-8")
    with pytest.raises(wt.InputError, match=r"no column 'text'.*{'jsonl': {'path': FILE, 'text': COLUMN}}"):
        wt.read(tmp_path / "a.jsonl")


def test_read_warns_of_what_it_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{"text": \n{"text": "too"}\n', encoding="utf-8")
    with pytest.warns(UserWarning, match=r"1 records of .*a.jsonl cannot be read: invalid_json 1") as told:
        assert len(wt.read(tmp_path / "a.jsonl")) == 2
    assert told[0].filename == __file__


BAD: list[tuple[Callable[[pl.DataFrame], Any], type[Exception], str]] = [
    (
        lambda f: wt.filter(f, "length", text="txt"),
        wt.InputError,
        r"no column 'txt'; it has 'number', 'text'.*mean 'text'",
    ),
    (lambda f: wt.filter(f, "length", text="score"), wt.InputError, "column 'score' holds double, not text"),
    (lambda f: wt.filter(f, "gopher_qualty"), wt.RecipeError, "no rule is called 'gopher_qualty': did you mean"),
    (lambda f: wt.filter(f, {"length": {"min_word": 3}}), wt.RecipeError, "no parameter 'min_word': did you mean"),
    (lambda f: wt.filter(f, 3), wt.RecipeError, "filter: rules is 3: give a name, {name: parameters} or a list"),  # type: ignore[arg-type]
    (lambda f: wt.filter(f, "length", text=3), wt.RecipeError, "filter: text is 3: give a string"),  # type: ignore[arg-type]
    (lambda f: wt.dedup(f, workers="2"), wt.RecipeError, "workers is '2': give a whole number"),  # type: ignore[arg-type]
    (lambda f: wt.dedup(f, workers=1.5), wt.RecipeError, "workers is 1.5: give a whole number"),  # type: ignore[arg-type]
    (lambda f: wt.read(3), wt.RecipeError, "source is 3: give a string or a path"),  # type: ignore[arg-type]
    (lambda f: wt.filter(f.drop("text"), "length"), wt.InputError, "no column 'text'.*by `text=`"),
    (
        lambda f: wt.decontaminate(f, f.drop("text")),
        wt.InputError,
        "the evaluation set 'evaluation': the frame has no column 'text'",
    ),
    (lambda f: wt.decontaminate(f, []), wt.InputError, "check what it is read from, or leave it out"),
    (lambda f: wt.filter(f, []), wt.RecipeError, "name at least one rule"),
    (lambda f: wt.filter(f, "length", words="slow"), wt.RecipeError, "words is 'slow'"),  # type: ignore[arg-type]
    (lambda f: wt.filter(f, "length", language="de"), wt.RecipeError, "the fast ones need no language"),
    (lambda f: wt.filter([1], "length"), wt.InputError, "a list is no frame"),  # type: ignore[type-var]
    (
        lambda f: wt.filter(f.to_arrow().append_column("url", f["url"].to_arrow()), "length"),
        wt.InputError,
        "several columns",
    ),
    (lambda f: wt.dedup(f, "minhsh"), wt.RecipeError, "did you mean 'minhash'"),
    (lambda f: wt.dedup(f, {"minhash": {"keep": "highest scor"}}), wt.InputError, "no column 'scor'.*mean 'score'"),
    (lambda f: wt.decontaminate(f, ["x"], ngrams=3), wt.RecipeError, "no parameter 'ngrams': did you mean 'ngram'"),
    (lambda f: wt.decontaminate(f, ["x"], ngram=1), wt.RecipeError, "ngram: Input should be greater"),
    (lambda f: wt.decontaminate(f, {}), wt.RecipeError, "names no evaluation set"),
    (lambda f: wt.decontaminate(f, {"a/b": ["x"], "c": ["y"]}), wt.RecipeError, "'a/b' is no name"),
    (lambda f: wt.decontaminate(f, []), wt.InputError, "evaluation set 'evaluation' holds no text"),
    (lambda f: wt.decontaminate(f, f), wt.InputError, "1 of 60 rows have no text"),
    (lambda f: wt.read("nowhere/x.jsonl"), wt.InputError, "does not exist"),
    (lambda f: wt.read({"jsnl": "x"}), wt.RecipeError, "did you mean 'jsonl'"),
    (lambda f: wt.read(__file__), wt.RecipeError, "does not tell its format"),
    (lambda f: wt.read("x.jsonl", limit=0), wt.RecipeError, "limit is 0"),
    (lambda f: wt.read("x.jsonl", limit="x"), wt.RecipeError, "limit is 'x'"),  # type: ignore[arg-type]
    (lambda f: wt.read("x.jsonl", limit=1.5), wt.RecipeError, "limit is 1.5"),  # type: ignore[arg-type]
    (lambda f: wt.read(3), wt.RecipeError, "source is 3"),  # type: ignore[arg-type]
    (lambda f: wt.filter(f, "length", text=None), wt.RecipeError, "text is None: give a string"),  # type: ignore
    (lambda f: wt.dedup(f, "exact", text=3), wt.RecipeError, "text is 3"),  # type: ignore[arg-type]
    (lambda f: wt.filter(f, "length", workers="2"), wt.RecipeError, "workers is '2'"),  # type: ignore[arg-type]
    (lambda f: wt.filter(f, "length", workers=0), wt.RecipeError, "workers is 0: give a whole number"),
    (lambda f: wt.dedup(f, "exact", workers=-1), wt.RecipeError, "workers is -1"),
    (lambda f: wt.decontaminate(f, ["x"], workers=1.5), wt.RecipeError, "workers is 1.5"),  # type: ignore[arg-type]
    (lambda f: wt.filter(f, "length", words="exact", language=3), wt.RecipeError, "language is 3"),  # type: ignore
    (lambda f: wt.evaluate(3, ["a"]), wt.RecipeError, "model is 3"),  # type: ignore[arg-type]
    (lambda f: wt.generate("lima", inputs=3), wt.RecipeError, "inputs is 3"),  # type: ignore[arg-type]
    (lambda f: wt.generate("lima", 3), wt.RecipeError, "models is 3"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD, ids=[message for _, _, message in BAD])
def test_a_wrong_argument_is_an_error_of_our_own(texts: pl.DataFrame, call: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        call(texts)


def test_several_formats_in_a_directory_are_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n', encoding="utf-8")
    pl.DataFrame({"text": ["x"]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(wt.RecipeError, match=r"several formats \(jsonl, parquet\): name one source, as in {'jsonl'"):
        wt.read(tmp_path)


def test_a_lazy_frame_that_fails_keeps_the_cause(tmp_path: Path) -> None:
    for lazy in (pl.LazyFrame({"a": [1]}).select("b"), pl.scan_parquet(tmp_path / "none.parquet")):
        with pytest.raises(wt.InputError, match="the LazyFrame cannot be collected: ") as caught:
            wt.filter(lazy, "length")
        assert isinstance(caught.value.__cause__, (pl.exceptions.PolarsError, OSError))


def test_a_pandas_frame_that_cannot_be_read_names_the_column() -> None:
    frame = pd.DataFrame({"text": ["a", 1, {2}], "n": [1, 2, 3]})
    with pytest.raises(wt.InputError, match="column 'text' cannot be read; are its values of mixed types"):
        wt.filter(frame, "length")
    with pytest.raises(wt.InputError, match=r"the evaluation set 'evaluation': .* column 'text' cannot be read"):
        wt.decontaminate(pd.DataFrame({"text": ["a"]}), frame)
    mixed = pd.DataFrame({"text": ["a", "b"], "mix": [1, "x"]})  # a column that is not looked at may hold anything
    assert len(wt.decontaminate(mixed, mixed).kept) == 2
    for call in (wt.filter, wt.decontaminate):
        with pytest.raises(wt.InputError, match="several columns called 'n'"):
            call(pd.concat([frame, frame[["n"]]], axis=1), "length")


DICTIONARY = pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))


def odd_frame() -> pd.DataFrame:
    """Return a pandas frame with columns of types that Arrow does not have, or has under another name."""
    return pd.DataFrame(
        {
            "text": ["write to a.b@example.com now", None, "short", "nothing here at all"],
            "whole": pd.array([1, None, 3, 4], dtype="Int64"),
            "flag": pd.array([True, None, False, True], dtype="boolean"),
            "half": pd.array([1, 2, 3, 4], dtype="Float32"),
            "word": pd.array(["a", None, "c", "d"], dtype="string"),
            "arrow": pd.array([1, 2, 3, 4], dtype="int64[pyarrow]"),
            "level": pd.Categorical(["lo", "hi", "lo", "lo"], categories=["lo", "mid", "hi"], ordered=True),
            "month": pd.period_range("2020", periods=4, freq="M"),
            "any": [{"a": 1}, {"b": 2}, 3, "x"],
            3: [1, 2, 3, 4],
            "reason": pd.array(["r", "r", None, "r"], dtype="string"),
        },
        index=[5, 5, 7, 9],
    )


@pytest.mark.parametrize("kind", ["object", "str", "string", "string[pyarrow]", "category", DICTIONARY])
def test_a_pandas_frame_keeps_the_types_of_its_columns(kind: Any) -> None:
    frame = odd_frame().astype({"text": kind})
    result = wt.filter(frame, ["pii", {"length": {"min_words": 3}}])
    rows = {"kept": [0, 3], "dropped": [2], "unreadable": [1]}
    for name, places in rows.items():
        part, wanted = getattr(result, name), frame.iloc[places].reset_index(drop=True)
        if name == "dropped":
            wanted = wanted.rename(columns={"reason": "reason_before"})
        same = [column for column in wanted.columns if column != "text"]
        pd.testing.assert_frame_equal(part[same], wanted[same])
        assert list(part.columns[: len(wanted.columns)]) == list(wanted.columns)
        assert part["text"].dtype == frame["text"].dtype or (name, kind) == ("kept", "category")  # with one more
    assert kind != "category" or {*frame["text"].cat.categories} < {*result.kept["text"].cat.categories}
    assert "a.b@example.com" not in result.kept["text"][0] and result.kept["text"][1] == "nothing here at all"
    assert result.dropped["reason"].to_list() == ["length.too_few_words"] and "reason" in result.kept.columns
    again = wt.dedup(result.kept, "exact")
    assert set(result.kept["why"][0]) < set(again.kept["why"][0])
    clean = wt.decontaminate(result.kept, ["something else that is long enough to be found in it"])
    pd.testing.assert_frame_equal(clean.kept, result.kept)


def test_the_result_says_what_became_of_the_rows(texts: pl.DataFrame) -> None:
    shown = repr(wt.filter(texts, {"length": {"min_words": 3}}))
    assert shown.splitlines()[0] == "Selection: 60 rows, 38 kept"
    assert "  length.too_few_words: 20" in shown and "  no_text: 1" in shown
