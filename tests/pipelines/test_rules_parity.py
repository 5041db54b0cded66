"""The rules against datatrove itself on more than 2,000 real documents: keep or drop, the reason, and C4's text."""

import re
from typing import Any

import pyarrow as pa
import pytest

from windtunnel.pipelines.filters._chain import chain, judge

pytestmark = [pytest.mark.slow, pytest.mark.network]
SETS = {"api_docs": 700, "encyclopedia": 700, "dialogue": 120, "web": 400, "mail": 300}
LONGEST = 4000  # characters: datatrove takes a minute for every 9 MB
FILTERS: dict[str, Any] = {
    "gopher_quality": "GopherQualityFilter",
    "gopher_repetition": "GopherRepetitionFilter",
    "c4": "C4QualityFilter",
    "fineweb": "FineWebQualityFilter",
}
UNSPACED = re.compile("[\u2e80-\u2fdf\u3005-\u303b\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\u0e01-\u0edf]")


def places_read(name: str, size: int) -> range:
    """Return which documents of a sample set of `size` are looked at here; the benchmark of agreement takes others."""
    return range(3, size, max(1, size // SETS[name])) if name in SETS else range(0)


@pytest.fixture(scope="module")
def documents() -> list[str]:
    from windtunnel.pipelines.samples.sample_set import read

    found = []
    for name, count in SETS.items():
        texts = [text[:LONGEST] for batch in read(name) for text in batch.column("text").to_pylist() if text.strip()]
        found += [texts[place] for place in places_read(name, len(texts))[:count]]
    assert len(found) >= 2000
    return found


def _joined_duplicate(text: str, reason: str) -> bool:
    """Whether datatrove's verdict comes from its joining of n-grams without a separator, a listed bug.

    It takes "ab c" and "a bc" for the same n-gram. With a separator its own words give another verdict.
    """
    from datatrove.utils.text import split_into_words

    if not reason.startswith("duplicated_"):
        return False
    n = int(reason.split("_")[1])
    words, seen, total, i = split_into_words(text), set(), 0, 0
    while i + n <= len(words):
        gram = tuple(words[i : i + n])
        total += sum(map(len, gram)) if gram in seen else 0
        i += n if gram in seen else 1
        seen.add(gram)
    return total / len(text) <= {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}[n]


@pytest.mark.parametrize("words", ["fast", "exact"])
@pytest.mark.parametrize("rule", FILTERS)
def test_every_verdict_reason_and_text_is_datatroves(documents: list[str], rule: str, words: str) -> None:
    from datatrove.data import Document
    from datatrove.pipeline import filters

    peer = getattr(filters, FILTERS[rule])()
    if words == "fast":  # text without spaces is cut into words there, which datatrove's English words are not
        documents = [text for text in documents if not UNSPACED.search(text)]
    judged = judge(pa.record_batch({"text": pa.array(documents, pa.large_string())}), chain([rule], words))
    differ = []
    for text, new, reason in zip(documents, judged.batch.column("text").to_pylist(), judged.reasons, strict=True):
        document = Document(text=text, id="0")
        verdict = peer.filter(document)
        theirs = None if verdict is True else f"{rule}.{verdict[1]}"
        known = theirs is not None and _joined_duplicate(text, theirs.partition(".")[2])
        if (reason != theirs and not known) or new != document.text:
            differ.append((text[:80], reason, theirs))
    assert differ == []


def test_the_joining_of_n_grams_is_known_from_a_text_made_for_it() -> None:
    from datatrove.data import Document
    from datatrove.pipeline.filters import GopherRepetitionFilter

    text = "ab c one two three. a bc one two three."
    peer = GopherRepetitionFilter(top_n_grams=(), dup_n_grams=((5, 0.15),))
    assert peer.filter(Document(text=text, id="0")) == (False, "duplicated_5_n_grams")
    off = {f"top_{n}_gram": None for n in (2, 3, 4)}
    batch = pa.record_batch({"text": pa.array([text], pa.large_string())})
    assert judge(batch, chain([{"gopher_repetition": off}])).reasons.to_list() == [None]
    assert _joined_duplicate(text, "duplicated_5_n_grams")
