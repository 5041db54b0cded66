"""Exact and MinHash deduplication: who is found, who stays, and that nothing depends on shards."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.dedup._dedup import Dedup
from windtunnel.pipelines.dedup.exact import Exact
from windtunnel.pipelines.dedup.matching.band_keys import read, read_arrays, write, write_arrays
from windtunnel.pipelines.dedup.matching.clusters import Cluster
from windtunnel.pipelines.dedup.matching.join import Join
from windtunnel.pipelines.dedup.matching.key_index import check_index
from windtunnel.pipelines.dedup.minhash import Minhash, midpoint, shape, signatures_of
from windtunnel.pipelines.engine.run import run as run_steps
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.recipe.shipped import load
from windtunnel.pipelines.shards.reader import Shard
from windtunnel.schemas import plugin
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.schemas.work import Counts, Work


class Bench:
    """A plan that runs each step as soon as it is added, shard by shard, in this process."""

    def __init__(self, root: Path) -> None:
        self.root, self.counts, self.made = root, dict[str, Counts](), dict[str, Artifact]()

    def __call__(self, name: str, work: Work, inputs: Mapping[str, Any]) -> Artifact:
        assert name not in self.made
        work = type(work).model_validate_json(work.model_dump_json())  # workers get it as JSON
        out = self.root / name.replace(":", ".")
        out.mkdir(parents=True)
        parts = [work.run(inputs, out, rank).check(name) for rank in range(work.shards(inputs))]
        work.finish(inputs, out)
        self.counts[name], self.made[name] = Counts.total(parts).check(name), Artifact(out)
        return self.made[name]


def documents(root: Path, rows: list[dict[str, Any]], shards: int = 1) -> Artifact:
    """Write rows as a documents artifact of so many shards, in order."""
    size = -(-len(rows) // shards) or 1
    for shard in range(shards):
        part = [
            {"id": document_id(r.get("source", "s"), f"{r['text']}{shard * size + i}"), "source": "s", "url": None,
             "lang": None, "meta": None, **r}
            for i, r in enumerate(rows[shard * size : (shard + 1) * size])
        ]  # fmt: skip
        (root / "documents").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(part, DOCUMENT), root / "documents" / f"{shard:05d}.parquet")
    return Artifact(root)


def dropped(artifact: Artifact) -> list[int]:
    """Return the numbers of the rows that have a reason."""
    reasons = pl.concat([pl.read_parquet(file) for file in artifact.files("decisions")])["reason"]
    return reasons.is_not_null().arg_true().to_list()


def run(root: Path, method: Dedup, rows: list[dict[str, Any]], shards: int = 1) -> tuple[Artifact, Bench]:
    bench = Bench(root / "steps")
    return method.steps(bench, "c", documents(root / "in", rows, shards), None), bench


WORDS = ["".join(chr(97 + i // 18**k % 18) for k in range(3)) for i in range(5000)]  # no digits: they fold to one


def prose(seed: int, words: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def edited(text: str, rate: float, seed: int) -> str:
    chance = random.Random(seed)
    return " ".join(w if chance.random() > rate else chance.choice(WORDS) for w in text.split())


def test_exact_keeps_the_first_of_equal_texts(tmp_path: Path) -> None:
    rows = [{"text": t} for t in ["a b", "c", "a b", "A b!", "c", "d"]]
    done, bench = run(tmp_path, Exact(), rows, shards=3)
    assert dropped(done) == [2, 4]
    assert bench.counts["exact:c"] == Counts(seen=6, kept=4, dropped={"exact": 2})
    clusters = pl.concat([pl.read_parquet(f) for f in done.files("clusters")])
    assert clusters["cluster"].to_list() == [0, 1, 0, 1]
    assert clusters["size"].to_list() == [2, 2, 2, 2]
    assert clusters["kept"].to_list() == [True, True, False, False]
    measures = pl.concat([pl.read_parquet(f) for f in done.files("measures")])
    assert measures["exact_cluster"].to_list() == [0, 1, 0, None, 1, None]
    assert measures["exact_cluster_size"].to_list() == [2, 2, 2, 1, 2, 1]


def test_exact_normalised_ignores_case_punctuation_numbers_and_marks(tmp_path: Path) -> None:
    rows = [{"text": t} for t in ["Café, 12!", "cafe 3,5", "cafe x", "...", "!!!", "cafe\u0301 7"]]
    done, _ = run(tmp_path, Exact(normalise=True), rows)
    assert dropped(done) == [1, 5]  # and text without a word is nobody's duplicate


@pytest.mark.parametrize(
    "text",
    [
        "Fields: • name • size • state",
        "it costs 5 € or £ 4 → see below",
        "snow ❄ and sun ☀ at 20 ° each",
        "plain words, with (brackets) and 3.5 / 7 = 0.5 | more_text $HOME",
    ],
)
def test_symbols_and_bullets_are_words_as_in_datatroves_normalised_text(text: str) -> None:
    from datatrove.utils.text import simplify_text
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    theirs = load_word_tokenizer("eng").word_tokenize(simplify_text(text))
    _, counts = signatures_of(Minhash(ngram=1), pa.array([text], pa.large_string()), np.array([True]))
    assert counts.tolist() == [len(theirs)]


def test_exact_by_url_and_meta_leaves_rows_without_a_value_alone(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "url": None},
        {"text": "b", "url": None},
        {"text": "c", "url": "u"},
        {"text": "d", "url": "u"},
    ]
    assert dropped(run(tmp_path / "1", Exact(by="url"), rows)[0]) == [3]
    rows = [{"text": str(i), "meta": m} for i, m in enumerate(['{"k": 1}', None, '{"k": 1}', "broken", '{"k": "1"}'])]
    assert dropped(run(tmp_path / "2", Exact(by="meta.k"), rows)[0]) == [2, 4]
    with pytest.raises(RecipeError, match="no column 'texd': did you mean 'text'"):
        plugin.make(Dedup, {"exact": "texd"})


@pytest.mark.parametrize("by", ["url", "lang", "meta.key"])
def test_exact_takes_an_empty_value_for_none(tmp_path: Path, by: str) -> None:
    row = {by.partition(".")[0]: '{"key":""}' if by == "meta.key" else ""}
    done, bench = run(tmp_path, Exact(by=by), [{"text": text, **row} for text in "abc"])
    assert dropped(done) == []
    assert bench.counts["exact_sign:c"].notes["without_key"] == 3


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"keep": "first"}, 0),
        ({"keep": "longest"}, 2),
        ({"keep": "highest meta.score"}, 1),
        ({"keep": "lowest meta.score"}, 2),
        ({"priority": ("gold", "silver")}, 3),
        ({"priority": ("silver",), "keep": "longest"}, 2),
    ],
)
def test_who_stays_is_a_choice(tmp_path: Path, options: dict[str, Any], kept: int) -> None:
    rows = [
        {"text": "a b", "source": "tin", "meta": '{"score": -1}', "url": "u"},
        {"text": "a b ", "source": "silver", "meta": '{"score": 2.5}', "url": "u"},
        {"text": "a b   c", "source": "silver", "meta": '{"score": -3e9}', "url": "u"},
        {"text": "a b", "source": "gold", "meta": '{"score": "none"}', "url": "u"},
    ]
    done, _ = run(tmp_path, Exact(by="url", **options), rows, shards=2)
    assert dropped(done) == [i for i in range(4) if i != kept]


def test_within_a_source_compares_only_what_shares_it(tmp_path: Path) -> None:
    rows = [{"text": prose(1), "source": s} for s in ["a", "b", "a", "b"]]
    for number, method in enumerate([Exact(within="source"), Minhash(within="source")]):
        assert dropped(run(tmp_path / str(number), method, rows)[0]) == [2, 3]


def test_minhash_finds_edited_copies_and_keeps_strangers(tmp_path: Path) -> None:
    rows = [{"text": prose(seed)} for seed in range(60)]
    rows += [{"text": edited(prose(seed), 0.01, seed + 1000)} for seed in range(30)]
    done, bench = run(tmp_path, Minhash(), rows, shards=4)
    assert set(dropped(done)) >= set(range(60, 88))
    assert min(dropped(done)) >= 60
    assert bench.counts["minhash:c"].dropped == {"minhash": len(dropped(done))}


def test_minhash_never_matches_text_of_fewer_words_than_an_ngram(tmp_path: Path) -> None:
    rows = [{"text": t} for t in ["one two three four", "one two three four", "", "", "one two three four five"] * 2]
    done, bench = run(tmp_path, Minhash(), rows)
    assert dropped(done) == [9]
    assert bench.counts["minhash_sign:c"].notes["without_key"] == 8


def test_words_are_apart_in_ngrams(tmp_path: Path) -> None:
    rows = [{"text": "ab c d e f"}, {"text": "a bc d e f"}, {"text": "abc d e f g"}]
    assert dropped(run(tmp_path, Minhash(), rows)[0]) == []


def test_decisions_do_not_depend_on_shards_nor_on_the_size_of_join_tasks(tmp_path: Path) -> None:
    rows = [{"text": edited(prose(i % 40), 0.01, i)} for i in range(160)]
    outcomes = set()
    for shards, keys_a_task in [(1, 1 << 20), (5, 50), (3, 7)]:
        bench = Bench(tmp_path / f"{shards}")
        source = documents(tmp_path / f"in{shards}", rows, shards)
        keys = bench("sign", Minhash().signing(), {"documents": source})
        join = Join(keys_a_task=keys_a_task)
        assert (join.shards({"keys": keys}) > 1) == (keys_a_task < 100)
        edges = bench("join", join, {"keys": keys})
        clusters = bench("cluster", Cluster(), {"keys": keys, "edges": edges})
        found = pl.concat([members(file) for file in clusters.files("members", ".arrow")])
        outcomes.add(tuple(found["cluster"].to_list()))
    assert len(outcomes) == 1
    assert len(outcomes.pop()) > 100


def members(path: Path) -> pl.DataFrame:
    return pl.DataFrame(read_arrays(path)[0])


def test_the_same_bytes_come_out_again(tmp_path: Path) -> None:
    rows = [{"text": edited(prose(i % 9), 0.05, i)} for i in range(40)]
    files = []
    for turn in ("a", "b"):
        run(tmp_path / turn, Minhash(keep="longest"), rows, 2)
        paths = sorted(p for p in (tmp_path / turn / "steps").rglob("*") if p.is_file())
        files.append([(p.relative_to(tmp_path / turn), p.read_bytes()) for p in paths])
    assert files[0] == files[1]


def test_dropped_before_is_not_compared_and_keeps_its_reason(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "steps")
    source = documents(tmp_path / "in", [{"text": t} for t in ["a", "a", "b", "b"]], 2)
    first = Exact().steps(bench, "one", source, None)
    second = Minhash(ngram=1).steps(bench, "two", source, first)
    table = pl.concat([pl.read_parquet(f) for f in second.files("decisions")])
    assert table["reason"].to_list() == [None, "exact", None, "exact"]
    assert table["step"].to_list() == [None, "exact:one", None, "exact:one"]
    assert bench.counts["minhash:two"] == Counts(seen=2, kept=2)


def test_an_index_of_other_data_drops_what_it_knows_and_whole_clusters_with_it(tmp_path: Path) -> None:
    old = Bench(tmp_path / "old")
    Minhash().steps(old, "c", documents(tmp_path / "a", [{"text": prose(i)} for i in range(5)]), None)
    index = tmp_path / "old" / "minhash_sign.c"
    rows = [{"text": edited(prose(3), 0.01, 1)}, {"text": prose(77)}, {"text": prose(77)}, {"text": prose(4)}]
    done, _ = run(tmp_path / "new", Minhash(index=str(index)), rows, 2)
    assert dropped(done) == [0, 2, 3]
    with pytest.raises(RecipeError, match="ngram: 5 there, 6 here"):
        run(tmp_path / "other", Minhash(index=str(index), ngram=6), rows)
    with pytest.raises(InputError, match="no deduplication index"):
        check_index(tmp_path, {})


def test_several_indexes_are_asked_and_one_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    kept = []
    for name, seeds in (("a", [0, 1]), ("b", [2, 3])):
        bench = Bench(tmp_path / f"old_{name}")
        Minhash().steps(bench, "c", documents(tmp_path / name, [{"text": prose(i)} for i in seeds], 2), None)
        kept.append(str(tmp_path / f"old_{name}" / "minhash_sign.c"))
    rows = [{"text": prose(i)} for i in (1, 2, 9)]
    for number, (index, gone) in enumerate([(kept, [0, 1]), (kept[:1], [0]), (kept[1], [1]), ([], [])]):
        method = plugin.make(Dedup, {"minhash": {"index": index}})
        assert isinstance(method, Minhash)
        assert dropped(run(tmp_path / f"new{number}", method, rows)[0]) == gone
    method = Minhash(index=tuple(kept))
    keys = Path(kept[1], "keys", "00001.arrow")
    whole = keys.read_bytes()
    keys.write_bytes(whole[:-8])
    with pytest.raises(InputError, match=r"not whole: keys/00001\.arrow should have"):
        run(tmp_path / "short", method, rows)
    keys.unlink()
    with pytest.raises(InputError, match=r"00001\.arrow should have [0-9,]+ bytes and is not there"):
        run(tmp_path / "gone", method, rows)
    join = Join(index=kept[1], index_fingerprint="x")  # gone between planning and running, or not on that machine
    with pytest.raises(InputError, match="is not there"):
        join.known()


@pytest.mark.parametrize(
    ("keep", "kept"), [("highest why.words", ["a", "d"]), ("lowest why.words", ["b", "d"]), ("first", ["a", "d"])]
)
def test_a_measured_value_says_who_stays(tmp_path: Path, keep: str, kept: list[str]) -> None:
    texts = {"b": "one two", "a": "one two three four", "d": "five"}
    lines = [{"text": texts[name], "url": url, "k": name} for name, url in (("a", "u"), ("b", "u"), ("d", "v"))]
    order = lines if keep != "highest why.words" else [lines[1], lines[0], lines[2]]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in order))
    (tmp_path / "recipe.yaml").write_text(
        f"question: Who stays?\nstore: {tmp_path}/store\ncorpora:\n  raw: {{source: {{jsonl: {tmp_path}/in.jsonl}}}}\n"
        "  ruled: {from: raw, rules: [{length: {min_words: 1}}]}\n"
        f"  deduped: {{from: ruled, dedup: [exact, {{exact: {{by: url, keep: {keep}}}}}]}}\n"
    )
    made = plan(load(str(tmp_path / "recipe.yaml")))
    run_steps([made.find("corpus:deduped")], tmp_path / "store")
    (file,) = made.find("corpus:deduped").artifact(tmp_path / "store").files("kept")
    assert sorted(pl.read_parquet(file)["text"].to_list()) == sorted(texts[name] for name in kept)
    # the keys of steps that need no measured value do not hang on what was measured
    roles = set(made.find("exact_sign:deduped:2").inputs)
    assert {role for role in roles if role.startswith("measures")} == (
        set() if keep == "first" else {"measures1", "measures2"}
    )


def test_a_value_that_nobody_measured_is_an_error(tmp_path: Path) -> None:
    method = Exact(keep="highest why.quality")
    with pytest.raises(RecipeError, match=r"`keep: highest why\.quality` asks for a measured value"):
        run(tmp_path / "a", method, [{"text": "a"}])
    with pytest.raises(RecipeError, match=r"no column 'quality'.*written why\.NAME"):
        plugin.make(Dedup, {"exact": {"keep": "highest quality"}})
    bench = Bench(tmp_path / "steps")
    source = documents(tmp_path / "in", [{"text": t} for t in "abab"], 2)
    first = Exact().steps(bench, "one", source, None)
    with pytest.raises(InputError, match="nothing called 'quality' was measured before"):
        method.steps(bench, "two", source, first, [first])


def test_measured_values_of_several_steps_are_one_column(tmp_path: Path) -> None:
    source = documents(tmp_path / "in", [{"text": t} for t in "abcd"])
    inputs = {"documents": source}
    for number, values in enumerate(([1.0, 2.0, None, None], None, [None, 5.0, 6.0, None]), start=1):
        folder = tmp_path / f"m{number}" / "measures"
        folder.mkdir(parents=True)
        if values is not None:
            pl.DataFrame({"id": list("abcd"), "q": values}).write_parquet(folder / "00000.parquet")
        inputs[f"measures{number}"] = Artifact(tmp_path / f"m{number}")
    (batch,) = Shard(inputs, 0).batches(["id"], measured=["q"])
    assert batch.measured is not None
    assert batch.measured["q"].to_list() == [1.0, 5.0, 6.0, None]
    pl.DataFrame({"id": ["a"], "q": [1.0]}).write_parquet(tmp_path / "m3" / "measures" / "00000.parquet")
    del inputs["measures1"]
    with pytest.raises(InputError, match="has 1 rows and is not row-aligned with its shard of 4 documents"):
        list(Shard(inputs, 0).batches(["id"], measured=["q"]))


def test_empty_corpora_and_empty_shards_pass(tmp_path: Path) -> None:
    for number, rows in enumerate([[], [{"text": ""}], [{"text": "one"}]]):
        for method in (Exact(), Minhash(), Minhash(keep="longest")):
            root = tmp_path / f"{number}{method.name}{method.keep}"
            assert dropped(run(root, method, rows, shards=2)[0]) == []


def test_clusters_take_sixteen_bytes_a_document_where_scores_choose(tmp_path: Path) -> None:
    def peak(root: Path, shards: int, rows: int) -> int:
        chance = np.random.default_rng(1)
        for shard in range(shards):
            nothing = np.empty((1, 0), np.uint64), np.empty(0, np.uint32)
            write(root / "keys" / "keys" / f"{shard:05d}.arrow", *nothing, None, rows)
            scores = chance.integers(0, 1 << 63, rows, dtype=np.uint64)
            write_arrays(root / "keys" / "scores" / f"{shard:05d}.arrow", {"score": scores}, {})
        edges = {"first": np.zeros(1, np.uint32), "other": np.array([rows - 1], np.uint32)}
        write_arrays(root / "edges" / "edges" / "00000.arrow", edges, {})
        inputs = {"keys": Artifact(root / "keys"), "edges": Artifact(root / "edges")}
        tracemalloc.start()
        counts = Cluster().run(inputs, root / "out", 0)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert counts.notes == {"clusters": 1, "documents_in_clusters": 2}
        return held

    peak(tmp_path / "warm", 2, 10)  # compiles the kernels
    assert peak(tmp_path / "large", 40, 50_000) / 2_000_000 < 16.5


def test_threshold_chooses_bands_and_rows() -> None:
    assert shape(0.72) == (14, 8) == Minhash().shape == Minhash(threshold=0.72).shape
    for threshold in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        bands, rows = shape(threshold)
        assert bands * rows <= 112
        assert abs(midpoint(bands, rows) - threshold) < 0.02
    with pytest.raises(RecipeError, match=r"have their threshold at 0\.719, not at 0.9"):
        plugin.make(Dedup, {"minhash": {"threshold": 0.9, "bands": 14, "rows": 8}})
    with pytest.raises(RecipeError, match="both `bands` and `rows`"):
        plugin.make(Dedup, {"minhash": {"bands": 14}})
    with pytest.raises(RecipeError, match="keep is `first`"):
        plugin.make(Dedup, {"exact": {"keep": "newest"}})
    assert plugin.make(Dedup, {"minhash": 0.8}) == Minhash(threshold=0.8)


def test_signatures_estimate_jaccard_without_bias() -> None:
    errors = []
    for seed in range(40):
        words = prose(seed, 400).split()
        pair = [" ".join(words), " ".join(words[: 200 + 5 * seed] + prose(seed + 500, 200 - 5 * seed).split())]
        sets = [{tuple(p.split()[i : i + 5]) for i in range(len(p.split()) - 4)} for p in pair]
        truth = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        minima, _ = signatures_of(Minhash(), pa.array(pair, pa.large_string()), np.ones(2, bool))
        errors.append(float((minima[0] == minima[1]).mean()) - truth)
    assert abs(np.mean(errors)) < 0.02  # 40 estimates with a standard error below 0.05 each
    assert np.abs(errors).max() < 0.2


def test_long_documents_are_read_in_stretches_without_a_trace() -> None:
    long = " ".join(random.Random(5).choices(WORDS, k=800_000))
    assert len(long) > 2 << 20
    whole, _ = signatures_of(Minhash(), pa.array([long], pa.large_string()), np.ones(1, bool))
    head, tail = long[:2_000_000].rpartition(" ")[0], long[1_900_000:].partition(" ")[2]
    parts, _ = signatures_of(Minhash(), pa.array([head, tail], pa.large_string()), np.ones(2, bool))
    assert (whole[0] == np.minimum(parts[0], parts[1])).all()


def test_sliced_and_small_string_columns_read_the_same() -> None:
    texts = [prose(i) for i in range(6)]
    whole, _ = signatures_of(Minhash(), pa.array(texts, pa.large_string()), np.ones(6, bool))
    part, _ = signatures_of(Minhash(), pa.array(texts, pa.string())[2:5], np.ones(3, bool))
    assert (whole[2:5] == part).all()


@pytest.mark.parametrize("hash_function", ["xxhash", "sha1"])
def test_exact_words_give_datatroves_signatures_bit_for_bit(tmp_path: Path, hash_function: Any) -> None:
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.utils.hashing import HashConfig

    texts = [
        "It's the 3.14th Café, isn't it? e.g. U.S. laws don't — 1,000 of them.",
        "naïve ﬁnance ÅNGSTRÖM 中文 字符 тест дважды १२३ ١٢٫٥ and more words here",
        prose(1),
        "x " * 6,
        "too few words",
    ]
    peer = MinhashDedupSignature(str(tmp_path), MinhashConfig(hash_config=HashConfig(64, hash_function)))
    ours, counts = signatures_of(
        Minhash(words="exact", hash=hash_function), pa.array(texts, pa.large_string()), np.ones(5, bool)
    )
    for i, text in enumerate(texts):
        shingles = peer.get_shingles(text)
        assert len(shingles) == counts[i]
        if len(shingles):
            assert ours[i].tolist() == [value for band in peer.get_signature(shingles) for value in band]
    assert counts[4] == 0


def test_keys_on_disk_are_sorted_slices(tmp_path: Path) -> None:
    _, bench = run(tmp_path, Minhash(), [{"text": prose(i)} for i in range(30)])
    keys = read(bench.made["minhash_sign:c"].files("keys", ".arrow")[0])
    assert keys.key.shape == (14, 30)
    assert (np.diff(keys.key.astype(object), axis=1) > 0).all()
    half = keys.slice(3, 0, 1 << 63)
    assert half.stop + (lambda s: s.stop - s.start)(keys.slice(3, 1 << 63, 1 << 64)) == 30
