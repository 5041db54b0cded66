"""Rules and dedup methods of one's own: their parameters reach `measure`, and what they return is checked."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import windtunnel as wt
from windtunnel.pipelines.parts import check
from windtunnel.schemas.errors import RecipeError, WindtunnelError

RULE = """
import polars as pl, pyarrow as pa
from typing import ClassVar
from windtunnel.pipelines.filters._rule import Example, Reason, Rule, above

class Own(Rule):
    word: str = "zebra"
    limit: int = 0
    more: list[str] = []  # which cannot be hashed
    keeps: ClassVar[tuple[Example, ...]] = (Example("a horse"), Example("a cow"))
    drops: ClassVar[tuple[Example, ...]] = (Example("a zebra", "many"),)
    def measure(self, batch):
        texts = pl.Series("text", batch.column("text"), dtype=pl.String)
        return {measured}
    def reasons(self):
        return {reasons}
    {more}
"""
MEASURED = 'pl.DataFrame({"own_words": texts.str.count_matches(self.word, literal=True)})'
REASONS = 'above("many", pl.col("own_words"), self.limit)'
EDIT = "edits: ClassVar[bool] = True\n    def edit(self, batch): return {edited}, {{}}"
TEXTS = pl.DataFrame({"text": ["a zebra", "a horse", "a cow", "horse, zebra"]})


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that writes a rule and filters some texts with it."""
    monkeypatch.chdir(tmp_path)

    def run(parameters: object = None, measured: str = MEASURED, reasons: str = REASONS, more: str = "") -> list[str]:
        Path("own.py").write_text(RULE.format(measured=measured, reasons=reasons, more=more))
        return wt.filter(TEXTS, [{"./own.py": parameters}]).kept["text"].to_list()

    return run


def test_the_parameters_of_a_rule_reach_its_measurement(own) -> None:
    assert own() == ["a horse", "a cow"]
    assert own({"word": "horse"}) == ["a zebra", "a cow"]
    assert own({"word": "horse", "limit": 1}) == TEXTS["text"].to_list()


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ("pl.DataFrame({'own_words': [9]})", r"rule './own.py:Own' failed in `measure`: ValueError: 1 rows for"),
        ("[1]", "failed in `measure`: TypeError: a polars DataFrame is expected, not list"),
        ("1 / batch.num_rows if batch.num_rows == 0 else 0", "failed in `measure`: ZeroDivisionError"),
        ("1 / 0 if batch.num_rows else " + MEASURED, "rule './own.py:Own' failed in `measure`: ZeroDivisionError"),
        ("exit(3) if batch.num_rows else " + MEASURED, "rule './own.py:Own' failed in `measure`: SystemExit: 3"),
        ("pl.DataFrame({'own_words': [{} for _ in texts]}, schema={'own_words': pl.Object})", "holds Python objects"),
    ],
)
def test_a_measurement_that_is_not_one_row_a_document_is_refused(own, measured: str, message: str) -> None:
    with pytest.raises(WindtunnelError, match=message):
        own(measured=measured)
    assert any("./own.py:Own" in problem or "expected" in problem for problem in check("rule", "./own.py"))


@pytest.mark.parametrize(
    ("reasons", "message"),
    [
        ("None", "`reasons` must return a list of Reason"),
        ("['many']", "`reasons` must return a list of Reason"),
        ("[Reason('many', True)]", "`drop` of 'many' must be a polars expression, not True"),
        (r"[Reason('\x1b[31m', pl.lit(True))]", r"the name '\\x1b\[31m' must be 1 to 64 printable characters"),
        ("above('many', pl.col('own_word'), 1)", "reads a column 'own_word' that is not measured: did you mean"),
        ("[Reason('many', pl.col('own_words') + 1)]", "`drop` must be true or false for a document, and is of type"),
        ("[Reason('many', pl.col('own_words').str.len_chars() > 1)]", "reason 'own.many' cannot be decided"),
    ],
)
def test_reasons_that_cannot_decide_are_refused_before_anything_is_read(own, reasons: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        own(reasons=reasons)


@pytest.mark.parametrize(
    ("edited", "message"),
    [
        ("batch['text'].slice(1)", r"rule './own.py:Own' failed in `edit`: ValueError: 1 texts, 0 of them null, for 2"),
        ("pa.array(['x'] * (batch.num_rows + 1))", "ValueError: 3 texts"),
        ("pa.array([None] * batch.num_rows, pa.string())", "ValueError: 2 texts, 2 of them null"),
        ("pa.array(range(batch.num_rows))", "TypeError: an Arrow array of strings is expected, not int64"),
        ("['x'] * batch.num_rows", "TypeError: an Arrow array of strings is expected, not list"),
    ],
)
def test_an_edit_that_is_not_one_text_a_document_is_refused(own, edited: str, message: str) -> None:
    with pytest.raises(WindtunnelError, match=message):
        own(more=EDIT.format(edited=edited))


def test_an_edit_may_return_any_kind_of_string_array(own) -> None:
    upper = "pa.chunked_array([[t.upper()] for t in batch['text'].to_pylist()], {kind})"
    for kind in ("pa.string()", "pa.large_string()", "pa.string_view()"):
        assert own(more=EDIT.format(edited=upper.format(kind=kind))) == ["A HORSE", "A COW"]


def test_a_rule_that_stands_twice_and_measures_differently_is_told_so(own) -> None:
    own()
    with pytest.raises(RecipeError, match=r"stands twice in one list and measures differently: .* `repeatable = True`"):
        wt.filter(TEXTS, [{"./own.py": {"word": "cow"}}, {"./own.py": {"word": "horse"}}])


DEDUP = """
import numpy as np
from windtunnel.pipelines.dedup._keyed import KeyedDedup, Sign

class Ends(KeyedDedup):
    def comparable(self): return {{}}
    def signing(self): return EndsSign(method_=self)

class EndsSign(Sign):
    method_: Ends
    @property
    def method(self): return self.method_
    @property
    def columns(self): return ["text"]
    def keys(self, rows, alive):
        n = rows.num_rows
        key = np.arange(n, dtype=np.uint64)[None]
        return {keys}
"""


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("key, None, np.ones(n, np.int64)", r"which rows have keys must be bool \[4\], not int64 \[4\]"),
        ("key, None, np.ones(n - 1, bool)", r"must be bool \[4\], not bool \[3\]"),
        ("key[0], None, np.ones(n, bool)", r"keys must be uint64 \[bands, 4\], not uint64 \[4\]"),
        ("key.astype(float), None, np.ones(n, bool)", r"not float64 \[1, 4\]"),
        ("key, key, np.ones(n, bool)", r"checks must be uint64 \[4\] or None, not uint64 \[1, 4\]"),
    ],
)
def test_keys_of_a_wrong_type_or_shape_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ends.py").write_text(DEDUP.format(keys=keys))
    with pytest.raises(WindtunnelError, match=r"dedup './ends.py:Ends' failed in `keys`: ValueError: .*" + message):
        wt.dedup(TEXTS, "./ends.py:Ends")
    Path("ends.py").write_text(DEDUP.format(keys="key, None, np.ones(n, bool)").replace("comparable", "comparison"))
    with pytest.raises(RecipeError, match=r"dedup './ends.py:Ends' must define comparable"):
        wt.dedup(TEXTS, "./ends.py:Ends")
    Path("ends.py").write_text(DEDUP.format(keys="key, None, np.ones(n, bool)"))
    assert wt.dedup(TEXTS, "./ends.py:Ends").kept.height == 4
