"""Agreement: how often our rules keep or drop as datatrove's filters do, on real documents that no test looks at.

    python tests/benchmarks/agreement.py [--documents 6000] [--longest 8000] [--json]

The documents come from every sample set, at places apart from those of `test_rules_parity.py`. Each meets datatrove's
filters with their defaults and ours, with the fast word rule; reasons and C4's rewritten text are compared too. Text
without spaces is counted apart: we cut it into words and datatrove's English words do not, so there both are right.
The interval is Wilson's, at 95 %.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "pipelines"))
from test_rules_parity import FILTERS, UNSPACED, places_read

SETS = ("api_docs", "code", "dialogue", "drama", "encyclopedia", "mail", "novel", "python_docs", "speeches",
        "sqlite_docs", "web")  # fmt: skip


def unseen(name: str, count: int, longest: int) -> list[str]:
    """Return up to `count` documents of a set, evenly spread, without those that the parity test looks at."""
    from windtunnel.pipelines.samples.sample_set import read

    texts = [text for batch in read(name) for text in batch.column("text").to_pylist() if text.strip()]
    tested = set(places_read(name, len(texts)))
    left = [text[:longest] for place, text in enumerate(texts) if place not in tested]
    return left[:: max(1, -(-len(left) // count))]


def compared(texts: list[str], rule: str) -> Counter[str]:
    """Count documents with the same decision, with the same reason and text too, and the two ways to differ."""
    from datatrove.data import Document
    from datatrove.pipeline import filters

    from windtunnel.pipelines.filters._chain import chain, judge

    peer = getattr(filters, FILTERS[rule])()
    judged = judge(pa.record_batch({"text": pa.array(texts, pa.large_string())}), chain([rule]))
    found: Counter[str] = Counter()
    for text, new, ours in zip(texts, judged.batch.column("text").to_pylist(), judged.reasons.to_list(), strict=True):
        document = Document(text=text, id="0")
        verdict = peer.filter(document)
        theirs = None if verdict is True else f"{rule}.{verdict[1]}"
        found["documents"] += 1
        found["decision"] += (ours is None) == (theirs is None)
        found["reason_and_text"] += ours == theirs and new == document.text
        found["only_we_drop"] += ours is not None and theirs is None
        found["only_they_drop"] += ours is None and theirs is not None
    return found


def main() -> None:
    from windtunnel.generators.judging.calibration import wilson

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=6000)
    parser.add_argument("--longest", type=int, default=8000, help="characters of a document that are compared")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    spaced: list[str] = []
    unspaced: list[str] = []
    for name in SETS:
        for text in unseen(name, -(-args.documents // len(SETS)), args.longest):
            (unspaced if UNSPACED.search(text) else spaced).append(text)
    rows: list[dict[str, Any]] = []
    for kind, texts in (("with spaces", spaced), ("without spaces", unspaced)):
        for rule in FILTERS:
            counts = compared(texts, rule)
            n = counts["documents"]
            low, high = wilson(counts["decision"] / n, n)
            rows.append({"text": kind, "rule": rule, **counts, "low": low, "high": high})
    if args.json:
        print(json.dumps(rows))
        return
    for row in rows:
        n = row["documents"]
        print(
            f"{row['text']:<15} {row['rule']:<18} {n:>5} documents: decision {row['decision'] / n:8.3%} "
            f"[{row['low']:.3%}, {row['high']:.3%}], reason and text too {row['reason_and_text'] / n:8.3%}; "
            f"only we drop {row['only_we_drop']}, only they drop {row['only_they_drop']}"
        )


if __name__ == "__main__":
    main()
