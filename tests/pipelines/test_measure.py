"""Measure, decide, edit and corpus as steps of a plan: what each reads and writes, counts, and what is decided anew."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.datasets.corpus import Corpus
from windtunnel.pipelines.filters._rule import explain
from windtunnel.pipelines.filters._stages import stages
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.records import DECISION, DOCUMENT
from windtunnel.schemas.work import Counts, Work

PROSE = "The ferry to {} leaves at noon, and the pilots that have to be there wait with the harbour master. "
FRENCH = "Le bac pour {} part à midi, et les pilotes qui doivent être là attendent avec le maître du port. "
PLACES = ("Aldermouth", "Brackwater", "Cawdle", "Dunsea", "Eastkirk", "Fallow", "Gannet", "Holm")


def _documents(path: Path, shards: list[list[str]]) -> Artifact:
    for number, texts in enumerate(shards):
        target = path / "documents" / f"{number:05d}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        ids = [f"{number}-{k}" for k in range(len(texts))]
        table = pa.table({"id": ids, "text": texts, "source": ["made"] * len(texts)})
        empty = {name: pa.nulls(len(texts), pa.string()) for name in ("url", "lang", "meta")}
        for name, column in empty.items():
            table = table.append_column(name, column)
        pq.write_table(table.cast(DOCUMENT), target)
    return Artifact(path)


def _do(work: Work, out: Path, **inputs: Artifact) -> Counts:
    work = type(work).model_validate_json(work.model_dump_json())  # as it comes out of a plan
    counts = Counts.total([work.run(inputs, out, rank) for rank in range(work.shards(inputs))])
    work.finish(inputs, out)
    return counts.check("test")


SHARDS = [
    [" ".join(PROSE.format(place) for place in PLACES), "too short", ""],
    [" ".join(map(FRENCH.format, PLACES))],
    [],
]


def test_a_rules_list_as_steps(tmp_path: Path) -> None:
    documents = _documents(tmp_path / "read", SHARDS)
    measure, decide = (stage.work for stage in stages(["gopher_quality", {"length": {"min_words": 200}}]))
    assert _do(measure, tmp_path / "m", documents=documents).seen == 4
    counts = _do(decide, tmp_path / "d", measures=Artifact(tmp_path / "m"))
    reasons = {"gopher_quality.gopher_enough_stop_words": 1, "gopher_quality.gopher_short_doc": 2}
    assert counts.dropped == {"length.too_few_words": 1, **reasons}
    first = pq.read_table(tmp_path / "d" / "decisions" / "00000.parquet")
    assert first.schema.equals(DECISION)
    assert first.column("id").to_pylist() == ["0-0", "0-1", "0-2"]
    inputs = {"measures": Artifact(tmp_path / "m"), "decisions": Artifact(tmp_path / "d")}
    counts = _do(Corpus(), tmp_path / "c", documents=documents, **inputs)
    assert (counts.seen, counts.kept, sum(counts.dropped.values())) == (4, 0, 4)
    dropped = pl.read_parquet(tmp_path / "c" / "dropped" / "*.parquet")
    assert set(DOCUMENT.names) | {"why", "reason", "step"} == set(dropped.columns)
    assert dropped["why"].struct.field("words").to_list()[1:3] == [2, 0]
    kept = pq.read_table(tmp_path / "c" / "kept" / "00002.parquet")  # an empty shard has its columns
    assert kept.num_rows == 0
    assert kept.schema.field("why").type == dropped.to_arrow().schema.field("why").type


def test_a_threshold_is_decided_anew_without_any_text(tmp_path: Path) -> None:
    documents = _documents(tmp_path / "read", SHARDS)
    before, after = (stages([{"length": {"min_words": least}}]) for least in (1, 100))
    assert before[0].work == after[0].work, "the threshold is no part of the measurement"
    assert before[1].work != after[1].work
    _do(before[0].work, tmp_path / "m", documents=documents)
    shutil.rmtree(tmp_path / "read")
    kept = [
        _do(s[1].work, tmp_path / f"d{i}", measures=Artifact(tmp_path / "m")).kept
        for i, s in enumerate((before, after))
    ]
    assert kept == [3, 2]


def test_what_was_dropped_before_is_neither_measured_nor_counted_again(tmp_path: Path) -> None:
    documents = _documents(tmp_path / "read", SHARDS)
    _do(stages(["gopher_repetition"])[0].work, tmp_path / "m1", documents=documents)
    first = stages([{"length": {"min_words": 50}}], step="first")[1].work
    _do(first, tmp_path / "d1", measures=Artifact(tmp_path / "m1"))
    prior = Artifact(tmp_path / "d1")
    second = stages(["gopher_quality"], step="second")
    assert _do(second[0].work, tmp_path / "m2", documents=documents, decisions=prior).seen == 2
    again = pl.read_parquet(tmp_path / "m2" / "measures" / "00000.parquet")
    assert again["words"].is_null().to_list() == [False, True, True]
    counts = _do(second[1].work, tmp_path / "d2", measures=Artifact(tmp_path / "m2"), decisions=prior)
    assert (counts.seen, counts.dropped) == (2, {"gopher_quality.gopher_enough_stop_words": 1})
    decided = pl.read_parquet(tmp_path / "d2" / "decisions" / "*.parquet")
    assert decided["step"].to_list() == [None, "first", "first", "second"]


def test_rules_after_c4_see_its_text(tmp_path: Path) -> None:
    page = "\n".join([*(PROSE.format(place).strip() for place in PLACES[:6]), *["a menu line"] * 40])
    documents = _documents(tmp_path / "read", [[page, "one line only."]])
    chain = stages(["c4", "fineweb"])
    assert [stage.kind for stage in chain] == ["measure", "decide", "edit", "measure", "decide"]
    _do(chain[0].work, tmp_path / "m1", documents=documents)
    _do(chain[1].work, tmp_path / "d1", measures=Artifact(tmp_path / "m1"))
    prior = Artifact(tmp_path / "d1")
    counts = _do(chain[2].work, tmp_path / "e", documents=documents, decisions=prior)
    assert (counts.seen, counts.notes) == (1, {"c4.rewritten_documents": 1})
    edited = pl.read_parquet(tmp_path / "e" / "documents" / "*.parquet")
    assert edited["text"].to_list() == ["\n".join(page.split("\n")[:6]), "one line only."]
    assert edited["id"].to_list() == ["0-0", "0-1"]
    _do(chain[3].work, tmp_path / "m2", documents=Artifact(tmp_path / "e"), decisions=prior)
    counts = _do(chain[4].work, tmp_path / "d2", measures=Artifact(tmp_path / "m2"), decisions=prior)
    assert (counts.seen, counts.kept) == (1, 1)
    measures = {f"measures{i}": Artifact(tmp_path / f"m{i}") for i in (1, 2)}
    inputs = {"documents": Artifact(tmp_path / "e"), "decisions": Artifact(tmp_path / "d2"), **measures}
    _do(Corpus(), tmp_path / "c", **inputs)
    why = pl.read_parquet(tmp_path / "c" / "kept" / "*.parquet")["why"].struct
    assert why.field("nonblank_lines").to_list() == [6], "the later measurement counts"
    dropped = pl.read_parquet(tmp_path / "c" / "dropped" / "*.parquet")["why"].struct
    assert dropped.field("nonblank_lines").to_list() == [1], "and the earlier one where there is no later"


def test_ranks_give_the_same_bytes_again(tmp_path: Path) -> None:
    documents = _documents(tmp_path / "read", SHARDS)
    measure, decide = (stage.work for stage in stages(["gopher_quality"]))
    for name in "ab":
        _do(measure, tmp_path / f"m{name}", documents=documents)
        _do(decide, tmp_path / f"d{name}", measures=Artifact(tmp_path / f"m{name}"))
    for one, two in (("ma/measures", "mb/measures"), ("da/decisions", "db/decisions")):
        files = sorted((tmp_path / one).iterdir())
        assert [f.read_bytes() for f in files] == [(tmp_path / two / f.name).read_bytes() for f in files]


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([{"c4": {"citations": False}}, {"c4": {}}], None),
        ([{"fineweb": {"short_line_chars": 20}}, {"fineweb": {"short_line_chars": 30}}], "short_line_chars"),
        ([{"language": {"model": "a.bin"}}, {"language": {"model": "b.bin"}}], "'language' stands twice"),
        (["gopher_qualty"], "gopher_quality"),
        ([{"gopher_quality": {"min_word": 1}}], "min_words"),
    ],
)
def test_lists_that_cannot_be(specs: list[Any], message: str | None) -> None:
    if message is None:
        stages(specs)  # the second is measured on the text that the first rewrote
        return
    with pytest.raises(RecipeError, match=message):
        stages(specs)


def test_why_a_document_went(tmp_path: Path) -> None:
    documents = _documents(tmp_path / "read", [["word " * 60]])
    _do(stages(["gopher_repetition"])[0].work, tmp_path / "m", documents=documents)
    (why,) = pl.read_parquet(tmp_path / "m" / "measures" / "00000.parquet").drop("id").to_dicts()
    told = explain(["gopher_quality", "gopher_repetition"], why)
    row = told.filter(pl.col("reason") == "top_2_gram").to_dicts()[0]
    assert row["drops"]
    assert (row["side"], row["limit"]) == ("above", 0.2)
    assert float(row["value"]) == pytest.approx(9 * 59 / 300)
    assert told.filter(pl.col("drops"))["reason"][0] == "gopher_enough_stop_words"


@pytest.mark.slow
def test_a_document_of_50_mb_on_one_line_stays_within_its_memory() -> None:
    script = """
        from pathlib import Path
        import pyarrow as pa
        from windtunnel.pipelines.features.shared import features
        def peak():
            return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
        features(pa.array(["warm up"]))
        before = peak()
        text = pa.array(["lorem42 ipsum, " * 3_400_000], pa.large_string())
        words = features(text)["words"].to_list()
        print(words[0], (peak() - before) // 1024)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    words, megabytes = map(int, done.stdout.split())
    assert words == 10_200_000
    assert megabytes < 1500, "about 68 bytes a word and the text twice"


def test_nul_bytes_and_endless_words() -> None:
    from windtunnel.pipelines.features.shared import features

    rows = features(pa.array(["a\x00b \x00 c", "x" * 200_000, "(" * 70_000])).to_dicts()
    assert rows[0]["words"] == 3
    assert rows[1]["characters"] == 200_000
    assert rows[2]["words"] == 70_000


def test_a_raised_version_of_a_rule_is_another_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from windtunnel.pipelines.engine.step import Step
    from windtunnel.pipelines.filters._rule import Rule
    from windtunnel.pipelines.filters._stages import stages
    from windtunnel.schemas.plugin import find

    def keys() -> dict[str, str]:
        found = stages(["gopher_quality", "url", "c4"])
        return {stage.kind: Step(f"{stage.kind}:x", stage.work).key for stage in found[:3]}

    before = keys()
    monkeypatch.setattr(find(Rule, "c4"), "version", find(Rule, "c4").version + 1)
    after = keys()
    assert after["measure"] == before["measure"], "it has no measurement of its own"
    assert after["decide"] != before["decide"] and after["edit"] != before["edit"]
    monkeypatch.setattr(find(Rule, "url"), "version", find(Rule, "url").version + 1)
    assert keys()["measure"] != before["measure"], "it measures for itself"
