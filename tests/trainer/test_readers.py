"""Scores that other tools wrote: logs of lm-eval and OLMES and plain files, as runs with paired effects."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.trainer.readers._tools import read_scores
from windtunnel.trainer.stats.item_scores import item_effects, means, pooled
from windtunnel.trainer.stats.verdicts import holm

TIME = "2026-11-27T23-03-27.858840"
PATTERN = "{mix}-seed{seed}"
LENGTHS = {"byte_perplexity": 40, "bits_per_byte": 40, "word_perplexity": 8}


def sample(item: int, right: bool, likelihood: float = -2.0, **more: object) -> dict[str, object]:
    """Return a line as lm-eval 0.4.13 logs it for a multiple-choice task."""
    return {
        "doc_id": item, "doc": {"q": item}, "target": "1",
        "arguments": {f"gen_args_{k}": {"arg_0": "Q", "arg_1": f" {text}"} for k, text in enumerate(("no", "yes"))},
        "resps": [[["-3.0", "False"]], [[str(likelihood), "True"]]],
        "filtered_resps": [["-3.0", "False"], [str(likelihood), "True"]], "filter": "none",
        "metrics": ["acc", "acc_norm"], "doc_hash": f"{item:064x}", "acc": float(right), "acc_norm": right, **more,
    }  # fmt: skip


def log(folder: Path, task: str, lines: list[dict[str, object]], time: str = TIME) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"samples_{task}_{time}.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Return logs of two mixes and three seeds: `new` is right on most items, `old` on few."""
    rng = np.random.default_rng(0)
    for mix, share in (("old", 0.1), ("new", 0.8)):
        for seed in range(3):
            folder = tmp_path / "runs" / f"{mix}-seed{seed}" / "__models__tiny-seed9"
            right = rng.random(200) < share
            log(folder, "arc_easy", [sample(k, bool(r), -1.5 - k / 100 - seed * k / 999) for k, r in enumerate(right)])
            rolling = [
                {"doc_id": k, "doc_hash": f"{k:064x}", "filter": "none", "target": "t", "arguments": {}, "resps": [],
                 "filtered_resps": [], "metrics": list(LENGTHS),
                 **{unit: [-50.0 - k - seed / 7 - k * seed / 9, size] for unit, size in LENGTHS.items()}}
                for k in range(20)
            ]  # fmt: skip
            log(folder, "my_texts", rolling)
            (folder / f"results_{TIME}.json").write_text("{}")
    return tmp_path / "runs"


def test_the_logs_of_lm_eval_are_runs_with_paired_effects(logs: Path) -> None:
    table = read_scores("lm_eval", [logs], PATTERN)
    assert set(table["mix"]) == {"old", "new"} and set(table["seed"]) == {"0", "1", "2"}  # the outermost match
    assert sorted(set(zip(table["task"], table["metric"], strict=True))) == [
        ("arc_easy", "acc"), ("arc_easy", "acc_norm"), ("arc_easy", "answer_bits_per_byte"),
        ("my_texts", "bits_per_byte"), ("my_texts", "bits_per_word"),
    ]  # fmt: skip
    one = table.filter((pl.col("mix") == "old") & (pl.col("seed") == "0"))
    bits = next(m for m in means(one) if m.metric == "answer_bits_per_byte")
    assert bits.value == pytest.approx(np.mean([1.5 + k / 100 for k in range(200)]) / math.log(2) / 3)  # bytes of yes
    effects = {effect.metric: effect for effect in item_effects(table, "old")}
    acc = effects["arc_easy/acc"]
    assert acc.verdict == "better" and acc.direction == "higher" and acc.effect == pytest.approx(0.7, abs=0.1)
    assert effects["my_texts/bits_per_byte"].equal and effects["my_texts/bits_per_byte"].direction == "lower"
    p = [effect.p for effect in effects.values()]
    assert [effect.p_holm for effect in effects.values()] == pytest.approx(holm([float(x or 0) for x in p]))


def test_metrics_are_chosen_by_name(logs: Path) -> None:
    table = read_scores("lm_eval", [logs], PATTERN, ["acc*"])
    assert set(table["metric"]) == {"acc", "acc_norm"}
    with pytest.raises(RecipeError, match="no metric is called 'acc_nrom': did you mean 'acc_norm'"):
        read_scores("lm_eval", [logs], PATTERN, ["acc_nrom"])
    with pytest.raises(RecipeError, match="no tool is called 'lm-eval': did you mean 'lm_eval'"):
        read_scores("lm-eval", [logs], PATTERN)


def test_runs_are_named_by_a_table(logs: Path, tmp_path: Path) -> None:
    rows = ["dir,mix,seed", *(f"{f},{f.name.partition('-')[0].upper()},{f.name[-1]}" for f in sorted(logs.iterdir()))]
    (tmp_path / "runs.csv").write_text("\n".join(rows))
    table = read_scores("lm_eval", [logs], str(tmp_path / "runs.csv"))
    assert set(table["mix"]) == {"OLD", "NEW"}
    (tmp_path / "runs.csv").write_text("\n".join(rows[:-1]))
    with pytest.raises(InputError, match=r"old-seed2.* is not in .*runs\.csv"):
        read_scores("lm_eval", [logs], str(tmp_path / "runs.csv"))
    (tmp_path / "runs.csv").write_text("path,mix\n")
    with pytest.raises(RecipeError, match="no column dir, seed"):
        read_scores("lm_eval", [logs], str(tmp_path / "runs.csv"))


FOLDER = "old-seed1/__models__tiny-seed9"


def test_runs_that_cannot_be_paired_are_refused_in_words(logs: Path) -> None:
    def refused(message: str, pattern: str = PATTERN) -> None:
        with pytest.raises((InputError, RecipeError), match=message):
            item_effects(read_scores("lm_eval", [logs], pattern), "old")

    refused(r"must have \{mix\} and \{seed\} once each", "{mix}-{mix}")
    refused("no part of the path is like", "{mix}_of_{seed}")
    again = log(logs / FOLDER, "arc_easy", [sample(0, True)], "2026-11-28T00-00-00.1")
    refused("has two logs of task 'arc_easy'")
    again.unlink()
    file = logs / FOLDER / f"samples_arc_easy_{TIME}.jsonl"
    whole = file.read_text()
    file.unlink()
    refused("mix 'old' seed 1 has no task 'arc_easy', which other runs have")
    file.write_text("\n".join(whole.splitlines()[:-1]))
    refused("task 'arc_easy', acc.*scored 199 of 200")
    file.write_text(whole.replace(f'"{7:064x}"', f'"{"f" * 64}"'))
    refused("task 'arc_easy'.*all runs must score the same documents")
    file.write_text(whole.replace('"acc": 1.0', '"acc": NaN', 1))
    refused(r"line \d+: 'acc' is nan, not a number")
    file.write_text(whole + '{"doc_id": 3,\n')
    refused("line 201 is not JSON")
    file.write_text('{"a": "\\u001b[31m"}\n')
    refused("is not a log of lm-eval")
    file.write_text(whole)
    (logs / "other").mkdir()
    (logs / "old-seed1").rename(logs / "other" / "old-seed1")
    log(logs / FOLDER, "arc_easy", [sample(0, True)])
    refused("mix 'old' seed 1 has the scores of two directories")


def test_tasks_are_pooled_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for mix, share in (("old", 0.3), ("new", 0.6)):
        for seed in range(4):
            for subject, items in (("law", 60), ("art", 30)):
                lines = [sample(k, bool(rng.random() < share), -1 - rng.random()) for k in range(items)]
                log(tmp_path / f"{mix}-seed{seed}", f"mmlu_{subject}", lines)
    table = read_scores("lm_eval", [tmp_path], PATTERN, ["acc"])
    apart = {e.metric: e for e in item_effects(table, "old")}
    (whole,) = item_effects(pooled(table, {"mmlu": "mmlu_*"}), "old")
    assert whole.metric == "mmlu/acc" and whole.documents == 90 and whole.sources == 2
    assert whole.effect == pytest.approx((60 * apart["mmlu_law/acc"].effect + 30 * apart["mmlu_art/acc"].effect) / 90)
    with pytest.raises(RecipeError, match="no task is called 'mmul_"):
        pooled(table, {"mmlu": "mmul_*"})


def test_filters_and_scores_of_several_answers_are_metrics_of_their_own(tmp_path: Path) -> None:
    lines = [
        sample(k, True, filter=name, metrics=["exact_match", "inst_level_strict_acc", "odd"], exact_match=k % 2,
               inst_level_strict_acc=[True, False, k > 2], odd={"a": 1})
        for k in range(6)
        for name in ("strict-match", "flexible-extract")
    ]  # fmt: skip
    log(tmp_path / "a-seed0", "gsm8k", lines)
    found = {m.metric: m for m in means(read_scores("lm_eval", [tmp_path], PATTERN))}
    assert set(found) == {
        f"{metric},{name}"
        for metric in ("exact_match", "inst_level_strict_acc")
        for name in ("strict-match", "flexible-extract")
    }
    assert found["inst_level_strict_acc,strict-match"].value == pytest.approx((6 + 3) / 18)


def test_the_predictions_of_olmes_are_read(tmp_path: Path) -> None:
    for mix, seed in (("a", 0), ("a", 1), ("b", 0), ("b", 1)):
        folder = tmp_path / f"{mix}-seed{seed}"
        folder.mkdir()
        for task, alias in (("000-arc", "arc:rc::olmes"), ("001-arc", "arc:mc::olmes")):
            rows = [
                {"doc_id": k, "native_id": f"n{k}", "label": 1, "model_output": [],
                 "metrics": {"acc_raw": (k + seed) % 2, "acc_uncond": None, "predicted_index_raw": 1,
                             "bits_per_byte_corr": 1.0 + k + seed / 9 + (mix == "b") / 5 + k * seed / 99,
                             "correct_choice": 1}}
                for k in range(12)
            ]  # fmt: skip
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"task-{task}-predictions.jsonl").write_text(lines)
            config = {"task_config": {"metadata": {"alias": alias}}}
            (folder / f"task-{task}-metrics.json").write_text(json.dumps(config))
    table = read_scores("olmes", [tmp_path], PATTERN)
    assert set(table["task"]) == {"arc:rc::olmes", "arc:mc::olmes"}
    assert set(table["metric"]) == {"acc_raw", "bits_per_byte_corr"}
    worse = item_effects(table.filter(pl.col("metric") == "bits_per_byte_corr"), "a")
    assert [e.effect for e in worse] == pytest.approx([0.2, 0.2]) and {e.direction for e in worse} == {"lower"}


def test_plain_files_are_read_wide_and_long(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = {}
    for mix in ("a", "b"):
        for seed in range(2):
            scores = {"item": [f"i{k}" for k in range(30)], "acc": rng.random(30) < 0.5, "f1": rng.random(30)}
            frames[mix, seed] = pl.DataFrame(scores)
            frames[mix, seed].write_csv(tmp_path / f"{mix}-seed{seed}.csv")
    wide = read_scores("items", [tmp_path], PATTERN)
    assert wide.height == 4 * 30 * 2 and set(wide["task"]) == {"items"}
    long = pl.concat(
        frame.with_columns(
            mix=pl.lit(mix), seed=pl.lit(seed), task=pl.lit("quiz"), acc=pl.col("acc").cast(pl.Float64)
        ).unpivot(index=["mix", "seed", "task", "item"], variable_name="metric", value_name="value")
        for (mix, seed), frame in frames.items()
    )
    long.write_parquet(tmp_path / "all.parquet")
    table = read_scores("items", [tmp_path / "all.parquet"], PATTERN)
    effects = {e.metric: e for e in item_effects(table, "a")}
    assert set(effects) == {"quiz/acc", "quiz/f1"}
    mean = {mix: np.mean([frames[mix, seed]["f1"].mean() for seed in range(2)]) for mix in ("a", "b")}
    assert effects["quiz/f1"].effect == pytest.approx(mean["b"] - mean["a"])
    (tmp_path / "no").mkdir()
    pl.DataFrame({"item": ["x"], "name": ["y"]}).write_csv(tmp_path / "no" / "c-seed1.csv")
    with pytest.raises(InputError, match="no column of scores"):
        read_scores("items", [tmp_path / "no"], PATTERN)
    pl.DataFrame({"item": ["x", "y"], "acc": [1.0, None]}).write_csv(tmp_path / "no" / "c-seed1.csv")
    with pytest.raises(InputError, match="an item or a score is empty"):
        read_scores("items", [tmp_path / "no"], PATTERN)


def test_means_have_intervals_over_origins() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        own = rng.normal(0.0, 1.0, 30)
        value = np.repeat(own, 4) + rng.normal(0, 0.1, 120)
        groups = [f"g{k // 4}" for k in range(120)]
        rows = {"task": "t", "document": [str(k) for k in range(120)], "group": groups, "metric": "score"}
        (mean,) = means(pl.DataFrame(rows).with_columns(value=value, weight=pl.lit(None, pl.Float64)))
        held += mean.low <= 0 <= mean.high
        assert mean.groups == 30 and mean.items == 120
    assert 0.91 < held / 300 < 0.99
    rows = {"task": "t", "document": list("abcdefghij"), "group": list("abcdefghij"), "metric": "acc"}
    columns = {"value": pl.lit(1.0), "weight": pl.lit(None, pl.Float64)}
    for metric in ("acc", "exact"):
        (alike,) = means(pl.DataFrame(rows | {"metric": metric}).with_columns(**columns))
        assert alike.high == 1.0 and alike.low == pytest.approx(0.025 ** (1 / 10))  # Clopper and Pearson
    (unknown,) = means(pl.DataFrame(rows | {"metric": "points"}).with_columns(**columns))
    assert (unknown.value, unknown.low, unknown.high) == (1.0, None, None)
