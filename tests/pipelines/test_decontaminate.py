"""Decontamination: n-grams met exactly, documents dropped or mended, evaluations tabled."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.datasets.decontaminate import Decontamination
from windtunnel.pipelines.dedup.matching.cutting import cut
from windtunnel.pipelines.engine.run import run as run_steps
from windtunnel.pipelines.files.decontaminate import decontaminate_files
from windtunnel.pipelines.files.evaluation_files import evaluation_sources
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.shipped import load
from windtunnel.pipelines.report.collect import collect
from windtunnel.pipelines.report.page import render
from windtunnel.pipelines.views.cards import write_cards
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.schemas.work import Counts, Work

WORDS = ["".join(chr(97 + i // 18**k % 18) for k in range(3)) for i in range(5000)]


def prose(seed: int, words: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def documents(root: Path, texts: list[str], shards: int = 1) -> Artifact:
    size = -(-len(texts) // shards) or 1
    (root / "documents").mkdir(parents=True)
    for shard in range(shards):
        part = [
            {"id": document_id("s", f"{t}{shard * size + i}"), "text": t, "source": "s", "url": None, "lang": None}
            for i, t in enumerate(texts[shard * size : (shard + 1) * size])
        ]
        pq.write_table(pa.Table.from_pylist(part, DOCUMENT), root / "documents" / f"{shard:05d}.parquet")
    return Artifact(root)


class Bench:
    """A plan that runs each step as it is added."""

    def __init__(self, root: Path) -> None:
        self.root, self.counts = root, dict[str, Counts]()

    def __call__(self, name: str, work: Work, inputs: Mapping[str, Any]) -> Artifact:
        work = type(work).model_validate_json(work.model_dump_json())
        out = self.root / name.replace(":", ".")
        out.mkdir(parents=True)
        parts = [work.run(inputs, out, rank).check(name) for rank in range(work.shards(inputs))]
        work.finish(inputs, out)
        self.counts[name] = Counts.total(parts).check(name)
        return Artifact(out)


def run(
    root: Path, how: Decontamination, texts: list[str], evaluations: dict[str, list[str]], shards: int = 1
) -> tuple[Artifact, Counts]:
    bench = Bench(root / "steps")
    sets = {name: documents(root / name, items) for name, items in evaluations.items()}
    done = how.steps(bench, "c", documents(root / "in", texts, shards), None, sets)
    return done, bench.counts["decontaminate:c"]


def dropped(artifact: Artifact) -> list[int]:
    reasons = pl.concat([pl.read_parquet(file) for file in artifact.files("decisions")])["reason"]
    return reasons.is_not_null().arg_true().to_list()


def inside(text: str, other: str, first: int, words: int) -> str:
    """Put some words of `other` into the middle of `text`."""
    held, taken = text.split(), other.split()[first : first + words]
    return " ".join(held[:50] + taken + held[50:])


def test_thirteen_words_in_a_row_drop_a_document_and_twelve_do_not(tmp_path: Path) -> None:
    item = prose(1)
    texts = [inside(prose(i + 10), item, 7 * i, 12 + i % 2) for i in range(8)] + [item, prose(99)]
    done, counts = run(tmp_path, Decontamination(), texts, {"held_out": [item]}, shards=3)
    assert dropped(done) == [1, 3, 5, 7, 8]
    assert counts == Counts(seen=10, kept=5, dropped={"contaminated": 5})


def test_case_punctuation_and_numbers_do_not_hide_a_copy(tmp_path: Path) -> None:
    item = "In 1984 the quick brown fox jumps over a lazy dog, near the café of Zoë."
    hidden = "x IN 7: the quick; brown FOX jumps over... a lazy dog near the cafe of zoe y"
    done, _ = run(tmp_path, Decontamination(), [hidden], {"held_out": [item]})
    assert dropped(done) == [0]


def test_short_items_are_met_whole_and_too_short_ones_counted(tmp_path: Path) -> None:
    sets = {"qa": ["one two three four five six seven eight nine", "a b c"], "other": [prose(5)]}
    texts = [
        "so one two three four five six seven eight nine it is",
        "so one two three four five six seven eight and nine",
        "a b c",
    ]
    done, _ = run(tmp_path, Decontamination(), texts, sets)
    assert dropped(done) == [0]
    table = pl.read_parquet(done.path / "overlap.parquet")
    assert table.filter(evaluation="qa").to_dicts() == [
        {"evaluation": "qa", "items": 2, "items_too_short": 1, "items_met": 1, "ngrams": 1, "ngrams_found": 1,
         "ngrams_common": 0, "documents": 1}
    ]  # fmt: skip
    assert table.filter(evaluation="other")["items_met"].to_list() == [0]


def test_the_table_counts_what_brute_force_counts(tmp_path: Path) -> None:
    items = {name: [prose(100 * k + i, 40) for i in range(20)] for k, name in enumerate(["a", "b"], start=1)}
    chance = random.Random(3)
    texts = []
    for i in range(60):
        other = chance.choice(items["a"] + items["b"])
        texts.append(inside(prose(i), other, chance.randrange(10), chance.randrange(8, 25)))
    done, _ = run(tmp_path, Decontamination(), texts, items, shards=4)
    grams = {name: {g for text in held for g in ngrams(text)} for name, held in items.items()}
    here = [set(ngrams(text)) for text in texts]
    table = {row["evaluation"]: row for row in pl.read_parquet(done.path / "overlap.parquet").to_dicts()}
    for name in ("a", "b"):
        assert table[name]["ngrams"] == len(grams[name])
        assert table[name]["ngrams_found"] == len(grams[name] & set().union(*here))
        assert table[name]["documents"] == sum(bool(grams[name] & h) for h in here)
        assert table[name]["items_met"] == sum(any(set(ngrams(t)) & h for h in here) for t in items[name])
    assert dropped(done) == [i for i, h in enumerate(here) if h & (grams["a"] | grams["b"])]


def ngrams(text: str, n: int = 13) -> list[tuple[str, ...]]:
    words = text.split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def test_common_phrases_are_left_alone_when_asked(tmp_path: Path) -> None:
    boiler, item = prose(1, 15), prose(2, 60)
    texts = [inside(prose(i + 10), boiler, 0, 15) for i in range(6)] + [inside(prose(90), item, 0, 30)]
    texts[0] += " " + boiler  # twice in one document is once
    for common, gone in ((None, list(range(7))), (6, list(range(7))), (5, [6])):
        how = Decontamination(common=common)
        done, _ = run(tmp_path / str(common), how, texts, {"held_out": [boiler + " " + item]}, 2)
        assert dropped(done) == gone
    row = pl.read_parquet(done.path / "overlap.parquet").to_dicts()[0]
    assert (row["ngrams_common"], row["ngrams_found"], row["documents"]) == (3, 3 + 18, 1)


def test_min_matches_asks_for_more_than_one_place(tmp_path: Path) -> None:
    item = prose(1)
    texts = [inside(prose(2), item, 0, 14), inside(prose(3), item, 0, 15)]
    thrice = " ".join(inside(prose(4 + i), item, 0, 13) for i in range(3))  # one place, three times
    done, _ = run(tmp_path, Decontamination(min_matches=3), [*texts, thrice], {"held_out": [item]})
    assert dropped(done) == [1]


def test_rows_of_a_large_shard_are_told_apart(tmp_path: Path) -> None:
    item = prose(1, 20)
    texts = [f"document number {i}" for i in range(1100)]  # more than are read at once
    texts[5] = texts[1050] = item
    done, counts = run(tmp_path, Decontamination(), texts, {"held_out": [item]})
    assert dropped(done) == [5, 1050]
    assert counts.seen == 1100


def test_cutting_takes_the_place_and_its_margins_and_keeps_the_rest(tmp_path: Path) -> None:
    item = prose(1)
    whole = prose(2, 400) + "\n\n" + " ".join(item.split()[5:30]) + ".\n\n" + prose(3, 400)
    texts = [whole, item, prose(4), "é" * 50 + " " + whole]
    how = Decontamination(action="cut")
    assert how.edits
    done, counts = run(tmp_path, how, texts, {"held_out": [item]}, shards=2)
    assert dropped(done) == [1]
    after = [t for f in done.files("documents") for t in pl.read_parquet(f)["text"].to_list()]
    assert after[2] == texts[2]
    assert counts.notes["documents_cut"] == 2
    for old, new in ((texts[0], after[0]), (texts[3], after[3])):
        assert not set(ngrams(new)) & set(ngrams(item))
        head, tail = new.split("\n")
        assert old.startswith(head) and old.endswith(tail)
        assert 400 <= len(old) - len(new) - 25 * 4 <= 420


def test_cut_drops_small_pieces_and_documents_in_tatters() -> None:
    text = " ".join(f"word{i:04d}" for i in range(200))
    assert cut(text, np.array([[0, 900]]), 0, 10, 10) == text[909:]
    assert cut(text, np.array([[100, 108]]), 0, 2000, 10) is None
    assert cut(text, np.array([[i * 180, i * 180 + 8] for i in range(10)]), 0, 5, 3) is None
    assert cut(text, np.array([[0, 5], [3, 1795]]), 0, 0, 10) is None


def test_dropped_documents_are_not_looked_at(tmp_path: Path) -> None:
    from windtunnel.pipelines.dedup.exact import Exact

    item = prose(1)
    bench = Bench(tmp_path / "steps")
    source = documents(tmp_path / "in", [prose(2), item, item])
    prior = Exact().steps(bench, "c", source, None)
    done = Decontamination().steps(bench, "c", source, prior, {"held_out": documents(tmp_path / "h", [item])})
    table = pl.read_parquet(done.files("decisions")[0])
    assert table["reason"].to_list() == [None, "contaminated", "exact"]
    assert pl.read_parquet(done.path / "overlap.parquet")["documents"].to_list() == [1]
    assert bench.counts["overlap:c"].seen == bench.counts["decontaminate:c"].seen == 2


def test_an_empty_evaluation_is_an_error(tmp_path: Path) -> None:
    for number, others in enumerate(({}, {"other": [prose(2)]})):
        with pytest.raises(InputError, match="the evaluation set 'held_out' holds no text"):
            run(tmp_path / str(number), Decontamination(), [prose(1)], {"held_out": [], **others})


def recipe_of(root: Path, decontaminate: str, held_out: str = "") -> Path:
    """Write a recipe; its corpus holds an item of `exam`, one of the held-out set, and text of its own."""
    texts = {"corpus": [inside(prose(i), prose(10 * i), 20, 20) for i in (1, 2, 3)]}
    for name, items in {**texts, "exam": [prose(10), prose(50)], "held": [prose(20)]}.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in items))
    (root / "recipe.yaml").write_text(
        f"question: Is it clear?\nstore: {root}/store\n{held_out}corpora:\n"
        f"  raw: {{source: {{jsonl: {root}/corpus.jsonl}}}}\n  a: {{from: raw, decontaminate: {decontaminate}}}\n"
    )
    return root / "recipe.yaml"


def against(root: Path) -> str:
    return f"{{against: {{exam: {{jsonl: {root}/exam.jsonl}}}}}}"


@pytest.mark.parametrize("with_held_out", [False, True])
def test_a_recipe_compares_with_the_evaluations_it_names(tmp_path: Path, with_held_out: bool) -> None:
    held_out = f"held_out: {{files: {{jsonl: {tmp_path}/held.jsonl}}}}\n" if with_held_out else ""
    file = recipe_of(tmp_path, against(tmp_path), held_out)
    made = plan(load(str(file)))
    run_steps([made.find("corpus:raw"), made.find("corpus:a")], tmp_path / "store")
    done = made.find("decontaminate:a").artifact(tmp_path / "store")
    table = (
        pl.read_parquet(done.path / "overlap.parquet").select("evaluation", "items", "items_met", "documents").rows()
    )
    assert table == [("exam", 2, 1, 1), *([("held_out", 1, 1, 1)] if with_held_out else [])]
    assert dropped(done) == ([0, 1] if with_held_out else [0])
    cards = write_cards(str(file), [])
    assert [card.parent.name.partition("-")[0] for card in cards] == ["corpus.raw", "corpus.a"]
    assert "was not compared with public evaluation sets" in cards[0].read_text()
    assert "was compared with the evaluation sets named in the settings" in cards[1].read_text()
    assert "ngram: 13" in cards[1].read_text() and "- exam" in cards[1].read_text()
    assert str(tmp_path) not in cards[1].read_text()
    page = render(collect(made.recipe.model_dump(mode="json", by_alias=True), artifacts_of(made, tmp_path / "store")))
    assert "What a held of each evaluation set" in page and ("the held-out set" in page) == with_held_out


@pytest.mark.parametrize("layout", ["messages", "alpaca", "preference", "number", "choices", "instruction"])
def test_sets_of_rows_are_seen_by_their_questions(tmp_path: Path, layout: str) -> None:
    item, other = prose(10), prose(20)
    rows = {
        "messages": {"messages": [{"role": "user", "content": item}, {"role": "assistant", "content": other}]},
        "alpaca": {"instruction": "Say it shorter.", "input": item, "output": other},
        "preference": {"prompt": item, "chosen": other, "rejected": "No."},
        "number": {"problem": item, "answer": 42},
        "choices": {"question": item, "choices": [other, "No."], "answer": 1},
        "instruction": {"instruction": "Say it shorter.", "input": item},
    }
    recipe = recipe_of(tmp_path, against(tmp_path))
    (tmp_path / "exam.jsonl").write_text(json.dumps(rows[layout]) + "\n{broken\n")
    made = plan(load(str(recipe)))
    run_steps([made.find("corpus:a")], tmp_path / "store")
    assert dropped(made.find("decontaminate:a").artifact(tmp_path / "store")) == [0]
    recipe_given = made.recipe.model_dump(mode="json", by_alias=True)
    assert "What a held of each evaluation set" in render(collect(recipe_given, artifacts_of(made, tmp_path / "store")))
    sets = evaluation_sources([str(tmp_path / "exam.jsonl")])
    counts = decontaminate_files(tmp_path / "corpus.jsonl", tmp_path / "out", sets, Decontamination())
    assert (counts.kept, counts.dropped) == (2, {"contaminated": 1})


def artifacts_of(made: Plan, store: Path) -> dict[str, Artifact]:
    return {step.name: step.artifact(store) for step in made.steps}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("{ngrams: 8}", "line 5: decontaminate has no parameter 'ngrams': did you mean 'ngram'"),
        ("{ngram: 1}", "line 5: decontaminate, parameter 'ngram': Input should be greater than or equal to 2"),
        ("{against: [a.jsonl]}", "line 5: `against:` names evaluation sets"),
        ("{against: {../x: {jsonl: a.jsonl}}}", "line 5: '../x' is no name"),
        ("{against: {held_out: {jsonl: a.jsonl}}}", "line 5: the recipe's held-out set has that name"),
        ("{against: {exam: {jsn: a.jsonl}}}", "line 5: no source is called 'jsn'"),
    ],
)
def test_wrong_words_are_told_with_their_line(tmp_path: Path, words: str, said: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)):
        load(str(recipe_of(tmp_path, words)))
