"""The difference of two corpora: what went, came and was rewritten, and why."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from windtunnel.pipelines.views.difference import NOT_THERE, difference
from windtunnel.pipelines.views.difference_view import print_difference
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import DOCUMENT

WEB = "https://www.a.example/page"


def corpus(path: Path, kept: dict[str, str], dropped: list[tuple[str, str]] = [], shards: int = 1) -> Path:  # noqa: B006
    """Write a corpus: kept maps ids (`x` or `x#2` for a copy of x) to text; dropped lists (id, reason)."""
    rows = [{"id": key.partition("#")[0], "text": text, "source": key[0], "url": WEB} for key, text in kept.items()]
    gone = [{"id": key, "text": key, "source": key[0], "url": None, "reason": why} for key, why in dropped]
    schema = dict.fromkeys(DOCUMENT.names, pl.String)
    for folder, found, more in (("kept", rows, {}), ("dropped", gone, {"reason": pl.String, "step": pl.String})):
        (path / folder).mkdir(parents=True)
        for rank in range(shards):
            pl.DataFrame(found[rank::shards], schema={**schema, **more}).write_parquet(
                path / folder / f"{rank:05d}.parquet"
            )
    return path


def changes(a: Path, b: Path) -> set[tuple[str, str | None, str, int, int, int]]:
    return set(difference(a, b).changes.rows())


def test_what_went_came_and_was_rewritten(tmp_path: Path) -> None:
    a = corpus(tmp_path / "a", {"p1": "one", "p2": "two", "q1": "three", "q2": "four"}, [("p9", "length.short")])
    b = corpus(tmp_path / "b", {"p1": "one", "q2": "FOUR!", "p9": "nine", "r1": "new"}, [("p2", "c4.lorem_ipsum")])
    assert changes(a, b) == {
        ("went", "c4.lorem_ipsum", "p", 1, 3, 3),
        ("went", NOT_THERE, "q", 1, 5, 5),
        ("came", "length.short", "p", 1, 4, 4),
        ("came", NOT_THERE, "r", 1, 3, 3),
        ("rewritten", None, "q", 1, 5, 4),
    }


def test_the_same_corpus_differs_in_nothing_however_it_is_cut(tmp_path: Path) -> None:
    rows = {f"d{number}": "x" * number for number in range(200)}
    a, b = corpus(tmp_path / "a", rows), corpus(tmp_path / "b", dict(reversed(rows.items())), shards=3)
    found = difference(a, b)
    assert found.changes.height == 0
    assert found.totals.rows() == [("a", 200, 19900), ("b", 200, 19900)]


def test_copies_are_counted_one_by_one(tmp_path: Path) -> None:
    a = corpus(tmp_path / "a", {"d": "x", "d#2": "x", "d#3": "x"}, [("d", "language.unsure")])
    b = corpus(tmp_path / "b", {"d": "x"}, [("d", "exact"), ("d", "language.unsure"), ("d", "exact")])
    assert changes(a, b) == {("went", "exact", "d", 2, 2, 2)}
    assert changes(b, a) == {("came", "exact", "d", 2, 2, 2)}


def test_histograms_hosts_and_sources(tmp_path: Path) -> None:
    a = corpus(tmp_path / "a", {"p1": "", "p2": "x", "p3": "é" * 4, "q1": "x" * 9})
    b = corpus(tmp_path / "b", {"p2": "x"})
    found = difference(a, b)
    assert found.sources.rows() == [("a", "p", 3, 9), ("a", "q", 1, 9), ("b", "p", 1, 1)]
    assert found.hosts.rows() == [("a", "a.example", 4, 18), ("b", "a.example", 1, 1)]
    sizes = found.histograms.filter(corpus="a", group="source", value="p")
    assert sizes.select("from_bytes", "documents").rows() == [(0, 1), (1, 1), (8, 1)]
    for _, rows in found.histograms.group_by("corpus", "group"):
        total = found.totals.filter(corpus=rows["corpus"][0])
        assert (rows["documents"].sum(), rows["bytes"].sum()) == total.select("documents", "bytes").row(0)


def test_it_is_printed_and_written(tmp_path: Path) -> None:
    a = corpus(tmp_path / "a", {"p1": "one", "q1": "x"})
    b = corpus(tmp_path / "b", {"p1": "one"}, [("q1", "url.do\x1b[31mmain")])
    out = io.StringIO()
    console = Console(file=out, width=120)
    print_difference(a, b, tmp_path / "out", False, console)
    assert "url.do<U+001B>[31mmain" in out.getvalue() and "\x1b" not in out.getvalue()
    assert "2 documents" in out.getvalue()
    assert pl.read_parquet(tmp_path / "out" / "changes.parquet")["documents"].to_list() == [1]
    assert pl.read_parquet(tmp_path / "out" / "histograms.parquet").height > 0
    out.truncate(0)
    out.seek(0)
    print_difference(a, a, None, True, console)
    assert json.loads(out.getvalue())["changes"] == []


def test_a_directory_without_a_corpus_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no corpus"):
        difference(tmp_path, tmp_path)


def test_files_of_ones_own_need_an_id_and_no_source(tmp_path: Path) -> None:
    for name, texts in (("a", ["x y", "z"]), ("b", ["x y"])):
        frame = pl.DataFrame({"id": ["1", "2"][: len(texts)], "text": texts})
        (tmp_path / name / "kept").mkdir(parents=True)
        frame.write_parquet(tmp_path / name / "kept" / "00000.parquet")
    found = difference(tmp_path / "a", tmp_path / "b")
    assert found.changes.select("change", "source", "documents").rows() == [("went", None, 1)]
    print_difference(tmp_path / "a", tmp_path / "b", None, False, Console(file=io.StringIO()))
    pl.DataFrame({"text": ["x"]}).write_parquet(tmp_path / "b" / "kept" / "00000.parquet")
    with pytest.raises(InputError, match="has no column 'id'"):
        difference(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "kept" / "00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        difference(tmp_path / "a", tmp_path / "b")
