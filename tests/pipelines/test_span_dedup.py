"""Repeated spans: sentences, lines, paragraphs and long runs of words, cut wherever they stand again."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.dedup._dedup import Dedup
from windtunnel.pipelines.dedup.sentence import Sentence
from windtunnel.pipelines.dedup.substring import Substring
from windtunnel.pipelines.features.folding import table
from windtunnel.schemas import plugin
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.schemas.work import Counts, Work

WORDS = ["".join(chr(97 + i // 18**k % 18) for k in range(3)) for i in range(5000)]


class Bench:
    """A plan that runs each step as it is added."""

    def __init__(self, root: Path) -> None:
        self.root, self.counts, self.made = root, dict[str, Counts](), dict[str, Artifact]()

    def __call__(self, name: str, work: Work, inputs: Mapping[str, Any]) -> Artifact:
        work = type(work).model_validate_json(work.model_dump_json())
        out = self.root / name.replace(":", ".")
        out.mkdir(parents=True)
        parts = [work.run(inputs, out, rank).check(name) for rank in range(work.shards(inputs))]
        work.finish(inputs, out)
        self.counts[name], self.made[name] = Counts.total(parts).check(name), Artifact(out)
        return self.made[name]


def documents(root: Path, texts: list[str], shards: int = 1, sources: str = "s") -> Artifact:
    size = -(-len(texts) // shards) or 1
    (root / "documents").mkdir(parents=True)
    for shard in range(shards):
        part = [
            {"id": document_id("s", f"{t}{shard * size + i}"), "text": t, "source": sources[i % len(sources)]}
            for i, t in enumerate(texts[shard * size : (shard + 1) * size])
        ]
        rows = [{"url": None, "lang": None, "meta": None, **row} for row in part]
        pq.write_table(pa.Table.from_pylist(rows, DOCUMENT), root / "documents" / f"{shard:05d}.parquet")
    return Artifact(root)


def run(root: Path, method: Dedup, texts: list[str], shards: int = 1, **more: Any) -> tuple[list[str | None], Bench]:
    """Return the texts afterwards, None for dropped ones."""
    bench = Bench(root / "steps")
    done = method.steps(bench, "c", documents(root / "in", texts, shards, **more), None)
    after = pl.concat([pl.read_parquet(file) for file in done.files("documents")])
    decided = pl.concat([pl.read_parquet(file) for file in done.files("decisions")])
    assert after["id"].to_list() == decided["id"].to_list()
    pairs = zip(after["text"].to_list(), decided["reason"].to_list(), strict=True)
    return [None if reason else text for text, reason in pairs], bench


def sentences(seed: int, count: int, words: int = 12) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=words)).capitalize() + "." for _ in range(count)]


def units(text: str, kind: int) -> list[str]:
    """Return the units of a text as the kernel cuts them."""
    from windtunnel.pipelines.features.kernels.units import units_of

    data = np.frombuffer(text.encode(), np.uint8)
    size = len(data) // 2 + 2
    hashes, ends, sizes = np.empty(size, np.uint64), np.empty(size, np.int64), np.empty(size, np.int64)
    scratch = np.empty(size, np.uint64), np.empty(size, np.int64)
    count = units_of(data, 0, len(data), kind, *table(), *scratch, hashes, ends, sizes)
    stops = [0, *ends[:count]]
    return [bytes(data[a:b]).decode() for a, b in itertools.pairwise(stops)]


def test_units_are_sentences_lines_paragraphs_and_words() -> None:
    text = 'He said "no." Then e.g. this ran on!\nA line.\n\nNew part?? Yes. 終わり。次の文。'
    assert units(text, 0) == [
        'He said "no." ', "Then e.g. this ran on!\n", "A line.\n\n", "New part?? ", "Yes. ", "終わり。", "次の文。",
    ]  # fmt: skip
    assert units(text, 1) == [
        'He said "no." Then e.g. this ran on!\n', "A line.\n\n", "New part?? Yes. 終わり。次の文。",
    ]  # fmt: skip
    assert units(text, 2) == [
        'He said "no." Then e.g. this ran on!\nA line.\n\n', "New part?? Yes. 終わり。次の文。",
    ]  # fmt: skip
    assert units("a  bc\nd. ", 3) == ["a", "  bc", "\nd"]
    assert units("...\n\n", 0) == [] == units("", 1)
    assert "".join(units(text, 0)) == text


def test_three_sentences_in_common_go_from_the_later_document(tmp_path: Path) -> None:
    a, b, shared = sentences(1, 10), sentences(2, 10), sentences(3, 4)
    texts = [" ".join(a[:5] + shared + a[5:]), " ".join(b[:5] + shared + b[5:]), " ".join(b[:2] + sentences(4, 9))]
    after, bench = run(tmp_path, Sentence(), texts, shards=2)
    assert after[0] == texts[0]
    assert after[1] == " ".join(b[:5] + b[5:])
    assert after[2] == texts[2]  # two sentences are no span of three
    assert bench.counts["sentence:c"].notes == {"documents_cut": 1, "bytes_cut": len(" ".join(shared)) + 1}


def test_too_little_left_drops_the_document_with_its_text_whole(tmp_path: Path) -> None:
    a = sentences(1, 20)
    texts = [" ".join(a), " ".join(a[:15]), " ".join(a[:8] + sentences(2, 2)), " ".join(a[3:9] + sentences(5, 6))]
    after, bench = run(tmp_path, Sentence(), texts)
    assert after[:3] == [texts[0], None, None]
    assert after[3] == " ".join(sentences(5, 6))
    assert bench.counts["sentence:c"].dropped == {"sentence": 2}
    kept, _ = run(tmp_path / "low", Sentence(min_words=10, min_units=1), texts)
    assert kept[2] == " ".join(sentences(2, 2))


def test_case_and_punctuation_do_not_hide_a_span_but_white_space_is_never_one(tmp_path: Path) -> None:
    a = sentences(1, 6)
    texts = [" ".join(a), "\n\n\n\n\n\n" + " ".join(a).upper().replace(".", " ?!"), "\n\n\n\n\n\n x"]
    after, _ = run(tmp_path, Sentence(), texts)
    assert after == [texts[0], None, texts[2]]


def test_repeats_inside_one_document_go_too(tmp_path: Path) -> None:
    a = sentences(1, 5)
    after, _ = run(tmp_path, Sentence(), [" ".join(a + a + sentences(2, 3))])
    assert after == [" ".join(a + sentences(2, 3))]


def test_short_cuts_are_not_made_when_asked(tmp_path: Path) -> None:
    a, b = sentences(1, 10), sentences(2, 10)
    texts = [" ".join(a), " ".join(b[:5] + a[:3] + b[5:])]
    assert run(tmp_path / "1", Sentence(min_span_words=37), texts)[0] == texts
    assert run(tmp_path / "2", Sentence(min_span_words=36), texts)[0] == [texts[0], " ".join(b)]


def test_lines_and_paragraphs_as_units(tmp_path: Path) -> None:
    a, b = sentences(1, 8), sentences(2, 8)
    texts = ["\n".join(a), "\n".join([*b[:4], a[2], *b[4:]])]
    assert run(tmp_path / "1", Sentence(unit="line", span=1), texts)[0] == [texts[0], "\n".join(b)]
    part = "\n".join(a[:3])
    texts = [part + "\n\n" + "\n".join(b), "\n".join(sentences(3, 6)) + "\n\n" + part + "\n\n" + a[7]]
    after, _ = run(tmp_path / "2", Sentence(unit="paragraph", span=1, min_units=1), texts)
    assert after == [texts[0], "\n".join(sentences(3, 6)) + "\n\n" + a[7]]


def test_within_compares_only_what_shares_the_column(tmp_path: Path) -> None:
    texts = [" ".join(sentences(1, 9))] * 4
    after, _ = run(tmp_path, Sentence(within="source"), texts, sources="ab")
    assert after == [texts[0], texts[1], None, None]


def test_outcome_does_not_depend_on_shards(tmp_path: Path) -> None:
    pool = sentences(1, 120)
    chance = random.Random(2)
    texts = []
    for _ in range(40):
        start = chance.randrange(100)
        texts.append(" ".join(pool[start : start + 15] + sentences(chance.random(), 4)))  # type: ignore[arg-type]
    for method in (Sentence(), Substring(scope="corpus", min_words=0)):
        one, _ = run(tmp_path / f"{method.name}1", method, texts)
        many, _ = run(tmp_path / f"{method.name}7", method, texts, shards=7)
        assert one == many
        assert one != texts


def test_index_cuts_what_it_knows_everywhere_and_other_parameters_are_refused(tmp_path: Path) -> None:
    known = sentences(1, 6)
    _, old = run(tmp_path / "old", Sentence(), [" ".join(known)])
    index = str(old.made["sentence_sign:c"].path)
    text = " ".join(sentences(2, 6) + known[1:5] + sentences(3, 6))
    after, _ = run(tmp_path / "new", Sentence(index=index), [text, " ".join(sentences(4, 7))])
    assert after == [" ".join(sentences(2, 6) + sentences(3, 6)), " ".join(sentences(4, 7))]
    with pytest.raises(RecipeError, match="span: 3 there, 4 here"):
        run(tmp_path / "other", Sentence(span=4, index=index), [text])


def brute(texts: list[str], length: int) -> list[str]:
    """Cut every run of words that begins at an earlier place too, word by word, in plain Python."""
    seen: set[tuple[str, ...]] = set()
    out = []
    for text in texts:
        words = text.split()
        gone = set()
        for i in range(len(words) - length + 1):
            run_of_words = tuple(words[i : i + length])
            if run_of_words in seen:
                gone.update(range(i, i + length))
            seen.add(run_of_words)
        out.append(" ".join(w for i, w in enumerate(words) if i not in gone))
    return out


@pytest.mark.parametrize("scope", ["shard", "corpus"])
def test_substrings_equal_brute_force(tmp_path: Path, scope: Any) -> None:
    chance = random.Random(4)
    pool = chance.choices(WORDS[:300], k=600)
    texts = []
    for _ in range(30):
        a, b = chance.randrange(500), chance.randrange(500)
        own = chance.choices(WORDS, k=20)
        texts.append(" ".join(pool[a : a + chance.randrange(90)] + own + pool[b : b + chance.randrange(90)]))
    texts.append("la " * 40 + "end")
    method = Substring(tokens=12, scope=scope, min_words=0)
    after, _ = run(tmp_path, method, texts)
    wanted = brute(texts, 12)
    assert [t if t is None else " ".join(t.split()) for t in after] == [t or None for t in wanted]
    assert sum(a != b for a, b in zip(wanted, texts, strict=True)) > 10


def test_substring_takes_fifty_words_and_leaves_forty_nine(tmp_path: Path) -> None:
    pool = " ".join(sentences(1, 10))
    for count, cut in ((49, False), (50, True)):
        shared = " ".join(pool.split()[:count])
        texts = [shared + " " + " ".join(sentences(2, 6)), " ".join(sentences(3, 6)) + " " + shared]
        after, _ = run(tmp_path / str(count), Substring(), texts)
        assert after[0] == texts[0]
        assert (after[1] != texts[1]) == cut


def test_scope_of_a_shard_needs_no_index(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="need `scope: corpus`"):
        plugin.make(Dedup, {"substring": {"within": "source"}})


def test_empty_documents_pass(tmp_path: Path) -> None:
    for number, method in enumerate([Sentence(), Substring(), Substring(scope="corpus")]):
        assert run(tmp_path / str(number), method, ["", "...", "one"], shards=2)[0] == ["", "...", "one"]
        assert run(tmp_path / f"none{number}", method, [])[0] == []
