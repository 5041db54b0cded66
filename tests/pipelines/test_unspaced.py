"""Text without spaces between words: it is cut into words, all columns see them, and nothing is lost on the way."""

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.chain import chain, judge
from pipelines.features import features
from pipelines.kernels.spans import word_spans

JAPANESE = "今日は天気がいいので、公園へ散歩に行きました。"
CHINESE = "我们今天去公园散步，因为天气很好。"
THAI = "ประเทศไทยเป็นประเทศที่สวยงามมาก"
CHARACTERS = (
    "今日公園散歩天気東京大学我们因为的是在はがのをにへとでカタナーประเทศไทยເປັນມາမြန်မာកម្ពុជា ab1.,。「」\u00a0\n"
)


def _words(text: str) -> list[str]:
    raw = text.encode()
    return [raw[a:b].decode() for a, b in word_spans(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (JAPANESE, "今日 は 天気 が いい の で 、 公園 へ 散歩 に 行き まし た 。"),
        ("因为公园很好。", "因为 公园 很 好 。"),
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
    title = "大学生活動中心"
    alone, among_kana = _words(title), _words(f"{title}\nここはひらがなです。")
    size = next(n for n in range(len(among_kana)) if "".join(among_kana[:n]) == title)
    assert "".join(alone) == title
    assert alone != among_kana[:size]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(st.sampled_from(CHARACTERS), max_size=80))
def test_words_cover_the_text_and_no_more(text: str) -> None:
    spans = word_spans(text)
    assert all(a < b for a, b in spans)
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))
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


def test_sentences_of_text_without_spaces() -> None:
    page = "\n".join([JAPANESE.replace("。", "。今日も。")] * 3)
    rule = {"c4": {"terminal_punctuation": False, "min_words_per_line": 1, "min_sentences": 6}}
    batch = pa.record_batch({"text": pa.array([page], pa.large_string())})
    assert judge(batch, chain([rule])).reasons.to_list() == [None]
