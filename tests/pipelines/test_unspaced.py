"""Text without spaces between words: it is cut into words, all columns see them, and nothing is lost on the way."""

import re
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.pipelines.features.kernels import classes
from windtunnel.pipelines.features.kernels.spans import word_spans
from windtunnel.pipelines.features.settings import Settings
from windtunnel.pipelines.features.shared import features
from windtunnel.pipelines.filters._chain import chain, judge

JAPANESE = "今日は天気がいいので、公園へ散歩に行きました。"
CHINESE = "我们今天去公园散步，因为天气很好。"
THAI = "ประเทศไทยเป็นประเทศที่สวยงามมาก"
UNSPACED = re.compile(f"[{''.join(map(chr, classes.ranges(f'{classes._HAN} {classes._KANA} {classes._BRAHMIC}')))}]")
LAO = "ຂ້ອຍຮັກປະເທດລາວ"
KHMER = "ខ្ញុំស្រឡាញ់ប្រទេសកម្ពុជា"
BURMESE = "ကျွန်တော်မြန်မာနိုင်ငံကိုချစ်တယ်။"
CHARACTERS = (
    "今日公園散歩天気東京大学我们因为的是在はがのをにへとでカタナーประเทศไทยເປັນມາမြန်မာកម្ពុជា ab1.,。「」\u0301\u00a0\n"
)


def _words(text: str) -> list[str]:
    raw = text.encode()
    return [raw[a:b].decode() for a, b in word_spans(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("今日は天気がいいので、公園に行きました。", "今日 は 天気 が いい の で 、 公園 に 行き まし た 。"),
        ("因为公园在北京大学。", "因为 公园 在 北京大学 。"),
        (THAI, "ประเทศ ไทย เป็น ประเทศ ที่ สวยงาม มาก"),
        ("Use LibreOffice打开文件: 3.5MB", "Use LibreOffice 打开 文件 : 3.5 MB"),
        ("မြန်မာ", "မြန် မာ"),
        ("ຂ້ອຍ", "ຂ້ ອ ຍ"),
        ("ខ្ញុំ", "ខ្ញុំ"),
    ],
)
def test_words(text: str, words: str) -> None:
    assert _words(text) == words.split()


def test_han_characters_are_read_as_the_document_is() -> None:
    title = "国立国会図書館長"
    alone, among_kana = _words(title), _words(f"{title}\nここはひらがなです。")
    size = next(n for n in range(len(among_kana)) if "".join(among_kana[:n]) == title)
    assert "".join(alone) == title
    assert alone != among_kana[:size]


@settings(max_examples=150)
@given(st.text(st.sampled_from(CHARACTERS), max_size=80))
def test_words_cover_the_text_and_no_more(text: str) -> None:
    spans = word_spans(text)
    assert all(a < b for a, b in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert "".join(_words(text)) == re.sub(r"\s+", "", text)
    assert features(pa.array([text]))["words"].to_list() == [len(spans)]


@pytest.mark.parametrize(("sentence", "least", "most"), [(JAPANESE, 1.2, 2.5), (CHINESE, 1.2, 2.5), (THAI, 3, 6)])
def test_the_rules_see_words(sentence: str, least: float, most: float) -> None:
    row = features(pa.array([sentence])).to_dicts()[0]
    assert least <= row["non_symbol_word_chars"] / row["non_symbol_words"] <= most
    thrice = features(pa.array([" ".join([sentence] * 3)])).to_dicts()[0]
    assert thrice["duplicate_5_gram_chars"] > 0.4 * len(sentence)
    batch = pa.record_batch({"text": pa.array([sentence * 12], pa.large_string())})
    assert judge(batch, chain([{"length": {"min_words": 60}}])).reasons.to_list() == [None]
    spaced = judge(batch, chain([{"length": {"min_words": 60}}], "exact")).reasons.to_list()
    assert spaced == ["length.too_few_words"], "the English words of spaCy are whole clauses"


@pytest.mark.parametrize(
    ("sentence", "least"),
    [(CHINESE, 9), (JAPANESE, 11), (THAI, 6), (LAO, 5), (KHMER, 5), (BURMESE, 6)],
    ids=["zh", "ja", "th", "lo", "km", "my"],
)
def test_a_document_without_spaces_has_words_enough(sentence: str, least: int) -> None:
    document = sentence * 12
    row = features(pa.array([document])).to_dicts()[0]
    assert 12 * least <= row["non_symbol_words"] <= len(document)
    batch = pa.record_batch({"text": pa.array([document], pa.large_string())})
    quality = judge(batch, chain(["gopher_quality"])).reasons.to_list()
    assert quality != ["gopher_quality.gopher_short_doc"]
    of_the_language = {"min_mean_word_chars": 1, "min_stop_words": 0, "min_alpha_word_share": 0.7}
    assert judge(batch, chain([{"gopher_quality": of_the_language}])).reasons.to_list() == [None]


def _c4(text: str, words: str = "fast", **parameters: Any) -> tuple[str | None, str]:
    rule = {"c4": {"terminal_punctuation": False, "min_sentences": None, **parameters}}
    judged = judge(pa.record_batch({"text": pa.array([text], pa.large_string())}), chain([rule], words))
    return judged.reasons[0], judged.batch.column("text")[0].as_py()


def test_lines_without_spaces_have_words_for_c4() -> None:
    page = f"{CHINESE}\n公园\n{JAPANESE}\n{CHINESE * 100}\ntoo few\nthese lines have words\n打开 Use文件[1]，打开文件。"
    kept = page.replace("公园\n", "", 1).replace("too few\n", "").replace("[1]", "")
    assert _c4(page) == (None, kept)
    assert _c4(page, max_word_chars=4)[1] == f"{CHINESE}\n{JAPANESE}\n{CHINESE * 100}\n打开 Use文件，打开文件。"
    for spaced in (_c4(page, unspaced_words=False), _c4(page, "exact")):
        assert spaced == (None, "these lines have words"), "as datatrove: what stands between white space"


@settings(max_examples=100)
@given(st.lists(st.text(st.sampled_from(CHARACTERS + "[]cookie {"), max_size=30), max_size=5), st.integers(1, 4))
def test_lines_are_measured_as_they_are_rewritten(lines: list[str], least: int) -> None:
    rule = {"c4": {"terminal_punctuation": False, "min_sentences": None, "min_words_per_line": least}}
    judged = judge(pa.record_batch({"text": pa.array(["\n".join(lines)], pa.large_string())}), chain([rule]))
    if judged.reasons[0] is None:
        kept = judged.batch.column("text")[0].as_py()
        again = judge(judged.batch, chain([rule]))
        if "[" not in "".join(lines):  # a line may be empty without its citation, and may then be stripped
            assert judged.why["c4_lines"][0] == len([line for line in kept.split("\n") if line])
            assert again.batch.column("text")[0].as_py() == kept


def test_sentences_of_text_without_spaces() -> None:
    page = "\n".join([JAPANESE.replace("。", "。今日も。")] * 3)
    rule = {"c4": {"terminal_punctuation": False, "min_words_per_line": 1, "min_sentences": 6}}
    batch = pa.record_batch({"text": pa.array([page], pa.large_string())})
    assert judge(batch, chain([rule])).reasons.to_list() == [None]


@pytest.mark.network
@pytest.mark.parametrize("name", ["api_docs", "encyclopedia", "dialogue"])
def test_real_text_with_spaces_has_the_columns_of_the_reference_words(name: str) -> None:
    from windtunnel.pipelines.samples.sample_set import read

    texts = [text for batch in read(name) for text in batch.column("text").to_pylist()]
    spaced = pa.array([text[:3000] for text in texts[:: max(1, len(texts) // 60)] if not UNSPACED.search(text)])
    fast, exact = (features(spaced, Settings(words=words)) for words in ("fast", "exact"))
    assert len(spaced) >= 20
    assert fast.equals(exact)
