"""Measures the boundary model of text without spaces against the segmenters that it imitates, and trains it.

    python tests/benchmarks/segmenter.py [--json]
    python tests/benchmarks/segmenter.py --zh FILES ... --ja FILES ... --th FILES ... --out boundaries.npz

Needs jieba, fugashi with unidic-lite, pythainlp and opencc-python-reimplemented. Measured on the sample sets `dialogue`
and `declaration`, of which no line trains: F1 of boundaries and of whole words within runs of the script, our words to
theirs, and MB/s of all shared columns beside the MB/s of the segmenter alone, one thread. Traditional Chinese is held
to jieba's words of its simplified form. With --out the model is trained first, on files of plain text (UTF-8), and its
weights written: Chinese a second time in traditional characters, and with words drawn from jieba's and PyThaiNLP's
frequency lists, for words that the text does not have.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from windtunnel.pipelines.features.kernels.tables import WEIGHT_BITS, boundary_weights
from windtunnel.pipelines.features.kernels.unspaced import CHINESE, JAPANESE, THAI, slots

RUN = re.compile(
    "[\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3041-\u3096\u3099-\u309f\u30a1-\u30fa"
    "\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\u0e01-\u0e3a\u0e40-\u0e4e]{2,}"
)
KINDS = {"zh": "[\u4e00-\u9fff]", "ja": "[\u3041-\u30ff]", "th": "[\u0e01-\u0e4e]"}
LANGUAGES = {"zh": CHINESE, "zh_traditional": CHINESE, "ja": JAPANESE, "th": THAI}
HELD_OUT = ("dialogue", "declaration")
MOST_CHARS = 5_000_000  # of a language
DRAWN_CHARS = 6_000_000  # of a frequency list
SPEED_BYTES = 4 << 20
EPOCHS, RATE, L1, SCALE = 4, 0.1, 0.01, 32
Run = tuple[str, list[int]]  # text, boundaries within it


def held_out(kind: str) -> list[str]:
    """Return the distinct lines of the sample sets that measure, in one language."""
    from windtunnel.pipelines.samples.sample_set import read

    texts = (row for name in HELD_OUT for batch in read(name) for row in batch.select(["text", "lang"]).to_pylist())
    found = (line.strip() for row in texts if row["lang"] == kind for line in row["text"].split("\n"))
    return list(dict.fromkeys(line for line in found if RUN.search(line)))


def lines_of(paths: list[Path], kind: str) -> list[str]:
    """Return the distinct lines of files in the language's script, without those that are held out, shuffled."""
    wanted, kana, barred = re.compile(KINDS[kind]), re.compile(KINDS["ja"]), set(held_out(kind))
    texts = (path.read_text(encoding="utf-8", errors="ignore") for path in paths)
    found = {line.strip() for text in texts for line in text.split("\n") if wanted.search(line)} - barred
    kept = sorted(line for line in found if kind != "zh" or not kana.search(line))
    random.Random(1).shuffle(kept)
    return kept


def labelled(lines: list[str], cut: Callable[[str], list[str]], most: int = MOST_CHARS) -> list[Run]:
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
        if total > most:
            break
    return runs


def drawn(frequencies: list[tuple[str, int]], chars: int) -> list[str]:
    """Return lines of eight words drawn by frequency (a little flattened), so that rare words are seen too."""
    draw = random.Random(2)
    words, sums = [word for word, _ in frequencies], np.cumsum([count**0.85 for _, count in frequencies]).tolist()
    lines: list[str] = []
    while chars > 0:
        lines.append("".join(draw.choices(words, cum_weights=sums, k=8)))
        chars -= len(lines[-1])
    return lines


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


def teachers() -> dict[str, Callable[[str], list[str]]]:
    """Return the segmenters; jieba, whose words are simplified, sees a traditional line in its simplified form."""
    from opencc import OpenCC

    cut, simple = segmenters(), OpenCC("t2s").convert

    def chinese(line: str) -> list[str]:
        new = simple(line)
        ends = np.cumsum([len(word) for word in cut["zh"](new if len(new) == len(line) else line)]).tolist()
        return [line[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    return {**cut, "zh": chinese}


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


def held_out_runs(cut: dict[str, Callable[[str], list[str]]]) -> dict[str, list[Run]]:
    """Return the labelled runs of the held-out lines, traditional Chinese apart."""
    from opencc import OpenCC

    simple = OpenCC("t2s").convert
    runs = {kind: labelled(held_out(kind), cut[kind]) for kind in ("ja", "th")}
    for kind, same in (("zh", True), ("zh_traditional", False)):
        runs[kind] = labelled([line for line in held_out("zh") if (simple(line) == line) == same], cut["zh"])
    return runs


def speeds(lines: list[str], cut: Callable[[str], list[str]]) -> dict[str, float]:
    """Return MB/s of all shared columns on the lines (repeated to some MB), and of the segmenter alone."""
    import pyarrow as pa

    from windtunnel.pipelines.features.shared import features

    page = "\n".join(lines)
    size = len(page.encode())
    text = pa.array([page] * max(1, SPEED_BYTES // size), pa.large_string())
    features(text.slice(0, 1))
    begin = time.thread_time()
    features(text)
    ours = text.nbytes / 1e6 / (time.thread_time() - begin)
    some = lines[: max(1, len(lines) // 4)]
    begin = time.thread_time()
    for line in some:
        cut(line)
    theirs = len("\n".join(some).encode()) / 1e6 / (time.thread_time() - begin)
    return {"mb_s": ours, "peer_mb_s": theirs, "ratio": ours / theirs}


def train(files: dict[str, list[Path]], cut: dict[str, Callable[[str], list[str]]]) -> np.ndarray:
    runs = {kind: labelled(lines_of(files[kind], kind), cut[kind]) for kind in KINDS}
    runs["zh_traditional"] = traditional(runs["zh"])
    groups = [(LANGUAGES[kind], found) for kind, found in runs.items()]
    for kind in KINDS:
        if words := frequencies(kind):
            groups.append((LANGUAGES[kind], labelled(drawn(words, DRAWN_CHARS), cut[kind], DRAWN_CHARS)))
    return trained(groups)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cut = teachers()
    weights = boundary_weights()
    if args.out:
        weights = train({kind: getattr(args, kind) for kind in KINDS}, cut)
        np.savez_compressed(args.out, weights=weights)
    runs = held_out_runs(cut)
    found: dict[str, Any] = {kind: measured(runs[kind], LANGUAGES[kind], weights) for kind in LANGUAGES if runs[kind]}
    for kind, row in found.items():
        row["characters"] = sum(len(text) for text, _ in runs[kind])
    for kind, peer in segmenters().items():
        found[kind] |= speeds(held_out(kind), peer)
    if args.json:
        print(json.dumps(found))
        return
    for kind, row in found.items():
        print(f"{kind}: " + ", ".join(f"{name} {value:.3f}" for name, value in row.items()))


if __name__ == "__main__":
    main()
