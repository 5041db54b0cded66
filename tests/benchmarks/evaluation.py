"""Evaluation speed: tokens scored in a second beside tokens trained on, of the same model in one run.

    python tests/benchmarks/evaluation.py [--width 96] [--layers 3] [--heads 3] [--vocabulary 4096] [--context 256]
                                          [--seconds 10] [--json]

Training is our loop. Evaluation is, each by itself: documents by rolling likelihood (every token is scored), answers of
12 tokens after prompts of 52 (only the answers are), and four choices of 6 tokens after one prompt of 100, where the
prompt counts once for each choice, as other tools process it. Blocks alternate, so that other load on the machine hits
all of them; a ratio is the median over the blocks. Evaluation should be at least three times as fast.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from training import invent_tokens, our_loop

from windtunnel.trainer.eval.evaluate import document_nats
from windtunnel.trainer.eval.likelihood import answer_scores
from windtunnel.trainer.loop.loop import Batches
from windtunnel.trainer.runtime.numerics import numerics

BLOCK_SECONDS = 1.0
GOAL = 3.0


def workloads(model: Any, options: argparse.Namespace) -> dict[str, tuple[Callable[[], Any], int]]:
    """Return a call and the number of tokens that it processes, by name."""
    rng = np.random.default_rng(1)

    def ids(size: int) -> np.ndarray:
        return rng.integers(1, options.vocabulary, size)

    documents = [ids(int(size)) for size in rng.integers(20, 600, 24)]
    prompts, answers = [ids(52) for _ in range(96)], [ids(12) for _ in range(96)]
    asked = [prompt for prompt in (ids(100) for _ in range(24)) for _ in range(4)]
    choices = [ids(6) for _ in asked]
    return {
        "documents": (lambda: document_nats(model, documents, 0, options.context), sum(map(len, documents))),
        "answers": (lambda: answer_scores(model, prompts, answers, 0, options.context), 96 * 64),
        "choices": (lambda: answer_scores(model, asked, choices, 0, options.context), 96 * 106),
    }


def rate(call: Callable[[], Any], tokens: int) -> float:
    """Return tokens per second of processor time over a block, so that other processes count less."""
    done, start = 0, time.process_time()
    while time.process_time() - start < BLOCK_SECONDS:
        call()
        done += tokens
    return done / (time.process_time() - start)


def measure(options: argparse.Namespace, root: Path) -> dict[str, list[float]]:
    """Return the rates of all blocks by name, training first."""
    invent_tokens(root, options)
    with numerics(1, 0):
        loop = our_loop(options, root)
        batches, step = Batches(loop.data, "cpu", loop.ranks), iter(range(10**9))
        model = loop.model
        calls = {"training": (lambda: loop.take(next(step), batches), options.batch_tokens)} | workloads(model, options)
        for call, _ in calls.values():
            call()
        found: dict[str, list[float]] = {name: [] for name in calls}
        end = time.monotonic() + options.seconds * len(calls)
        while time.monotonic() < end or len(found["training"]) < 3:
            for name, (call, tokens) in calls.items():
                model.train(name == "training")
                found[name].append(rate(call, tokens))
        batches.close()
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in {"width": 96, "layers": 3, "heads": 3, "vocabulary": 4096, "context": 256}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.set_defaults(threads=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each kind of work")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    ratios = {
        name: statistics.median(a / b for a, b in zip(rates, found["training"], strict=True))
        for name, rates in found.items()
    }
    if options.json:
        print(json.dumps({"tokens_per_second": {k: statistics.median(v) for k, v in found.items()}, "ratios": ratios}))
        return
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, one thread, {len(found['training'])} blocks each")
    for name, rates in found.items():
        goal = "" if name == "training" else f", goal {GOAL:g}: {'met' if ratios[name] >= GOAL else 'not met'}"
        print(f"{name:10} {statistics.median(rates):9,.0f} tokens/s  {ratios[name]:5.2f} x training{goal}")


if __name__ == "__main__":
    main()
