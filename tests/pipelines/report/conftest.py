"""A small store in the layout that the steps leave: real decisions, corpora and comparison, made-up training runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.datasets.corpus import Corpus
from windtunnel.pipelines.dedup.matching.clusters import CLUSTER
from windtunnel.pipelines.filters._decide import Decide
from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest, canonical_json, key_of, write_text
from windtunnel.schemas.records import DECISION, DOCUMENT, document_id
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.stats.compare import Compare

HOSTILE = (
    "<script>document.title = 'planted'</script>",
    '"><img src=x onerror="document.title=\'planted\'">',
    "</style></title><svg onload=\"document.title='planted'\">",
    "{{ 'x' ~ 7 * 191 }} {% raw %} ${7*191} <!-- ]]>",
    "turned \u202e dnuora, a zero\x00 byte, an escape \x1b[31m sequence",
)
SOURCES = ("docs", "plays", "<b>bold</b> & \"quoted\" 'source'")
RECIPE: dict[str, Any] = {
    "question": "Does <i>cleaning</i> help & by how much?",
    "store": "runs/test",
    "corpora": {
        "raw": {"source": {"jsonl": "corpus/*.jsonl"}},
        "filtered": {"from": "raw", "rules": [{"length": {"min_words": 60, "max_words": 100}}]},
        "deduped": {"from": "filtered", "dedup": {"minhash": {"threshold": 0.72}}},
    },
    "held_out": {"from": "raw", "share": 0.1, "where": "lang = en"},
    "mixes": {"raw": {"raw": 1.0}, "filtered": {"filtered": 1.0}, "deduped": {"deduped": 0.5, "raw": 0.5}},
    "compare": {"baseline": "raw", "margin": 0.02},
}
RESULT = {
    "mix": "raw", "seed": 0, "config": "0" * 32, "objective": "causal_lm", "parameters": 123_456, "tokens": 60_000,
    "steps": 10, "bytes_trained": 240_000, "flops": 1.5e12, "seconds": 1.0, "cpu_seconds": 1.0,
    "tokens_per_second": 60_000.0, "final_loss": 3.0,
}  # fmt: skip


class Store(NamedTuple):
    """A recipe with its artifacts."""

    recipe: dict[str, Any]
    artifacts: dict[str, Artifact]


def seal(
    root: Path, step: str, counts: Counts, config: dict[str, Any], inputs: dict[str, Artifact], **cost
) -> Artifact:
    """Write the manifest of a directory that a step has filled."""
    folder = folder_of(root, step)
    names = {role: artifact.path.name for role, artifact in inputs.items()}
    manifest = Manifest(
        step=step,
        version=1,
        key=key_of(step, 1, config, names),
        config=config,
        inputs=names,
        counts=counts.check(step).model_dump(),
        seconds=cost.get("seconds", 1.5),
        cpu_seconds=2.5,
        peak_memory_bytes=200_000_000,
        bytes=12_345,
        versions={"python": "3.11", "windtunnel": "0"},
        git="abc1234",
    )
    manifest.write(folder / MANIFEST)
    return Artifact(folder)


def folder_of(root: Path, step: str) -> Path:
    folder = root / f"{step.replace(':', '.')}-00000000"
    folder.mkdir(exist_ok=True)
    return folder


def do(root: Path, step: str, work: Work, inputs: dict[str, Artifact]) -> Artifact:
    """Run a work for real."""
    counts = [work.run(inputs, folder_of(root, step), rank) for rank in range(work.shards(inputs))]
    return seal(root, step, Counts.total(counts), work.identity(), inputs)


def write_documents(root: Path) -> Artifact:
    """Two shards of 60 documents: short, long and fitting ones, hostile text in each kind."""
    folder = folder_of(root, "read:raw")
    (folder / "documents").mkdir(exist_ok=True)
    for shard in range(2):
        texts = []
        for k in range(60):
            length = (3, 80, 150)[k % 3]
            texts.append(
                f"{' '.join(HOSTILE) if k % 3 == 0 else ''} " + " ".join(f"w{shard}{k}" for _ in range(length))
            )
        sources = [SOURCES[k % 3] for k in range(60)]
        columns = [
            pa.array([document_id(s, t) for s, t in zip(sources, texts, strict=True)]),
            pa.array(texts, pa.large_string()),
            pa.array(sources),
            pa.nulls(60, pa.string()),
            pa.array(["en", "fr"] * 30),
            pa.nulls(60, pa.string()),
        ]
        table = pa.Table.from_arrays(columns, schema=DOCUMENT)
        pq.write_table(table, folder / "documents" / f"{shard:05d}.parquet", row_group_size=25)
    config = {"source": "jsonl", "params": {"path": "corpus/<x>.jsonl"}, "parts": [{}, {}]}
    write_text(folder / "origins.json", canonical_json([]))
    return seal(root, "read:raw", Counts(seen=123, kept=120, unreadable={"invalid_json": 3}, bytes=9000), config, {})


def write_measures(root: Path, documents: Artifact) -> Artifact:
    folder = folder_of(root, "measure:filtered")
    (folder / "measures").mkdir(exist_ok=True)
    for file in documents.files("documents"):
        frame = pl.read_parquet(file)
        frame = frame.select(
            "id",
            words=pl.col("text").str.split(" ").list.len().cast(pl.Int64),
            characters=pl.col("text").str.len_chars().cast(pl.Int64),
        )
        frame.write_parquet(folder / "measures" / file.name)
    return seal(root, "measure:filtered", Counts(seen=120, kept=120), {}, {"documents": documents})


def write_duplicates(root: Path, prior: Artifact, documents: Artifact) -> Artifact:
    """Drop every other surviving document as a near-duplicate of the one before it."""
    folder = folder_of(root, "minhash:deduped")
    for name in ("decisions", "clusters"):
        (folder / name).mkdir(exist_ok=True)
    total = dropped = 0
    for file in prior.files("decisions"):
        rows = pl.read_parquet(file)
        alive = np.flatnonzero(rows["reason"].is_null().to_numpy())
        gone = alive[1::2]
        reasons, steps = rows["reason"].to_list(), rows["step"].to_list()
        for row in gone:
            reasons[row], steps[row] = "minhash", "dedup"
        table = pa.table({"id": rows["id"].to_list(), "reason": reasons, "step": steps}, schema=DECISION)
        pq.write_table(table, folder / "decisions" / file.name)
        pairs = alive[: 2 * len(gone)]
        members = {
            "id": [rows["id"][int(row)] for row in pairs],
            "cluster": [int(row) - k % 2 for k, row in enumerate(pairs)],
            "size": [2] * len(pairs),
            "kept": [k % 2 == 0 for k in range(len(pairs))],
            "in_index": [False] * len(pairs),
        }
        members["cluster"] = [int(pairs[k - k % 2]) for k in range(len(pairs))]
        pq.write_table(pa.table(members, schema=CLUSTER), folder / "clusters" / file.name)
        total, dropped = total + len(alive), dropped + len(gone)
    counts = Counts(seen=total, kept=total - dropped, dropped={"minhash": dropped})
    return seal(root, "minhash:deduped", counts, {"reason": "minhash"}, {"documents": documents, "decisions": prior})


def write_held_out(root: Path, corpus: Artifact) -> Artifact:
    folder = folder_of(root, "held_out")
    (folder / "documents").mkdir(exist_ok=True)
    frame = pl.concat([pl.read_parquet(f) for f in corpus.files("kept")]).head(30)
    frame.select(DOCUMENT.names).write_parquet(folder / "documents" / "00000.parquet")
    write_text(folder / "held_out.json", json.dumps({"drawn": 36, "near_duplicates": 6, "beyond_limit": 0}))
    counts = Counts(seen=120, kept=36, dropped={"not_drawn": 84})
    return seal(root, "held_out", counts, {"share": 0.1, "where": "lang = en", "documents": None}, {"corpus": corpus})


def write_mix(root: Path, name: str, rows: list[tuple[str, str, int, float]]) -> Artifact:
    folder = folder_of(root, f"mix:{name}")
    tokens = sum(row[2] for row in rows)
    write_text(
        folder / "mix.json", json.dumps({"domains": [], "token_budget": tokens, "max_epochs": 4, "context": 256})
    )
    columns = {
        "domain": [row[0] for row in rows],
        "source": [row[1] for row in rows],
        "tokens": [row[2] for row in rows],
        "bytes": [4 * row[2] for row in rows],
        "documents": [10 for _ in rows],
        "epochs": [row[3] for row in rows],
    }
    pl.DataFrame(columns).write_parquet(folder / "realised.parquet")
    return seal(root, f"mix:{name}", Counts(seen=50, kept=50, tokens=tokens), {}, {})


def write_run(root: Path, mix: str, seed: int, held_out: Artifact, shift: float) -> Artifact:
    folder = folder_of(root, f"train:{mix}:{seed}")
    documents = pl.read_parquet(held_out.files("documents")[0])
    rng = np.random.default_rng([seed, len(mix)])
    size = documents["text"].str.len_bytes().to_numpy()
    text = np.random.default_rng(5).normal(2, 0.2, len(size))
    bits = text + shift + rng.normal(0, 0.004) + rng.normal(0, 0.02, len(size))
    scores = {
        "document": documents["id"],
        "source": documents["source"],
        "bytes": size,
        "nats": bits * size * np.log(2),
    }
    pl.DataFrame(scores).write_parquet(folder / "scores.parquet")
    steps = np.arange(1, 61)
    log = {"step": steps, "tokens": steps * 1000, "loss": 3 + 5 * np.exp(-steps / 9) + rng.normal(0, 0.02, 60)}
    pl.DataFrame(log).write_parquet(folder / "log.parquet")
    write_text(folder / "result.json", json.dumps(RESULT))
    return seal(
        root, f"train:{mix}:{seed}", Counts(seen=60, kept=60, tokens=60_000), {}, {"held_out": held_out}, seconds=70
    )


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Store:
    """A finished store of the recipe above."""
    root = tmp_path_factory.mktemp("store")
    made: dict[str, Artifact] = {}
    documents = made["read:raw"] = write_documents(root)
    made["corpus:raw"] = do(root, "corpus:raw", Corpus(), {"documents": documents})
    measures = made["measure:filtered"] = write_measures(root, documents)
    decide = Decide(rules=({"length": {"min_words": 60, "max_words": 100}},), step="rules:filtered")
    first = made["decide:filtered"] = do(root, "decide:filtered", decide, {"measures": measures})
    both = {"documents": documents, "measures1": measures}
    made["corpus:filtered"] = do(root, "corpus:filtered", Corpus(), {**both, "decisions": first})
    second = made["minhash:deduped"] = write_duplicates(root, first, documents)
    made["corpus:deduped"] = do(root, "corpus:deduped", Corpus(), {**both, "decisions": second})
    held = made["held_out"] = write_held_out(root, made["corpus:raw"])
    for name, (kept, same, near) in {"raw": (100, 15, 5), "filtered": (50, 4, 2)}.items():
        counts = Counts(seen=kept + same + near, kept=kept, dropped={"held_out": same, "near_held_out": near})
        (folder_of(root, f"train_split:{name}")).mkdir(exist_ok=True)
        made[f"train_split:{name}"] = seal(root, f"train_split:{name}", counts, {}, {"held_out": held})
    made["mix:raw"] = write_mix(root, "raw", [("raw", s, 20_000, 0.5) for s in SOURCES])
    made["mix:filtered"] = write_mix(root, "filtered", [("filtered", s, 20_000, 6.5) for s in SOURCES])
    made["mix:deduped"] = write_mix(root, "deduped", [("deduped", "docs", 30_000, 1.0), ("raw", "plays", 30_000, 1.0)])
    runs = {}
    for mix, shift in {"raw": 0.0, "filtered": -0.15, "deduped": 0.002}.items():
        for seed in range(3):
            runs[mix, seed] = made[f"train:{mix}:{seed}"] = write_run(root, mix, seed, held, shift)
    inputs = {f"run:{mix}:{seed}": run for (mix, seed), run in runs.items()} | {"held_out": held}
    made["compare"] = do(root, "compare", Compare(baseline="raw", margin=0.02), inputs)
    return Store(RECIPE, made)
