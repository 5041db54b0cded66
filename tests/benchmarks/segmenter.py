"""Trains and measures the boundary model of text without spaces, against the segmenters that it imitates.

    python tests/benchmarks/segmenter.py [--zh FILES ...] [--ja FILES ...] [--th FILES ...] [--out boundaries.npz]

Needs jieba, fugashi with unidic-lite, pythainlp and opencc-python-reimplemented. Without files the sample sets are the
text; files are plain text in UTF-8. Nine tenths of the lines train: Chinese a second time in traditional characters,
and with words drawn from jieba's and PyThaiNLP's frequency lists, for words that the text does not have. One tenth
measures: F1 of boundaries and of whole words, our words to theirs, and MB/s. With --out the weights are written;
without it the shipped ones are measured on all lines, some of which they were trained on.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from pipelines.kernels.tables import WEIGHT_BITS, boundary_weights
from pipelines.kernels.unspaced import CHINESE, JAPANESE, THAI, slots

RUN = re.compile(
    "[\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3041-\u3096\u3099-\u309f\u30a1-\u30fa"
    "\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\u0e01-\u0e3a\u0e40-\u0e4e]{2,}"
)
KINDS = {"zh": "[\u4e00-\u9fff]", "ja": "[\u3041-\u30ff]", "th": "[\u0e01-\u0e4e]"}
LANGUAGES = {"zh": CHINESE, "zh_traditional": CHINESE, "ja": JAPANESE, "th": THAI}
MOST_CHARS = 5_000_000  # of a language
EPOCHS, RATE, L1, SCALE = 4, 0.1, 0.01, 32
Run = tuple[str, list[int]]  # text, boundaries within it


def lines_of(paths: list[Path], kind: str) -> list[str]:
    """Return the distinct lines in the language's script, of files or of the sample sets."""
    if paths:
        texts: Iterable[str] = (path.read_text(encoding="utf-8", errors="ignore") for path in paths)
    else:
        from pipelines.samples import read

        sets = ("help_zh", "dialogue", "declaration")
        texts = (text for name in sets for batch in read(name) for text in batch.column("text").to_pylist())
    wanted, kana = re.compile(KINDS[kind]), re.compile(KINDS["ja"])
    found = {line.strip() for text in texts for line in text.split("\n") if wanted.search(line)}
    kept = sorted(line for line in found if kind != "zh" or not kana.search(line))
    random.Random(1).shuffle(kept)
    return kept


def labelled(lines: list[str], cut: Callable[[str], list[str]]) -> list[Run]:
    """Return the runs without spaces of the lines, with the boundaries that a segmenter sees."""
    runs: list[Run] = []
    total = 0
    for line in lines:
        edges, at = set(), 0
        for word in cut(line):
            at = line.find(word, at)
            edges |= {at, at + len(word)}
            at += len(word)
        for match in RUN.finditer(line):
            runs.append(
                (match.group(), [k - match.start() for k in range(match.start() + 1, match.end()) if k in edges])
            )
        total += len(line)
        if total > MOST_CHARS:
            break
    return runs


def drawn(frequencies: list[tuple[str, int]], chars: int) -> list[Run]:
    """Return runs of eight words drawn by frequency (a little flattened), so that rare words are seen too."""
    draw = random.Random(2)
    words, weights = [word for word, _ in frequencies], [count**0.85 for _, count in frequencies]
    runs: list[Run] = []
    while chars > 0:
        chosen = draw.choices(words, weights, k=8)
        ends = np.cumsum([len(word) for word in chosen]).tolist()
        runs.append(("".join(chosen), ends[:-1]))
        chars -= ends[-1]
    return runs


def segmenters() -> dict[str, Callable[[str], list[str]]]:
    import fugashi
    import jieba
    from pythainlp.tokenize import word_tokenize

    jieba.setLogLevel(60)
    tagger = fugashi.Tagger()  # type: ignore[attr-defined]
    return {
        "zh": lambda line: list(jieba.cut(line)),
        "ja": lambda line: [word.surface for word in tagger(line)],
        "th": lambda line: word_tokenize(line, engine="newmm"),
    }


def frequencies(kind: str) -> list[tuple[str, int]]:
    """Return the segmenter's own word frequencies; there are none for Japanese."""
    import jieba
    import pythainlp

    if kind == "ja":
        return []
    path, pick = {
        "zh": (Path(jieba.__path__[0]) / "dict.txt", 2),
        "th": (Path(pythainlp.__path__[0]) / "corpus" / "tnc_freq.txt", 2),
    }[kind]
    rows = (line.split()[:pick] for line in path.read_text(encoding="utf-8").splitlines())
    return [(row[0], int(row[1])) for row in rows if len(row) == pick and row[1].isdigit() and RUN.fullmatch(row[0])]


def traditional(runs: list[Run]) -> list[Run]:
    from opencc import OpenCC

    convert = OpenCC("s2t").convert
    return [(new, edges) for text, edges in runs if len(new := convert(text)) == len(text) and new != text]


def packed(groups: list[tuple[int, list[Run]]]) -> tuple[np.ndarray, ...]:
    """Return (code points, whether a word begins there, where runs begin, their languages)."""
    runs = [(language, *run) for language, found in groups for run in found]
    random.Random(3).shuffle(runs)
    codes = np.concatenate([np.frombuffer(text.encode("utf-32-le"), np.uint32) for _, text, _ in runs]).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum([len(text) for _, text, _ in runs])])
    begins = np.zeros(len(codes), np.int8)
    for start, (_, _, edges) in zip(starts, runs, strict=False):
        begins[[start + edge for edge in edges]] = 1
    return codes, begins, starts, np.array([language for language, _, _ in runs])


@njit
def around(codes, i, a, b, language):
    at = [codes[k] if a <= k < b else 0 for k in range(i - 3, i + 3)]
    return slots(at[0], at[1], at[2], at[3], at[4], at[5], language)


@njit
def epoch(codes, begins, starts, languages, weights, squares, rate, l1):
    """One pass of AdaGrad on the logistic loss, with a soft threshold that keeps idle weights at 0."""
    for k in range(len(starts) - 1):
        for i in range(starts[k] + 1, starts[k + 1]):
            places = around(codes, i, starts[k], starts[k + 1], languages[k])
            total = 0.0
            for place in places:
                total += weights[place]
            slope = 1 / (1 + np.exp(-total)) - begins[i]
            for place in places:
                squares[place] += slope * slope
                step = rate / np.sqrt(squares[place] + 1e-3)
                moved = weights[place] - step * slope
                weights[place] = max(0.0, moved - step * l1) if moved > 0 else min(0.0, moved + step * l1)


@njit
def predict(codes, starts, languages, weights, begins):
    for k in range(len(starts) - 1):
        for i in range(starts[k] + 1, starts[k + 1]):
            total = 0.0
            for place in around(codes, i, starts[k], starts[k + 1], languages[k]):
                total += weights[place]
            begins[i] = total > 0


def measured(runs: list[Run], language: int, weights: np.ndarray) -> dict[str, float]:
    """Return boundary F1, word F1, our words per their word."""
    codes, truth, starts, languages = packed([(language, runs)])
    ours = np.zeros_like(truth)
    predict(codes, starts, languages, weights.astype(np.float64), ours)
    hits = int((truth & ours).sum())
    edges = []
    for begins in (truth, ours):
        marked = begins.copy()
        marked[starts[:-1]] = 1
        first = np.flatnonzero(marked)
        edges.append(set(zip(first.tolist(), [*first[1:].tolist(), len(codes)], strict=True)))
    both = len(edges[0] & edges[1])
    return {
        "boundary_f1": 2 * hits / (truth.sum() + ours.sum()),
        "word_f1": 2 * both / (len(edges[0]) + len(edges[1])),
        "words_ratio": len(edges[1]) / len(edges[0]),
    }


def trained(groups: list[tuple[int, list[Run]]]) -> np.ndarray:
    weights, squares = np.zeros(1 << WEIGHT_BITS), np.zeros(1 << WEIGHT_BITS)
    data = packed(groups)
    for _ in range(EPOCHS):
        epoch(*data, weights, squares, RATE, L1)
    small = np.clip(np.round(weights * SCALE), -127, 127).astype(np.int8)
    small[np.abs(small) < 2] = 0
    return small


def speed(lines: list[str]) -> float:
    """Return MB/s of all shared columns on the lines."""
    import pyarrow as pa

    from pipelines.features import features

    text = pa.array(["\n".join(lines[k : k + 50]) for k in range(0, len(lines), 50)], pa.large_string())
    features(text.slice(0, 1))
    begin = time.thread_time()
    features(text)
    return text.nbytes / 1e6 / (time.thread_time() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    lines = {kind: lines_of(getattr(args, kind), kind) for kind in KINDS}
    runs = {kind: labelled(lines[kind], cut) for kind, cut in segmenters().items()}
    runs["zh_traditional"] = traditional(runs["zh"])
    weights, test = boundary_weights(), runs
    if args.out:
        test = {kind: found[: len(found) // 10] for kind, found in runs.items()}
        groups = [(LANGUAGES[kind], found[len(found) // 10 :]) for kind, found in runs.items()]
        groups += [(LANGUAGES[kind], drawn(words, 2_000_000)) for kind in KINDS if (words := frequencies(kind))]
        weights = trained(groups)
        np.savez_compressed(args.out, weights=weights)
    found: dict[str, Any] = {kind: measured(test[kind], LANGUAGES[kind], weights) for kind in LANGUAGES if test[kind]}
    for kind in KINDS:
        found[kind]["mb_s"] = speed(lines[kind])
    if args.json:
        print(json.dumps(found))
        return
    for kind, row in found.items():
        print(f"{kind}: " + ", ".join(f"{name} {value:.3f}" for name, value in row.items()))


if __name__ == "__main__":
    main()
