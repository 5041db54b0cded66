"""The comparison step: from runs' scores to verdicts, the matrix, and words that name their target."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from windtunnel.pipelines.cli import app
from windtunnel.pipelines.report.wording import (
    COMMAND,
    digits_for,
    headline,
    label,
    more_seeds,
    percent,
    plain,
    plural,
    sentence,
    signed,
    span,
    split_by_source,
)
from windtunnel.pipelines.views.compare_tables import comparison_view, effects_table, matrix_table
from windtunnel.pipelines.views.tables import print_further
from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.results import Comparison, Effect, EncodedSet
from windtunnel.trainer.stats.compare import Compare, describe
from windtunnel.trainer.stats.effects import effects

SHIFTS = {"raw": 0.0, "clean": -0.05, "same": 0.0005, "bad": 0.08}


def run(folder: Path, seed: int, shift: float, documents: int = 80) -> Artifact:
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, int(1e6 * abs(shift))])
    text = np.random.default_rng(0).normal(2, 0.1, documents)
    sizes = np.random.default_rng(1).integers(100, 2000, documents)
    bits = text + shift + rng.normal(0, 0.002) + rng.normal(0, 0.01, documents)
    columns = {
        "document": [f"d{k:03}" for k in range(documents)],
        "source": [("docs", "plays")[k % 2] for k in range(documents)],
        "bytes": sizes,
        "nats": bits * sizes * np.log(2),
        "accuracy": (rng.random(documents) < 0.5 - 4 * shift).astype(float),
    }
    pl.DataFrame(columns).write_parquet(folder / "scores.parquet")
    return Artifact(folder)


def runs(root: Path, mixes: dict[str, float] = SHIFTS, seeds: int = 4) -> dict[str, Artifact]:
    return {f"run:{m}:{s}": run(root / f"{m}.{s}", s, shift) for m, shift in mixes.items() for s in range(seeds)}


def compared(tmp_path: Path, inputs: dict[str, Artifact], **fields) -> Comparison:
    out = tmp_path / "compare"
    counts = Compare(**{"baseline": "raw", "margin": 0.01, **fields}).run(inputs, out, 0)
    assert counts.check("compare").kept == 80
    return Comparison.model_validate_json((out / "comparison.json").read_bytes())


def test_what_was_not_measured_is_told_of_the_rows_that_are_compared(tmp_path) -> None:
    inputs = runs(tmp_path, {"raw": 0.0, "clean": -0.05}, seeds=2)
    lost = {"conversations": {"duplicate_id": 3}, "preferences": {"too_long": 2}}
    parts = [
        EncodedSet(role=f"held_out_{name}", set="", source="s", rows=9, kept=6, tokens=9, bytes=9, refused=reasons)
        for name, reasons in lost.items()
    ]
    for each in inputs.values():
        (each.path / "scores.parquet").rename(each.path / "preferences.parquet")
        (each.path / "encoded.json").write_text(json.dumps([part.model_dump() for part in parts]))
    found = compared(tmp_path, inputs, scores="preferences.parquet", metric="accuracy", direction="higher", on="pairs")
    assert found.on.description == "pairs; not measured: 2 of 9 held-out preferences (too_long 2)"


def test_verdicts_best_first_with_their_target(tmp_path) -> None:
    found = compared(tmp_path, runs(tmp_path))
    assert [(e.mix, e.verdict) for e in found.effects] == [
        ("clean", "better"),
        ("same", "equivalent"),
        ("bad", "worse"),
    ]
    assert found.on.documents == 80
    assert {d.name: d.documents for d in found.on.domains} == {"docs": 40, "plays": 40}
    assert sum(d.bytes for d in found.on.domains) == found.on.bytes
    assert list(found.values) == ["raw", "clean", "same", "bad"]
    assert found.seeds == ["0", "1", "2", "3"]


def test_files_say_the_same_as_the_function(tmp_path) -> None:
    inputs = runs(tmp_path)
    found = compared(tmp_path, inputs)
    table = pl.concat(
        pl.read_parquet(a.path / "scores.parquet").with_columns(mix=pl.lit(role.split(":")[1]), seed=pl.lit(role[-1]))
        for role, a in inputs.items()
    )
    direct = {e.mix: e for e in effects(table, "raw", margin=0.01)}
    assert {e.mix: e for e in found.effects} == direct
    written = pl.read_parquet(tmp_path / "compare" / "effects.parquet")
    assert written["effect"].to_list() == [e.effect for e in found.effects]
    assert written.schema["seeds_needed"] == pl.Int64
    matrix = pl.read_parquet(tmp_path / "compare" / "loss_matrix.parquet")
    assert matrix.height == 4 * 2


def test_the_order_of_runs_changes_no_byte(tmp_path) -> None:
    inputs = runs(tmp_path)
    compared(tmp_path / "a", inputs)
    for number, mixes in enumerate((list(inputs)[::-1], sorted(inputs, key=lambda r: r[-1]))):
        compared(tmp_path / str(number), {role: inputs[role] for role in mixes})
        for name in ("loss_matrix.parquet", "effects.parquet"):
            other = pl.read_parquet(tmp_path / str(number) / "compare" / name)
            assert other.sort("mix").equals(pl.read_parquet(tmp_path / "a" / "compare" / name).sort("mix"))


def test_a_metric_where_more_is_better(tmp_path) -> None:
    found = compared(
        tmp_path, runs(tmp_path, {"raw": 0.0, "clean": -0.08}, 5), metric="accuracy", direction="higher", margin=None
    )
    (effect,) = found.effects
    assert effect.effect > 0 and effect.verdict == "better"
    assert found.unit == "accuracy"


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_make_no_verdict_out_of_nothing(tmp_path, seeds) -> None:
    found = compared(tmp_path, runs(tmp_path, {"raw": 0.0, "clean": -0.05}, seeds))
    assert (found.effects[0].low is None) == (seeds == 1)
    if seeds == 1:
        assert found.effects[0].verdict == "undecided"
        assert found.seed_sd == {"raw": None, "clean": None}


def test_runs_that_cannot_be_compared_are_refused(tmp_path) -> None:
    inputs = runs(tmp_path)
    with pytest.raises(InputError, match="no runs"):
        Compare(baseline="raw").run({}, tmp_path / "out", 0)
    with pytest.raises(RecipeError, match="did you mean 'raw'"):
        Compare(baseline="row").run(inputs, tmp_path / "out", 0)
    with pytest.raises(InputError, match="mix 'bad' seed 3"):
        Compare(baseline="raw").run({r: a for r, a in inputs.items() if r != "run:bad:3"}, tmp_path / "out", 0)
    (inputs["run:clean:0"].path / "scores.parquet").unlink()
    with pytest.raises(InputError, match=r"mix 'clean', seed 0 has no scores\.parquet"):
        Compare(baseline="raw").run(inputs, tmp_path / "out", 0)


def held_out(folder: Path, config: dict, inputs: dict[str, str]) -> Artifact:
    Manifest(step="held_out", version=1, key="k", config=config, inputs=inputs).write(folder / MANIFEST)
    return Artifact(folder)


def test_the_target_is_described_from_its_own_configuration(tmp_path) -> None:
    config = {"share": 0.02, "where": "lang = en", "documents": 600, "threshold": 0.72}
    words = describe(held_out(tmp_path / "a", config, {"corpus": "corpus.raw-0123abcd"}))
    assert words.startswith("2% of the documents of raw where lang = en, at most 600,")
    own = describe(held_out(tmp_path / "b", {"share": 1.0}, {"corpus": "corpus.held_out-0123abcd"}))
    assert own.startswith("your own files,")
    rows = {"rows:dialogues": "generate.dialogues-0123abcd", "rows:instructions": "generate.instructions-0123abcd"}
    assert describe(held_out(tmp_path / "c", {"side": "held_out", "share": 0.15}, rows)).startswith(
        "15% of the rows of dialogues and instructions,"
    )


def shown(view, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(view)
    return console.export_text()


def test_the_table_says_what_it_was_measured_on_and_shows_every_source(tmp_path) -> None:
    found = compared(tmp_path, runs(tmp_path))
    text = shown(comparison_view(found, pl.read_parquet(tmp_path / "compare" / "loss_matrix.parquet")))
    assert "clean is better than raw" in text
    assert "measured on: the documents that the runs scored (80 documents" in text
    assert "docs 40, plays 40" in text
    assert "not distinguishable" not in text and "equivalent" in text
    assert text.count("±") == 2 * 3 + 1
    assert "0.01 does not matter" in text


def test_a_narrow_terminal_loses_no_verdict(tmp_path) -> None:
    found = compared(tmp_path, runs(tmp_path))
    text = shown(effects_table(found.effects), 80)
    assert all(word in text for word in ("clean", "better", "bad", "worse", "same", "equivalent"))


def test_a_narrow_terminal_loses_no_source_and_no_mix(tmp_path) -> None:
    shifts = SHIFTS | {f"the_mix_number_{number}": 0.01 * number for number in range(5)}
    found = compared(tmp_path, runs(tmp_path, shifts, 2))
    view = matrix_table(pl.read_parquet(tmp_path / "compare" / "loss_matrix.parquet"), found)
    parts = shown(view, 80).split("source  documents")[1:]
    rows = [[line.split()[:2] for line in part.splitlines()] for part in parts]
    assert len(parts) > 1 and all(["docs", "40"] in part and ["plays", "40"] in part for part in rows)
    assert sorted(mix for part in parts for mix in part.splitlines()[0].split()) == sorted(shifts)
    assert max(map(len, shown(view, 80).splitlines())) <= 80 and shown(view, 400).count("documents") == 1


@pytest.mark.parametrize(("mixes", "said"), [(6, "source"), (13, "in the report alone: it has 13 mixes")])
def test_the_table_by_task_is_printed_or_said_to_be_left_out(tmp_path, mixes, said) -> None:
    shifts = {"raw": 0.0} | {f"mix{number}": 0.01 * number for number in range(1, mixes)}
    compared(tmp_path, runs(tmp_path, shifts, 2))
    console = Console(width=80, record=True, file=io.StringIO())
    print_further("tasks", tmp_path / "compare", console)
    assert said.replace("source", "task") in console.export_text()


def test_a_hostile_name_cannot_write_on_the_terminal() -> None:
    effect = example(mix="[red]x\x1b[31m\u202e")
    text = shown(effects_table([effect]))
    assert "\x1b" not in text and "\u202e" not in text and "[red]x" in text


def example(**change) -> Effect:
    fields = {
        "mix": "clean", "baseline": "raw", "metric": "bits_per_byte", "value": 2.0, "baseline_value": 2.01,
        "effect": -0.01, "low": -0.03, "high": 0.01, "interval": 0.95, "seeds": 3, "documents": 9, "sources": 1,
        "verdict": "undecided", "seeds_needed": 12, "margin": None, "p": 0.2, "p_holm": 0.2, "seed_error": 0.01,
        "document_error": 0.0, "degrees": 2.0, "t_low": -0.03, "t_high": 0.01,
    }  # fmt: skip
    return Effect(**{**fields, **change})


PART = "(95% interval [−0.030, +0.010], 3 seeds)"
MARGIN = {"margin": 0.02, "p_margin": 0.5}
WORDS = [
    (
        {},
        f"clean is not distinguishable from raw: 0.010 bits per byte lower {PART}; to decide, run 12 seeds in all and "
        "judge them with `after: [3]`, by 99% intervals, or start afresh with declared looks.",
    ),
    ({"seeds_needed_low": 6, "seeds_needed_high": 132}, "run 12 seeds in all (10 to 90% range: 6 to 132) and judge"),
    ({"seeds_needed_low": 6}, "(10 to 90% range: 6 to more than 1,000)"),
    ({"after": [2], "interval": 0.99}, "99% interval of this look [−0.030, +0.010]"),
    ({"after": [2], "interval": 0.99}, "with `after: [2, 3]`, by 99.8% intervals"),
    (
        {"looks": [3, 12], "interval": 0.9999},
        "99.99% interval of this look [−0.030, +0.010], 3 seeds); the look at 12 seeds would probably decide.",
    ),
    (
        {"smallest_visible": 0.0312},
        "; a difference of 0.031 or more would probably have shown in these runs (80% power);",
    ),
    ({"seeds_needed": None, "note": "too few documents"}, "3 seeds); too few documents."),
    ({"verdict": "better"}, f"clean is better than raw: 0.010 bits per byte lower {PART}."),
    (
        {"verdict": "better", "margin": 0.005, "note": "seed 2 stands apart"},
        f"0.010 bits per byte lower, beyond the margin of 0.005 bits per byte {PART}; seed 2 stands apart.",
    ),
    (
        {"verdict": "better", "sources": 5, "sources_low": -0.09, "sources_high": 0.07},
        "clean is better than raw on these five sources: 0.010 bits per byte lower (95% interval [−0.030, +0.010], "
        "3 seeds; for such sources in general [−0.090, +0.070]).",
    ),
    ({"verdict": "better", "sources": 17}, "than raw on these 17 sources:"),
    (
        {"verdict": "better", "sources": 20, "sources_low": -0.09, "sources_high": 0.07},
        f"than raw: 0.010 bits per byte lower {PART}.",
    ),
    ({"verdict": "worse", "effect": 0.02}, f"clean is worse than raw: 0.020 bits per byte higher {PART}."),
    ({"verdict": "equivalent", "margin": 0.05}, f"they differ by less than the margin of 0.05 bits per byte {PART}."),
    (
        {"verdict": "equivalent", "outcome": "equivalent", "p_holm": 0.01, **MARGIN},
        f"clean is better than raw, by less than matters (0.02 bits per byte): 0.010 bits per byte lower {PART}.",
    ),
    (
        {"outcome": "direction", "effect": 0.02, "p_holm": 0.01, **MARGIN},
        f"clean is worse than raw, perhaps by less than matters (0.02 bits per byte): 0.020 bits per byte higher {PART}"
        "; to decide, run 12",
    ),
    ({"verdict": "equivalent", "equal": True, **MARGIN}, "are equivalent: their scores are equal in every run."),
    ({"equal": True, "note": "the scores are equal"}, "clean and raw cannot be told apart: the scores are equal."),
    (
        {"low": None, "high": None, "seeds": 1, "seeds_needed": 3},
        "with one seed, which shows no spread; 2 more seeds would give a first interval.",
    ),
]


@pytest.mark.parametrize(("change", "words"), WORDS)
def test_verdicts_in_words(change: dict, words: str) -> None:
    assert words in sentence(example(**change), "bits per byte", 3)


def test_the_command_names_its_own_option() -> None:
    words = sentence(example(after=[2]), "bits per byte", 3, COMMAND)
    assert "judge them with `--after 2,3`" in words


def test_labels_and_the_headline_keep_direction_and_size_apart(tmp_path) -> None:
    open_size = example(outcome="direction", p_holm=0.01, effect=-0.01, margin=0.005)
    assert label(open_size) == "better, size open" and label(example()) == "not distinguishable"
    found = compared(tmp_path, runs(tmp_path))
    bad = next(e for e in found.effects if e.mix == "bad")
    words = headline(found.model_copy(update={"effects": [bad, open_size]}))
    assert words == (
        "No mix is better than raw by a difference that surely matters on these two sources: bad is worse; clean is "
        "better, perhaps by less than matters."
    )


def test_the_headline_names_the_best_or_says_that_there_is_none(tmp_path) -> None:
    found = compared(tmp_path, runs(tmp_path))
    assert headline(found).startswith("clean is better than raw")
    worse = found.model_copy(update={"effects": [e for e in found.effects if e.verdict != "better"]})
    assert headline(worse) == "No mix is better than raw on these two sources: bad is worse; same is equivalent to it."
    variants = worse.model_copy(update={"called": "variant"})
    assert headline(variants).startswith("No variant is better than raw") and plural("variant") == "variants"
    assert headline(found.model_copy(update={"effects": []})).startswith("There is only the baseline")


def test_equal_and_nearly_equal_scores_have_no_direction_of_zero() -> None:
    alone = {"low": None, "high": None, "seeds": 1, "seeds_needed": 2}
    said = {size: sentence(example(**alone, effect=size), "bits", 6) for size in (0.0, 1e-9, -0.5)}
    assert ": equal with one seed, which" in said[0.0] and ": less than 0.000001 bits higher with" in said[1e-9]
    assert ": 0.500000 bits lower with one seed" in said[-0.5] and plain(-0.001, 2) == "0.00"


def test_numbers_in_words() -> None:
    assert (signed(-0.00001), signed(0.5, 1), signed(None)) == ("0.0000", "+0.5", "–")
    assert (plain(-1.25, 2), plain(None)) == ("−1.25", "–")
    assert (span(-1, 1, 1), span(None, None)) == ("[−1.0, +1.0]", "–")
    assert more_seeds(example(seeds_needed=None)) == "more seeds would hardly help"


def test_decimals_follow_the_smallest_interval(tmp_path) -> None:
    found = compared(tmp_path, runs(tmp_path))
    for width, digits in ((0.5, 2), (0.05, 3), (0.002, 4), (0.00002, 6)):
        effect = example(low=0.0, high=width)
        assert digits_for(found.model_copy(update={"effects": [effect]})) == digits


def test_a_margin_is_never_rounded_with_the_effects() -> None:
    effect = example(verdict="worse", outcome="worse", effect=0.57, margin=0.005)
    assert "beyond the margin of 0.005 bits per byte" in sentence(effect, "bits per byte", 2)


def test_a_verdict_tells_where_it_does_not_hold(tmp_path) -> None:
    found = compared(tmp_path, runs(tmp_path))
    cells = [("code", 900, 0.8, True, 0.01), ("plays", 100, -0.3, True, 0.01), ("docs", 50, -0.1, False, 0.9)]
    names = ("source", "bytes", "effect", "named", "p_holm")
    rows = [{"mix": "clean", "p": 0.01, **dict(zip(names, cell, strict=True))} for cell in cells]
    words = split_by_source("clean", found.direction, rows)
    assert words == "By source: better on plays (10% of the bytes); worse on code (86% of the bytes)."
    higher = found.model_copy(update={"direction": "higher"})
    assert split_by_source("clean", higher.direction, rows).startswith("By source: better on code")
    assert split_by_source("clean", found.direction, rows[2:] * 2) == "By source: on no single source distinguishable."
    assert split_by_source("clean", found.direction, rows[:1]) == ""
    few = [rows[0], {**rows[1], "named": False, "p_holm": None}]
    assert split_by_source("clean", found.direction, few) == (
        "By source: worse on code (90% of the bytes); one other source rests on too few documents to be judged."
    )
    none = [{**row, "named": False, "p_holm": None} for row in rows]
    assert (
        split_by_source("clean", found.direction, none)
        == "By source: each rests on too few documents to be judged alone."
    )
    one_seed = [{**row, "p": None} for row in none]
    assert "on no single source" in split_by_source("clean", found.direction, one_seed)


def test_a_level_below_one_never_reads_100_per_cent() -> None:
    levels = (0.95, 0.9, 0.999, 0.99999, 0.9999999, 1.0)
    assert [percent(level) for level in levels] == ["95%", "90%", "99.9%", "99.999%", "99.99999%", "100%"]
    assert "(99.9% interval" in sentence(example(interval=0.999), "bits per byte", 3)
    assert effects_table([example(interval=0.999)]).columns[3].header == "99.9% interval"


def scores_file(folder: Path, seeds: int) -> Path:
    rng = np.random.default_rng(seeds)
    rows = [
        {"mix": mix, "seed": seed, "document": f"d{d}", "source": f"s{d % 3}", "bytes": 100, "nats": nats}
        for mix in ("old", "new")
        for seed, noise in enumerate(rng.normal(0, 1, seeds))
        for d, nats in enumerate(140 + noise + rng.normal(0, 1, 60))
    ]
    pl.DataFrame(rows).write_csv(folder / "scores.csv")
    return folder / "scores.csv"


def typed(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["effects", *map(str, words), "--baseline", "old"])
    return done.exit_code, done.output + str(done.exception or "")


def test_the_command_takes_looks_and_says_the_level_that_it_used(tmp_path) -> None:
    file = scores_file(tmp_path, 5)
    _, plain_words = typed(file)
    assert "95% interval [" in plain_words and "on these three sources" in plain_words
    assert "`--after 5`, by 99% intervals" in plain_words
    code, words = typed(file, "--after", "3")
    assert code == 0 and "99% interval of this look [" in words and "`--after 3,5`, by 99.8% intervals" in words
    _, words = typed(file, "--looks", "3,5,8")
    assert "98.49% interval of this look [" in words
    _, words = typed(file, "--looks", "3,5,8", "--spending", "pocock")
    assert "98.49%" not in words and "interval of this look [" in words
    _, rows = typed(file, "--looks", "3,5,8", "--json")
    assert [len(row) for row in json.loads(rows)] == [9] and json.loads(rows)[0]["interval"] < 0.99
    assert [len(row) for row in json.loads(typed(file, "--json")[1])] == [8]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--looks", "2,3"), "the looks end at 3 seeds and there are 5"),
        (("--after", "5"), "it names only looks with fewer seeds than now"),
        (("--after", "x"), "valid integer"),
        (("--looks", "5,3"), "looks are growing numbers of seeds"),
        (("--looks", "3,8", "--after", "3"), "give one of them"),
        (("--looks", "3,8", "--spending", "all"), "'power', 'obrien_fleming' or 'pocock'"),
    ],
)
def test_looks_that_cannot_be_are_refused_by_the_command(tmp_path, words: tuple[str, ...], message: str) -> None:
    code, said = typed(scores_file(tmp_path, 5), *words)
    assert code != 0 and message in said


def test_the_step_writes_the_level_the_looks_and_what_may_be_named(tmp_path) -> None:
    found = compared(tmp_path, runs(tmp_path), looks=(3, 4, 8), margin=None)
    assert {e.interval for e in found.effects} == {found.effects[0].interval} != {0.95}
    matrix = pl.read_parquet(tmp_path / "compare" / "loss_matrix.parquet")
    assert {"effective_documents", "p", "p_holm", "named"} <= set(matrix.columns)
    assert matrix.filter(pl.col("mix") == "bad")["named"].all()
    written = pl.read_parquet(tmp_path / "compare" / "effects.parquet")
    assert written["looks"].to_list() == [[3, 4, 8]] * 3 and written.schema["outcome"] == pl.String
    text = shown(comparison_view(found, matrix), 300)
    assert "interval of this look" in text and "bad: By source: worse on plays" in text
