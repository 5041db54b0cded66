"""The compiled word rule against spaCy's English tokenizer, whose rules it follows."""

import random
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.pipelines.features.kernels import classes as kinds
from windtunnel.pipelines.features.kernels.english import cut_into, special_words
from windtunnel.pipelines.features.kernels.spans import word_spans
from windtunnel.pipelines.features.kernels.tables import UNITS, hash_string

spacy = pytest.importorskip("spacy")
TOKENIZER = spacy.blank("en").tokenizer
_PIECES = """
a A z Z 0 9 . , : ; ! ? - – — ' ’ " ( ) [ ] { } < > / = + * ^ ~ # @ _ & % $ € £ | \\ … ¿ ° ² é 😀 ´ ` « » “
foo Bar USA x1 12 3.14 http:// www. example.com e.g. ... .. -- --- :) :D 's n't US$ 5km user@host.org :80
/path?q=1 10.0.0.1
8.8.8.8 İ ß
"""
PIECES = re.split("[ \n]+", _PIECES.strip())
# scripts without spaces go to the segmenter instead
UNSPACED = re.compile(
    "[\u2e80-\u2fdf\u3005-\u303b\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\u0e01-\u0edf\u1000-\u109d\u1780-\u17dd\ua9e0-\uaa7f\U0001b000-\U0001b16f\U00020000-\U000323af]"
)


def _ours(text: str) -> list[str]:
    raw = text.encode()
    return [raw[a:b].decode() for a, b in word_spans(text)]


def _spacy(text: str) -> list[str]:
    return [word for word in (token.text.strip() for token in TOKENIZER(text)) if word]


def test_exceptions_are_those_of_spacy() -> None:
    from spacy.symbols import ORTH

    theirs = {word: tuple(piece[ORTH] for piece in pieces) for word, pieces in TOKENIZER.rules.items()}
    assert {word: pieces for word, pieces in theirs.items() if word.strip()} == special_words()


def test_how_the_affix_rules_cut_exceptions() -> None:
    from spacy.tokenizer import Tokenizer

    t = TOKENIZER
    found = {"prefix_search": t.prefix_search, "suffix_search": t.suffix_search, "infix_finditer": t.infix_finditer}
    bare = Tokenizer(t.vocab, rules={}, url_match=t.url_match, **found)
    touched = {w for w in special_words() if t.find_prefix(w) or t.find_suffix(w) or t.find_infix(w)}
    assert {w: len(bare(w)) for w in touched if len(bare(w)) > 2} == cut_into()


def test_character_classes_are_those_of_python_and_spacy() -> None:
    from spacy.lang import char_classes as c

    pages, flat = kinds.table()
    codes = np.array([code for code in range(0x110000) if not 0xD800 <= code < 0xE000])
    bits = flat[(pages[codes >> 8].astype(np.int64) << 8) | (codes & 255)]
    every = "".join(map(chr, codes.tolist()))

    def has(bit: np.uint64) -> set[str]:
        return {every[i] for i in np.flatnonzero(bits & bit)}

    assert has(kinds.SPACE) == {x for x in every if x.isspace()}
    assert has(kinds.ALPHA) == {x for x in every if x.isalpha()}
    assert has(kinds.DECIMAL) == set(re.findall(r"\d", every))
    assert has(kinds.PUNCTUATION) == {x for x in every if unicodedata.category(x)[0] == "P"}
    assert has(kinds.BREAK) == {x for x in every if len(f"a{x}b".splitlines()) == 2}
    assert has(kinds.QUOTE) == set(re.findall(f"[{c.CONCAT_QUOTES}]", every))
    assert has(kinds.CASED_LOWER) == set(re.findall(f"[{c.ALPHA_LOWER}]", every))
    assert has(kinds.CASED_UPPER) ^ set(re.findall(f"[{c.ALPHA_UPPER}]", every)) <= {"\u03a2"}  # not assigned
    if unicodedata.unidata_version == "14.0.0":
        assert has(kinds.ICON) == set(re.findall(f"[{c.CONCAT_ICONS}…]", every))


@pytest.mark.parametrize("seed", range(3))
def test_random_runs_are_cut_as_spacy_cuts_them(seed: int) -> None:
    draw = random.Random(seed)
    special, units = [word for word in special_words() if not UNSPACED.search(word)], UNITS.split()
    for _ in range(2500):
        chosen = draw.choices((PIECES, special, units), (85, 10, 5), k=draw.randint(1, 7))
        run = "".join(draw.choice(kind) for kind in chosen)
        assert _ours(run) == _spacy(run), run


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60).filter(lambda text: not UNSPACED.search(text)))
def test_any_text_is_cut_as_spacy_cuts_it(text: str) -> None:
    assert _ours(text) == _spacy(text)


def test_running_text() -> None:
    text = (
        "Mr. O'Neill can't—won't—pay US$5,000.00 (i.e. £3k) for it:  \"Really?\" he asked… :-)\n\tDon't e-mail a@b.org"
    )
    assert _ours(text) == _spacy(text)


def test_hashes_of_python_and_of_kernels_agree() -> None:
    from windtunnel.pipelines.features.kernels.memory import pointer
    from windtunnel.pipelines.features.kernels.utf8 import hash_bytes

    numba = pytest.importorskip("numba")

    @numba.njit
    def of(data, size):
        return hash_bytes(pointer(data), 0, size)

    for word in ("", "a", "eightbyt", "ninebytes", "naïve café au lait, s'il vous plaît"):
        raw = word.encode()
        assert of(np.frombuffer(raw + bytes(8), dtype=np.uint8), len(raw)) == hash_string(word)
