"""Novelty gate against the plain way: one text against a pool by ROUGE-L, ours and a dynamic-programming LCS.

    python tests/benchmarks/novelty.py [POOL] [QUERIES]

The pool is sentences of the running Python's own documentation strings, so near texts occur as they do in a pool of
instructions. The peer does what the usual scorer does for a pair (tokenise both, fill the LCS table), and its time is
taken on a sample of pairs and scaled to the pool. Both sides' similarities are compared on that sample.
"""

import re
import sys
import sysconfig
import time
from pathlib import Path

from windtunnel.generators.text.novelty import RougeGate, rouge_l


def sentences(count: int) -> list[str]:
    """Return different sentences of 4 to 60 words out of the standard library's documentation strings."""
    found: dict[str, None] = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        for block in re.findall(r'"""(.+?)"""', path.read_text(encoding="utf-8", errors="replace"), re.DOTALL):
            for sentence in re.split(r"(?<=[.])\s+", block):
                text = " ".join(sentence.split())
                if 4 <= len(text.split()) <= 60:
                    found[text] = None
        if len(found) >= count:
            break
    return list(found)[:count]


def plain(target: str, prediction: str) -> float:
    """ROUGE-L F by the quadratic table."""
    a, b = (re.sub(r"[^a-z0-9]+", " ", text.lower()).split() for text in (target, prediction))
    if not a or not b:
        return 0.0
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if x == y else max(row[j], row[j - 1])
    precision, recall = row[-1] / len(b), row[-1] / len(a)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def main(pool_size: int = 20_000, queries: int = 300) -> None:
    """Print milliseconds a candidate for both, and the ratio."""
    texts = sentences(pool_size + queries)
    pool, candidates = texts[: len(texts) - queries], texts[-queries:]
    gate = RougeGate()
    for text in pool:
        gate.add(text)
    gate.nearest(pool[0])  # compiles
    gate.pairs = gate.compared = 0
    started = time.perf_counter()
    found = [gate.nearest(text) for text in candidates]
    ours = (time.perf_counter() - started) / queries
    sample = [(candidates[i % queries], pool[(7919 * i) % len(pool)]) for i in range(2000)]
    started = time.perf_counter()
    values = [plain(target, prediction) for target, prediction in sample]
    theirs = (time.perf_counter() - started) / len(sample) * len(pool)
    assert all(rouge_l(a, b) == value for (a, b), value in zip(sample[:200], values, strict=False))
    assert all(plain(c, pool[n.index]) == n.similarity for c, n in zip(candidates, found, strict=True))
    print(f"pool {len(pool)}, {queries} candidates; LCS computed for {gate.compared / gate.pairs:.1%} of the pairs")
    print(f"ours {ours * 1e3:.2f} ms a candidate, plain {theirs * 1e3:.0f} ms: {theirs / ours:.0f} times as fast")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
