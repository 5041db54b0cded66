"""Compiles the kernels that nearly every run needs, before there is a run that would wait for them.

numba compiles a function when it is first called and keeps the code beside its source. The pass over a document takes
about as long as all else together, so two processes share the work; in a run each worker would do all of it.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from pathlib import Path

WORDS = ("harbour", "morning", "letter", "garden", "engine", "winter", "river", "market", "yellow", "paper", "silent")
RECIPE = """
question: Are the kernels compiled?
store: {folder}/store
corpora:
  raw: {{source: {{jsonl: {folder}/texts.jsonl}}}}
  deduped: {{from: raw, dedup: minhash}}
held_out: {{from: raw, share: 0.2}}
mixes: {{raw: {{raw: 1.0}}, deduped: {{deduped: 1.0}}}}
tokens: {{tokenizer: {{bpe: 300, trained_on: raw}}, budget: 512, max_epochs: 100}}
train:
  model: {{llama: {{width: 32, layers: 1, heads: 2, context: 32}}}}
  seeds: [0]
  device: cpu
  stages: [{{causal_lm: {{batch_tokens: 128}}}}]
"""


def compile_kernels() -> float:
    """Compile what is not yet compiled, in two processes; return the seconds that took."""
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(_do, ["measuring", "a run"], chunksize=1)
    return time.perf_counter() - started


def _do(part: str) -> None:
    _measuring() if part == "measuring" else _small_run()


def _measuring() -> None:
    import pyarrow as pa

    from windtunnel.pipelines.features.pass_over import rewrite_column
    from windtunnel.pipelines.features.settings import Settings
    from windtunnel.pipelines.features.shared import features

    column = pa.array(texts(), pa.large_string())
    features(column)
    rewrite_column(column, Settings())


def _small_run() -> None:
    """Run a recipe of a few made-up documents: it calls what deduplicates, holds out, and trains."""
    import json

    from windtunnel.pipelines.engine.executors import Where
    from windtunnel.pipelines.engine.mirrors.opening import open_store
    from windtunnel.pipelines.engine.run import run
    from windtunnel.pipelines.plan.builder import plan
    from windtunnel.pipelines.recipe.file import parse

    with tempfile.TemporaryDirectory() as folder:
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts())
        (Path(folder) / "texts.jsonl").write_text(lines, encoding="utf-8")
        planned = plan(parse(RECIPE.format(folder=folder), []))
        run(planned.targets, open_store(planned.recipe.store), Where(workers=1))


def texts() -> list[str]:
    """Return documents that share no run of words, but for one that stands twice."""
    documents = [
        " ".join(f"{WORDS[(i * k + k // 7) % len(WORDS)]}{chr(96 + i % 25)}{WORDS[i // 25]}" for k in range(1, 80))
        for i in range(1, 60)
    ]
    return [*documents, documents[0]]
