"""The compiled columns against plain Python, and the rules over them against datatrove's filters, on made-up texts."""

import random
import re
from collections import Counter

import pyarrow as pa
import pytest

from windtunnel.pipelines.features.kernels.spans import word_spans
from windtunnel.pipelines.features.settings import Settings
from windtunnel.pipelines.features.shared import features
from windtunnel.pipelines.filters._chain import chain, judge
from windtunnel.schemas.errors import InputError

BREAKS = (
    ["\n"] * 12 + ["\n\n"] * 4 + ["\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", " \n", "\n \n", "\n\n\n", ""]
)
_VOCABULARY = """
the be to of and that have with river bank mill ferry Ferry's don't 42 3.5 café naïve — … ... # • - (so) "quoted" end.
Stop! why? it, Mr. U.S. e.g. [1] [edit] x [citation needed] {brace} JavaScript lorem ipsum use of cookies privacy policy
\u00a0 😀 o'clock co-operate www.example.com a@b.org
"""
WORDS = re.split("[ \n]+", _VOCABULARY.strip())
LINES = [
    "A whole line that comes back again and again.",
    "short",
    "- a bullet line of some length",
    "• another bullet…",
    'This sentence ends. This one too! And this?  Two spaces before. Closing quote."',
    "x" * 1001,
    "see the terms of use",
    "Lorem ipsum dolor sit amet.",
]


def _document(draw: random.Random) -> str:
    parts = []
    for _ in range(draw.randrange(12)):
        if draw.random() < 0.35:
            parts.append(draw.choice(LINES))
        else:
            line = " ".join(draw.choice(WORDS) for _ in range(draw.randrange(12)))
            parts.append(line + draw.choice(["", ".", "!", "...", '"', " "]))
        parts.append(draw.choice(BREAKS))
    return draw.choice(["", " ", "\n", "\n\n "]) + "".join(parts)


def _documents(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["", " ", "\n", "\n\n", "\r\n", "a", "\x00", "a\x00b", "é", *(_document(draw) for _ in range(count))]


def _duplicates(pieces: list[str]) -> tuple[int, int]:
    seen: set[str] = set()
    again = [piece for piece in pieces if piece in seen or seen.add(piece)]
    return len(again), sum(map(len, again))


def _top(words: list[str], n: int) -> int:
    grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    gram, count = Counter(grams).most_common(1)[0] if grams else ("", 0)
    return len(gram) * count


def _covered(words: list[str], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    total = i = 0
    while i + n <= len(words):
        gram = tuple(words[i : i + n])
        if gram in seen:
            total += sum(map(len, gram))
            i += n
        else:
            seen.add(gram)
            i += 1
    return total


def _reference(text: str) -> dict[str, int]:
    raw = text.encode()
    words = [raw[a:b].decode() for a, b in word_spans(text)]
    lines = text.splitlines()
    paragraphs, runs = re.split(r"\n{2,}", text.strip()), re.split(r"\n+", text)
    nonblank = [line for line in text.split("\n") if line.strip()]
    columns = {
        "bytes": len(raw),
        "characters": len(text),
        "words": len(words),
        "alpha_words": sum(any(c.isalpha() for c in word) for word in words),
        "stop_words": len({"the", "be", "to", "of", "and", "that", "have", "with"} & set(words)),
        "hashes": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
        "lines": len(lines),
        "bullet_lines": sum(line.lstrip().startswith(("•", "-")) for line in lines),
        "ellipsis_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines),
        "newlines": text.count("\n"),
        "paragraphs": len(paragraphs),
        "line_runs": len(runs),
        "nonblank_lines": len(nonblank),
        "short_lines": sum(len(line) <= 30 for line in nonblank),
        "duplicate_line_chars": _duplicates(nonblank)[1],
        "long_paragraphs": sum(len(line) >= 200 for line in text.split("\n")),
        "letter_chars": sum(c.isalpha() for c in text),
        "upper_chars": sum(c.isupper() for c in text),
        "digit_chars": sum(c.isnumeric() for c in text),
        "space_chars": sum(c.isspace() for c in text),
    }
    columns["duplicate_paragraphs"], columns["duplicate_paragraph_chars"] = _duplicates(paragraphs)
    columns["duplicate_line_runs"], columns["duplicate_line_run_chars"] = _duplicates(runs)
    columns |= {f"top_{n}_gram_chars": _top(words, n) for n in (2, 3, 4)}
    return columns | {f"duplicate_{n}_gram_chars": _covered(words, n) for n in range(5, 11)}


@pytest.mark.parametrize("seed", range(4))
def test_columns_are_those_of_plain_python(seed: int) -> None:
    texts = _documents(150, seed)
    rows = features(pa.array(texts)).to_dicts()
    for text, row in zip(texts, rows, strict=True):
        expected = _reference(text)
        assert {name: row[name] for name in expected} == expected, repr(text)


def test_long_and_repetitive_documents_outgrow_the_scratch() -> None:
    draw = random.Random(5)
    long = " ".join(draw.choice(WORDS) + str(draw.randrange(4000)) for _ in range(70_000))
    lines = "\n".join(str(draw.randrange(30_000)) for _ in range(40_000))
    same = "again and " * 30_000
    rows = features(pa.array([long, "short", lines, same])).to_dicts()
    for text, row in zip([long, "short", lines, same], rows, strict=True):
        expected = _reference(text)
        assert {name: row[name] for name in expected} == expected


def test_columns_do_not_depend_on_what_stands_around_a_document() -> None:
    texts = _documents(60, 9)
    whole = features(pa.array(texts, pa.large_string()))
    alone = [features(pa.array([text])).row(0) for text in texts]
    assert whole.rows() == alone
    sliced = features(pa.array(["x y z", *texts, "tail"]).slice(1, len(texts)))
    assert sliced.rows() == whole.rows()


def test_null_is_empty_and_no_rows_are_no_rows() -> None:
    assert features(pa.array([None, ""], pa.string())).row(0) == features(pa.array([""])).row(0)
    assert features(pa.array([], pa.large_string())).height == 0
    assert features(pa.chunked_array([["a b"], ["c"]]))["words"].to_list() == [2, 1]


def test_invalid_utf8_is_refused() -> None:
    broken = pa.array([b"fine", b"\xff\xfe broken"], pa.binary()).view(pa.string())
    with pytest.raises(InputError, match="UTF-8"):
        features(broken)


FILTERS = {
    "gopher_quality": ("GopherQualityFilter", {"min_words": 5}, {"min_doc_words": 5}),
    "gopher_repetition": ("GopherRepetitionFilter", {}, {}),
    "c4": ("C4QualityFilter", {"min_sentences": 2}, {"min_num_sentences": 2}),
    "c4_any_end": (
        "C4QualityFilter",
        {"min_sentences": 3, "terminal_punctuation": False},
        {"min_num_sentences": 3, "filter_no_terminal_punct": False},
    ),
    "fineweb": ("FineWebQualityFilter", {}, {}),
    "fineweb_paper": ("FineWebQualityFilter", {"preset": "paper"}, {"char_duplicates_ratio": 0.1}),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("words", ["fast", "exact"])
def test_decisions_reasons_and_texts_are_datatroves(name: str, words: str) -> None:
    from datatrove.data import Document
    from datatrove.pipeline import filters

    cls, ours, theirs = FILTERS[name]
    peer = getattr(filters, cls)(**theirs)
    rule = name.partition("_any")[0].partition("_paper")[0]
    texts = [text for text in _documents(250, 21) if text.strip()]  # it divides by the words of a blank text
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    judged = judge(batch, chain([{rule: ours}], words))
    for text, new, reason in zip(texts, judged.batch.column("text").to_pylist(), judged.reasons, strict=True):
        document = Document(text=text, id="0")
        verdict = peer.filter(document)
        assert reason == (None if verdict is True else f"{rule}.{verdict[1]}"), repr(text)
        assert new == document.text, repr(text)


def test_settings_change_what_is_measured() -> None:
    text = pa.array(["One line without an end\nAnother line, with one."])
    assert features(text)["c4_lines"].to_list() == [1]
    assert features(text, Settings(c4_terminal_punctuation=False))["c4_lines"].to_list() == [2]
    assert features(text, Settings(short_line_chars=23))["short_lines"].to_list() == [2]
    assert features(text, Settings(short_line_chars=22))["short_lines"].to_list() == [0]


def test_kernel_sources_are_all_part_of_the_cache_key() -> None:
    import ast
    from pathlib import Path

    from windtunnel.pipelines.features.kernels import entry

    folder = Path(entry.__file__).parent
    reached, todo = set(), ["entry"]
    while todo:
        name = todo.pop()
        if name in reached:
            continue
        reached.add(name)
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "windtunnel.pipelines.features.kernels"
            ):
                module = (node.module or "").removeprefix("windtunnel.pipelines.features.kernels").lstrip(".")
                todo += [module] if module else [alias.name for alias in node.names]
    assert reached == set(entry.SOURCES)
