"""The unigram and badwords rules against datatrove's filters with the same tables and lists."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from windtunnel.pipelines.filters._chain import chain, judge
from windtunnel.schemas.errors import InputError

COUNTS = {
    "the": 23_135_851,
    "of": 13_151_942,
    "river": 12_000,
    "bank": 9_000,
    "don't": 700,
    "’s": 80,
    "n't": 55,
    ",": 3,
}
BAD = ["darn", "heck no", "s.o.b", "c++", "blast[ed]", "ばか"]
WORDS = [
    "the", "The", "OF", "river", "bank,", "rivers", "don't", "(bank)", "zxqv", "42", "bank's", "river-bank", "...",
    "darn", "Darn!", "darning", "heck", "no", "heck\nno", "s.o.b", "saob", "c++", "blast[ed]", "_darn_",
    "École", "ÉCOLE", "ばか", "おばかさん",
]  # fmt: skip


def _texts(count: int) -> list[str]:
    draw = random.Random(11)
    made = ["", " ", "\n\n", "darn", "the"]
    while len(made) < count:
        made.append(
            "".join(draw.choice(WORDS) + draw.choice([" ", " ", " ", "\n", ", "]) for _ in range(draw.randrange(9)))
        )
    return made


def _measured(texts: list[str], spec: dict[str, Any], column: str, words: str = "fast") -> list[Any]:
    return judge(_batch(texts), chain([spec], words)).why[column].to_list()


def _batch(texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch({"id": [str(i) for i in range(len(texts))], "text": pa.array(texts, pa.large_string())})


def test_unigram_log_probability_is_datatroves() -> None:
    from datatrove.data import Document
    from datatrove.pipeline.filters.unigram_log_probs import UnigramLogProbFilter

    class Given(UnigramLogProbFilter):
        def get_frequencies(self) -> dict[str, float]:  # the peer fetches its table; this one is the test's
            total = sum(COUNTS.values())
            return {word: count / total for word, count in COUNTS.items()}

    peer, texts = Given(), [text for text in _texts(1500) if "ばか" not in text]  # the fast rule cuts it
    theirs = [float(peer.get_logprob(Document(text, "0"))) for text in texts]
    ours = _measured(texts, {"unigram": {"frequencies": COUNTS}}, "unigram_log_prob")
    differ = [(text, a, b) for text, a, b in zip(texts, ours, theirs, strict=True) if a != pytest.approx(b, abs=1e-9)]
    assert differ == []
    reasons = judge(_batch(texts), chain([{"unigram": {"frequencies": COUNTS}}])).reasons
    assert reasons.is_null().to_list() == [peer.filter(Document(text, "0")) for text in texts]
    assert 0 < reasons.null_count() < len(texts)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_badwords_decides_as_datatrove(language: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from datatrove.data import Document
    from datatrove.pipeline.filters import c4_filters

    listed = tmp_path / "words"
    listed.write_text("\n".join(BAD), encoding="utf-8")
    monkeypatch.setattr(c4_filters, "cached_asset_path_or_download", lambda *_, **__: str(listed))
    peer, texts = c4_filters.C4BadWordsFilter(), _texts(3000)
    theirs = [peer.filter(Document(text, "0", metadata={"language": language})) is True for text in texts]
    spec = {"badwords": {"words": str(listed), "languages": [language]}}
    ours = judge(_batch(texts), chain([spec])).reasons.is_null().to_list()
    assert [(text, a) for text, a, b in zip(texts, ours, theirs, strict=True) if a != b] == []
    assert 100 < sum(theirs) < 2900


@pytest.mark.network
def test_a_list_for_japanese_makes_no_english_word_bad() -> None:
    texts = ["A classic assessment, xxl, by therapists of 3px.", "What an ass.", "彼はばかだ。アナルです", "3p"]
    reasons = judge(_batch(texts), chain([{"badwords": {"languages": ["en", "ja"]}}])).reasons
    assert reasons.is_null().to_list() == [True, False, False, False]


def test_the_share_that_stays_is_the_share_asked_for_and_always_the_same() -> None:
    texts = [f"darn number {number}" for number in range(4000)]
    spec = {"badwords": {"words": BAD, "keep_fraction": 0.25}}
    once = judge(_batch(texts), chain([spec])).reasons.is_null()
    assert abs(sum(once) / len(once) - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5  # four standard errors
    backwards = judge(_batch(texts[::-1]), chain([spec])).reasons.is_null()
    assert once.to_list() == backwards.to_list()[::-1]
    more = judge(_batch(texts), chain([{"badwords": {**spec["badwords"], "keep_fraction": 0.5}}])).reasons.is_null()
    assert (~once | more).all(), "a higher share keeps what a lower one kept"


@pytest.mark.parametrize(
    "content",
    [
        "the\t500\nriver\t2\n",
        "the,500\nriver,2\n",
        "word,count\nthe,500\nriver,2\n",
        "count,note,word\n500,x,the\n2,y,river\n",
        'word,count\n"the",500\nriver, 2\n',
    ],
)
def test_tables_of_words_are_read_in_their_shapes(content: str, tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.write_text(content)
    given = _measured(["the river", "zxqv"], {"unigram": {"frequencies": {"the": 500, "river": 2}}}, "unigram_log_prob")
    assert _measured(["the river", "zxqv"], {"unigram": str(table)}, "unigram_log_prob") == given


@pytest.mark.parametrize(
    "content",
    [
        b"", b"word,count\n", b"the,many\n", b"the\t-5\n", b"the\n", b"<!DOCTYPE html>, a page\n<p>404</p>",
        b"\xff\xfe\x00,1\n", b"the,1\n\xff\xfe,x\n",
    ],
)  # fmt: skip
def test_what_is_no_table_of_words_is_refused(content: bytes, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes(content)
    with pytest.raises(InputError, match=r"table\.csv"):
        _measured(["the river"], {"unigram": str(table)}, "unigram_log_prob")
