"""Mixes that change in time: shares by phase and by a power of the sizes, orders, and what is refused."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest

from windtunnel.pipelines.datasets.mix import Mix, shares
from windtunnel.pipelines.datasets.planned_mix import OrderOfMix, PhaseOfMix, PlannedMix
from windtunnel.pipelines.report.sections.mixes import _phases
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError, RecipeError

DECAY = (PhaseOfMix(weights={"wide": 1.0}, until=0.8), PhaseOfMix(weights={"wide": 1.0, "narrow": 1.0}))


def tokens(world, *names):
    return {f"tokens:{name}": world.artifact(f"tokens_{name}") for name in names}


def sizes(world):
    files = {name: world.artifact(f"tokens_{name}").files("documents") for name in ("wide", "narrow")}
    return {name: sum(pl.read_parquet(f)["tokens"].sum() for f in found) for name, found in files.items()}


def laid_down(work, inputs, out):
    counts = work.run(inputs, out, 0)
    return counts, json.loads((out / "mix.json").read_text()), pl.read_parquet(out / "realised.parquet")


def test_a_phased_mix_gives_what_its_phases_give(tmp_path, world):
    work = PlannedMix(phases=DECAY, token_budget=10_000, max_epochs=10)
    counts, mix, realised = laid_down(work, tokens(world, "wide", "narrow"), tmp_path)
    assert {d["name"]: round(d["weight"], 9) for d in mix["domains"]} == {"wide": 0.9, "narrow": 0.1}
    assert [d["tokens"] for d in mix["domains"]] == [9000, 1000]
    by_phase = realised.group_by("phase", "domain").agg(pl.col("tokens").sum()).sort("phase", "domain").rows()
    assert [(phase, name) for phase, name, _ in by_phase] == [(1, "wide"), (2, "narrow"), (2, "wide")]
    assert [number for *_, number in by_phase] == pytest.approx([8000, 1000, 1000], abs=2)
    assert counts.notes["shares"] == "wide 100 % until 80 % of the tokens, then wide 50 %, narrow 50 %"
    even = Mix(weights={"wide": 0.9, "narrow": 0.1}, token_budget=10_000, max_epochs=10)
    _, flat, _ = laid_down(even, tokens(world, "wide", "narrow"), tmp_path / "even")
    assert [d["epochs"] for d in mix["domains"]] == pytest.approx([d["epochs"] for d in flat["domains"]])


def test_a_ramp_gives_the_mean_of_its_ends(tmp_path, world):
    ramp = (*DECAY[:1], DECAY[1].model_copy(update={"ramp": True}))
    work = PlannedMix(phases=ramp, token_budget=10_000, max_epochs=10)
    counts, mix, _ = laid_down(work, tokens(world, "wide", "narrow"), tmp_path)
    assert [d["tokens"] for d in mix["domains"]] == [9500, 500]
    assert mix["phases"][1]["first"] == {"wide": 1.0} and mix["phases"][1]["last"] == {"wide": 0.5, "narrow": 0.5}
    assert counts.notes["shares"].endswith("then from wide 100 % to wide 50 %, narrow 50 %")


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_shares_by_a_power_of_the_sizes(tmp_path, world, alpha):
    phases = (PhaseOfMix(weights={"wide": "tokens", "narrow": "tokens"}, alpha=alpha),)
    _, mix, realised = laid_down(
        PlannedMix(phases=phases, token_budget=9000), tokens(world, "wide", "narrow"), tmp_path
    )
    powers = {name: size**alpha for name, size in sizes(world).items()}
    expected = {name: power / sum(powers.values()) for name, power in powers.items()}
    assert {d["name"]: d["weight"] for d in mix["domains"]} == pytest.approx(expected)
    assert "phases" not in mix and "phase" not in realised.columns


def test_a_large_power_of_the_sizes_overflows_nowhere():
    tables = {name: pl.DataFrame({"tokens": [size]}) for name, size in {"a": 10**9, "b": 10**9 - 10**6}.items()}
    found = shares(dict.fromkeys(tables, "tokens"), tables, 1000.0)
    assert found["b"] / found["a"] == pytest.approx(0.999**1000) and sum(found.values()) == pytest.approx(1)
    with pytest.raises(RecipeError, match=r"an alpha of 1e\+06 leaves nothing of b: lower it"):
        shares(dict.fromkeys(tables, "tokens"), tables, 1e6)


def test_the_cap_on_epochs_is_for_all_phases_together(tmp_path, world):
    there = sizes(world)["narrow"]
    phases = (
        PhaseOfMix(weights={"narrow": 1.0}, until=0.25),
        PhaseOfMix(weights={"wide": 1.0}, until=0.75),
        PhaseOfMix(weights={"narrow": 1.0}),
    )
    work = PlannedMix(phases=phases, token_budget=4 * there, max_epochs=2)
    work.run(tokens(world, "wide", "narrow"), tmp_path / "fits", 0)
    over = work.model_copy(update={"token_budget": 4 * there + 40})
    with pytest.raises(RecipeError, match=rf"narrow: {there:,} tokens there are, .* the cap is 2"):
        over.run(tokens(world, "wide", "narrow"), tmp_path / "over", 0)


def test_the_report_shows_the_whole_and_every_phase(tmp_path, world):
    work = PlannedMix(phases=DECAY, token_budget=60_000, max_epochs=10)
    _, mix, realised = laid_down(work, tokens(world, "wide", "narrow"), tmp_path)
    (whole, table), (first, _), (second, part) = _phases(mix, realised)
    assert (whole, first, second) == ("", ", 0 to 80 %", ", 80 to 100 %")
    assert table["tokens"].sum() == pytest.approx(60_000, abs=8) and part["tokens"].sum() == pytest.approx(
        12_000, abs=8
    )
    expected = {d["name"]: d["documents"] for d in mix["domains"]}
    documents = dict(table.group_by("domain").agg(pl.col("documents").sum()).iter_rows())
    assert documents == pytest.approx(expected, abs=2)


def measured(world, tmp_path):
    """The corpus `narrow` with a measured value and a number in `meta`, and rows that its tokens do not have."""
    shutil.copytree(world.artifact("narrow").path, tmp_path / "narrow")
    corpus = Artifact(tmp_path / "narrow")
    for file in corpus.files("kept"):
        rows = pl.read_parquet(file)
        numbers = pl.Series("score", [float(len(text) % 17) for text in rows["text"]])
        meta = pl.Series("meta", [json.dumps({"stars": len(text) % 5}) for text in rows["text"]])
        why = pl.DataFrame({"score": numbers, "lang": ["en"] * rows.height}).to_struct("why")
        extra = rows.head(1).with_columns(pl.lit("not in the tokens").alias("id"))
        whole = rows.with_columns(meta, why)
        pl.concat([extra.with_columns(whole["meta"].head(1), whole["why"].head(1)), whole]).write_parquet(file)
    return corpus


@pytest.mark.parametrize("by", ["tokens", "bytes", "score", "meta.stars"])
def test_values_are_those_of_the_documents_of_the_tokens(tmp_path, world, by):
    corpus = measured(world, tmp_path)
    texts = {row["id"]: row["text"] for f in corpus.files("kept") for row in pl.read_parquet(f).to_dicts()}
    phases = (PhaseOfMix(weights={"narrow": 1.0}),)
    work = PlannedMix(phases=phases, order=OrderOfMix(by=by), token_budget=5000)
    _, mix, _ = laid_down(work, {**tokens(world, "narrow"), "corpus:narrow": corpus}, tmp_path / "out")
    assert mix["order"] == {"by": by, "direction": "ascending"}
    values = pl.read_parquet(tmp_path / "out" / "order" / "narrow.parquet")["value"].to_list()
    rows = pl.concat([pl.read_parquet(f) for f in world.artifact("tokens_narrow").files("documents")])
    own = {"score": lambda t: len(t) % 17, "meta.stars": lambda t: len(t) % 5, "bytes": lambda t: len(t.encode())}
    expected = rows["tokens"].to_list() if by == "tokens" else [own[by](texts[name]) for name in rows["id"]]
    assert values == expected


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("scor", r"no number 'scor' to be ordered by: did you mean 'score'"),
        ("lang", r"no number 'lang' to be ordered by"),
        ("meta.moons", r"no document of the corpus 'narrow' has a value of 'meta.moons'"),
    ],
)
def test_an_order_by_what_was_not_measured_says_what_was(tmp_path, world, by, message):
    inputs = {**tokens(world, "narrow"), "corpus:narrow": measured(world, tmp_path)}
    work = PlannedMix(phases=(PhaseOfMix(weights={"narrow": 1.0}),), order=OrderOfMix(by=by), token_budget=5000)
    with pytest.raises(InputError, match=message):
        work.run(inputs, tmp_path / "out", 0)
