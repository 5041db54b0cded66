"""Whatever a recipe, a condition or a table says, it is understood or refused with an error for people."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.pipelines.recipe.test_recipe import GOOD
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.recipe import where
from windtunnel.pipelines.recipe.file import parse
from windtunnel.pipelines.recipe.recipe import Compare, Recipe
from windtunnel.pipelines.views.tables import print_effects
from windtunnel.schemas.errors import RecipeError, WindtunnelError
from windtunnel.trainer.stats.law import law_of_file

MANY = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

WORDS = st.sampled_from([
    "corpora", "raw", "filtered", "source", "from", "rules", "dedup", "held_out", "mixes", "tokens", "train", "compare",
    "jsonl", "minhash", "language", "seeds", "stages", "model", "llama", "causal_lm", "baseline", "share", "where",
    "tokenizer", "bpe", "budget", "store", "question", "generate", "models", "1e400", ".nan", "0x10", "1_000", "yes",
    "null", "~", "./x.py:Y", "s3://b/c", "../..", "é",
])  # fmt: skip
CONDITIONS = st.sampled_from([
    "lang", "source", "url", "meta.x", "=", "!=", "<", ">", ">=", "in", "not", "and", "or", "is", "null", "(", ")", ",",
    "'a b'", "en", "3", "1e9", "-",
])  # fmt: skip
SCALARS = st.one_of(
    WORDS, st.text(max_size=8), st.none(), st.booleans(), st.integers(-3, 10**20), st.floats(), st.dates()
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(WORDS, SCALARS), inner, max_size=4)),
    max_leaves=8,
)


def understood(text: str) -> Recipe | None:
    """Return the recipe of a text, or None where it was refused with an error that has a text."""
    try:
        return parse(text, [], origin="r.yaml")
    except RecipeError as error:
        assert str(error)
        return None


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


PLACES = places(yaml.safe_load(GOOD))[1:]


@FEW
@given(place=st.sampled_from(PLACES), tree=TREES)
def test_a_recipe_with_anything_in_one_place_is_planned_or_refused_with_its_line(
    place: tuple[Any, ...], tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = copy.deepcopy(yaml.safe_load(GOOD))
    node = recipe
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = tree
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    if (found := understood(text)) is not None:
        try:
            plan(found)
        except WindtunnelError as error:
            assert str(error)
    else:
        with pytest.raises(RecipeError, match=r"line \d+"):
            parse(text, [], origin="r.yaml")


@MANY
@given(tree=TREES)
def test_any_tree_is_a_recipe_or_refused(tree: Any) -> None:
    understood(yaml.safe_dump(tree, allow_unicode=True))


@MANY
@given(text=st.one_of(st.text(max_size=60), st.lists(st.sampled_from(list("{}[]:,-#&*!|>'\"%@ \n\ta1")), max_size=40)))
def test_any_text_is_a_recipe_or_refused(text: str | list[str]) -> None:
    understood("".join(text))


@MANY
@given(parts=st.lists(st.one_of(CONDITIONS, st.text(max_size=4)), max_size=14))
def test_any_condition_is_understood_or_refused(parts: list[str]) -> None:
    try:
        where.columns(where.parse(" ".join(parts)))
    except ValueError as error:
        assert str(error)


CELLS = st.one_of(
    st.sampled_from(
        ["a", "b", "0", "1", "2", "100", "-1", "1e308", "1e-308", "nan", "inf", "", "null", "0.5", '"', "é"]
    ),
    st.text(max_size=5),
    st.floats(0.1, 10).map(str),
)


def table(header: list[str], rows: list[list[str]], shape: list[int]) -> str:
    """Return a CSV; `shape` says how many cells a row has too many or too few."""
    lines = [",".join(header)]
    for number, row in enumerate(rows):
        cells = [row[place % len(row)] for place in range(max(0, len(header) + shape[number % len(shape)]))]
        lines.append(",".join(cells))
    return "\n".join(lines)


HEADERS = ["mix", "seed", "document", "bytes", "nats", "source"]
TABLES = st.builds(
    table,
    st.one_of(st.just(HEADERS), st.just(HEADERS[:5]), st.lists(st.sampled_from([*HEADERS, "", "x"]), max_size=7)),
    st.lists(st.lists(CELLS, min_size=1, max_size=6), max_size=6),
    st.lists(st.sampled_from([0, 0, 0, 1, -1]), min_size=1, max_size=3),
)
MESSES = st.one_of(TABLES.map(str.encode), st.binary(max_size=80), TABLES.map(lambda t: t.encode("utf-16")))


@FEW
@given(content=MESSES)
def test_any_table_of_scores_has_effects_or_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(content)
    try:
        print_effects(tmp_path / "s.csv", Compare(baseline="a", margin=0.01), True, Console(file=io.StringIO()))
    except WindtunnelError as error:
        assert str(error)


RUNS = st.builds(
    table,
    st.sampled_from([["w_a", "w_b", "loss"], ["w_a", "w_a", "loss"], ["w_a", "loss"], ["loss"], ["x"]]),
    st.lists(st.lists(CELLS, min_size=1, max_size=3), max_size=9),
    st.lists(st.sampled_from([0, 0, 0, 1, -1]), min_size=1, max_size=3),
)


@FEW
@given(content=st.one_of(RUNS.map(str.encode), st.binary(max_size=80)))
def test_any_table_of_runs_has_a_law_or_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes(content)
    try:
        law_of_file(tmp_path / "r.csv", "w_*", "loss", "linear", None)
    except WindtunnelError as error:
        assert str(error)
