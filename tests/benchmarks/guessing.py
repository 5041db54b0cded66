"""Guessing: how often the most frequent answer, or one of the offered choices at random, is right, by task of `flan`.

    python tests/benchmarks/guessing.py [--documents 2000] [--longest 60] [--json]

The documents are leads of an encyclopedia, evenly spread. `made` is the share of documents that give a question.
`majority` is the share of the most frequent answer, `chance` that of a choice at random where the question offers some.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from typing import Any

from windtunnel.generators.families._family import Family, FamilyTask, Item, parts_of
from windtunnel.pipelines.samples.sample_set import read
from windtunnel.schemas.plugin import make, names

LISTS = ("choices", "items")  # fields of a question


def leads(number: int) -> list[str]:
    """Return English leads, evenly spread over the set."""
    batches = (batch.select(["text", "lang"]).to_pylist() for batch in read("encyclopedia"))
    texts = [row["text"] for rows in batches for row in rows if row["lang"] == "en"]
    return texts[:: max(1, len(texts) // number)][:number]


def offered(item: Item) -> float | None:
    """Return the chance of a choice at random among the parts of the question's list, None where it offers none."""
    for name in LISTS:
        parts = parts_of(item.fields.get(name, ""))
        if len(parts) > 1 and item.answer in parts:
            return 1 / len(parts)
    return None


def figures(task: FamilyTask, texts: list[str], longest: int) -> dict[str, Any]:
    """Return the figures of one task. Raises AssertionError for an answer that is not confirmed."""
    made = [task.make(text, random.Random(number), longest) for number, text in enumerate(texts)]
    items = [item for item in made if item is not None]
    assert all(task.verify(item.fields, item.answer) for item in items)
    answers = Counter(item.answer for item in items)
    chances = [chance for item in items if (chance := offered(item)) is not None]
    return {
        "made": len(items) / len(texts),
        "majority": max(answers.values()) / len(items),
        "answer": answers.most_common(1)[0][0],
        "chance": sum(chances) / len(chances) if chances else None,
        "words": max(len(item.answer.split()) for item in items),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--longest", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    texts = leads(options.documents)
    found = {
        f"{name}.{task}": figures(about, texts, options.longest)
        for name in names("family")
        for task, about in make(Family, name).tasks.items()
    }
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{'task':36} {'made':>6} {'majority':>8} {'chance':>6} {'words':>5}  most frequent answer")
    for task, f in found.items():
        chance = "" if f["chance"] is None else f"{f['chance']:.2f}"
        print(f"{task:36} {f['made']:6.2f} {f['majority']:8.3f} {chance:>6} {f['words']:5}  {f['answer'][:40]}")


if __name__ == "__main__":
    main()
