"""Columns with names that the package uses: in files they are kept, in rules of one's own they are an error."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from windtunnel.pipelines.features.settings import Settings
from windtunnel.pipelines.files.dedup import dedup_files
from windtunnel.pipelines.files.filter import filter_files
from windtunnel.pipelines.filters._measure import measured
from windtunnel.pipelines.filters._rule import Reason, Rule
from windtunnel.pipelines.plan.builder import planned
from windtunnel.schemas.errors import InputError, RecipeError

TEXTS = ["the first of a few texts", "the first of a few texts", "short"]
NAMES = (
    "id", "source", "url", "lang", "meta", "why", "reason", "step", "row", "index", "order", "cluster", "size", "kept",
    "value", "words", "later:id", "literal", "exact_cluster",
)  # fmt: skip
RULE = """
import polars as pl

from windtunnel.pipelines.filters._rule import Reason, Rule


class Own(Rule):
    limit: int = 2

    def measure(self, batch):
        {before}
        sizes = [len(text) for text in batch.column("text").to_pylist()]
        return pl.DataFrame({{"{column}": sizes}}, schema={{"{column}": pl.Int64}})

    def reasons(self):
        return [Reason("own", pl.col("{column}") < self.limit)]
"""


def frame(**more: list) -> pl.DataFrame:
    return pl.DataFrame({"text": TEXTS, **more, **{name: [f"{name} {k}" for k in range(3)] for name in NAMES}})


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl"])
def test_columns_of_files_keep_their_values_under_every_built_in_name(tmp_path: Path, name: str) -> None:
    rows = frame()
    (rows.write_parquet if name.endswith("parquet") else rows.write_ndjson)(tmp_path / name)
    filter_files(tmp_path / name, tmp_path / "filter", [{"length": {"min_words": 3}}])
    dedup_files(tmp_path / name, tmp_path / "dedup", "exact")
    for command in ("filter", "dedup"):
        parts = [pl.read_parquet(tmp_path / command / folder / "*.parquet") for folder in ("kept", "dropped")]
        assert [part.height for part in parts] == [2, 1]
        for part in parts:
            before = {"why"} | ({"reason"} if part is parts[1] else set())
            numbers = [value.rpartition(" ")[2] for value in part["id"].to_list()]
            for column in NAMES:
                values = part[f"{column}_before" if column in before else column].to_list()
                assert values == [f"{column} {number}" for number in numbers]
            assert isinstance(part.schema["why"], pl.Struct)


@pytest.mark.parametrize("name", ["why", "reason"])
def test_a_text_column_with_the_name_of_an_output_column_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    pl.DataFrame({name: TEXTS}).write_parquet(tmp_path / "in.parquet")
    for command, argument in ((filter_files, ["gopher_quality"]), (dedup_files, "exact")):
        with pytest.raises(InputError, match=rf"in.parquet: the text column '{name}' has the name of an output column"):
            command(tmp_path / "in.parquet", tmp_path / "out", argument, text=name)
    assert not (tmp_path / "out").exists()


def recipe(folder: Path, rules: str, column: str = "own_size", before: str = "pass") -> str:
    frame().write_ndjson(folder / "in.jsonl")
    (folder / "own.py").write_text(RULE.format(column=column, before=before), encoding="utf-8")
    text = f"question: q\ncorpora:\n  raw: {{source: {{jsonl: '{folder / 'in.jsonl'}'}}}}\n"
    text += f"  ruled:\n    from: raw\n    rules: {rules}\n"
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return str(folder / "recipe.yaml")


@pytest.mark.parametrize(
    ("rules", "column", "owner"),
    [
        ("[./own.py:Own]", "words", "the shared measurements"),
        ("[./own.py:Own]", "id", "the documents"),
        ("[./own.py:Own, language]", "lang", "rule 'language'"),
        ("[language, ./own.py:Own]", "lang_score", "rule 'language'"),
    ],
)
def test_a_rule_whose_column_has_a_built_in_name_is_an_error_of_the_plan(
    tmp_path: Path, rules: str, column: str, owner: str
) -> None:
    with pytest.raises(RecipeError, match=rf"recipe.yaml, line 6: rule '.*' measures a column '{column}', .* {owner}:"):
        planned(recipe(tmp_path, rules, column), [])


class Taken(Rule):
    """A rule that measures `words` too, which no check has seen."""

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        return pl.DataFrame({"words": [1] * batch.num_rows})

    def reasons(self) -> list[Reason]:
        return []


def test_columns_that_no_plan_could_compare_are_an_error_with_their_name() -> None:
    batch = pa.record_batch({"id": ["a"], "text": pa.array(["some text"], pa.large_string())})
    with pytest.raises(RecipeError, match="measures a column 'words'"):
        measured(batch, Settings(), [Taken()])
