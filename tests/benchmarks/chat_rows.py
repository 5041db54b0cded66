"""How long a set of chat rows takes from its files to the mix: read, cleaned, deduplicated, split; and how right it is.

    python tests/benchmarks/chat_rows.py --rows 1000000 --workers 2

Writes rows of ShareGPT with one to three rounds. A twentieth of them are copies, a fiftieth ask the question of another
row with a word more, a hundredth have no answer. Prints the seconds of every step, the most memory that the processes
had together, and of the planted rows how many were found and how many others went.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

SYLLABLES = (
    "ba", "co", "di", "fu", "ga", "he", "ji", "ko", "la", "me", "ni", "po", "qua", "ro", "sa", "ti", "vu", "we", "xe",
    "yo", "zu", "shi", "tra", "ple",
)  # fmt: skip
RECIPE = """
question: How fast are chat rows?
store: {store}
rows: {{chat: {{source: {{jsonl: {files}/*.jsonl}}, clean: sharegpt, dedup: [exact, {{minhash: 0.8}}]}}}}
held_out: {{from: chat, share: 0.001}}
mixes: {{all: {{chat: 1.0}}}}
"""


def write(folder: Path, rows: int, seed: int = 1) -> dict[str, int]:
    """Write the rows into eight files; return how many of each planted kind there are."""
    rng = random.Random(seed)
    words = ["".join(rng.choices(SYLLABLES, k=rng.choice((2, 3)))) for _ in range(20_000)]
    planted = {"copies": 0, "near": 0, "unanswered": 0}
    recent: list[list[dict[str, str]]] = []
    files = [(folder / f"part{k}.jsonl").open("w") for k in range(8)]
    for number in range(rows):
        kind = rng.random()
        turns = [turn for _ in range(rng.choice((1, 1, 2, 3))) for turn in _round(rng, words)]
        if recent and kind < 0.05:
            turns, planted["copies"] = rng.choice(recent), planted["copies"] + 1
        elif recent and kind < 0.07:
            first = rng.choice(recent)[0]["value"]
            turns[0], planted["near"] = {"from": "human", "value": f"Please {first}"}, planted["near"] + 1
        elif kind < 0.08:
            turns, planted["unanswered"] = turns[:1], planted["unanswered"] + 1
        elif len(recent) < 50_000:
            recent.append(turns)
        files[number % 8].write(json.dumps({"conversations": turns}) + "\n")
    for file in files:
        file.close()
    return planted


def _round(rng: random.Random, words: list[str]) -> list[dict[str, str]]:
    asked = " ".join(rng.choices(words, k=rng.randint(12, 40)))
    said = " ".join(rng.choices(words, k=rng.randint(20, 160)))
    return [{"from": "human", "value": f"What is {asked}?"}, {"from": "gpt", "value": f"It is {said}."}]


def most_memory(process: psutil.Process, found: list[int]) -> None:
    """Note the memory of a process and all below it, ten times a second, pages that they share counted once each."""
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        try:
            family = [process, *process.children(recursive=True)]
            found.append(sum(each.memory_full_info().pss for each in family))
        except psutil.Error:
            pass
        time.sleep(0.1)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--workers", type=int, default=2)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as place:
        folder = Path(place)
        (folder / "files").mkdir()
        planted = write(folder / "files", given.rows)
        size = sum(file.stat().st_size for file in (folder / "files").iterdir())
        (folder / "r.yaml").write_text(RECIPE.format(store=folder / "store", files=folder / "files"))
        command = "from windtunnel.pipelines.cli import main; main()"
        words = ["run", str(folder / "r.yaml"), "--until", "mix", "--workers", str(given.workers)]
        started, memory = time.perf_counter(), [0]
        process = subprocess.Popen([sys.executable, "-c", command, *words])
        watch = threading.Thread(target=most_memory, args=(psutil.Process(process.pid), memory))
        watch.start()
        process.wait()
        seconds = time.perf_counter() - started
        watch.join()
        dropped: dict[str, int] = {}
        for step in ("clean.chat", "rows.chat", "train_rows.chat"):
            (manifest,) = folder.glob(f"store/{step}-*/manifest.json")
            dropped |= json.loads(manifest.read_text())["counts"]["dropped"]
        print(f"{given.rows:,} rows, {size / 1e6:,.0f} MB: {seconds:.1f} s, at most {max(memory) / 1e9:.2f} GB")
        print(f"planted: {planted}")
        print(f"dropped: {dropped}")


if __name__ == "__main__":
    main()
