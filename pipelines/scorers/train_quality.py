"""The step that trains a fastText quality classifier on two corpora and evaluates it on held-out documents."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
from blake3 import blake3
from pydantic import Field

from windtunnel.pipelines.scorers.fasttext_model import PREFIX, lines, opened, probabilities
from windtunnel.pipelines.scorers.fasttext_training import train_supervised
from windtunnel.pipelines.scorers.metrics import figures
from windtunnel.pipelines.shards.reader import batches
from windtunnel.schemas.artifact import Artifact, write_text, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts, Work

ROLES = ("positive", "negative")  # also the model's labels
ROWS = 512


class TrainQuality(Work):
    """Train a classifier of `positive` against `negative` documents (Li et al. 2024: instruction-like against random).

    Inputs: corpus artifacts `positive` and `negative` (their `kept`). Outputs: `model.bin`, and `quality.json` with
    counts, precision, recall and calibration on held-out documents. The sample is balanced: from each corpus as many
    documents as the smaller one has, at most `documents`, those with the lowest hashes of their ids. A document in both
    corpora counts as positive. The share `held_out`, by a hash of the text that keeps copies together, is used for
    evaluation only. One thread and one seed: equal inputs give equal bytes on equal machines. DCLM uses dimensions 100
    and buckets 2,000,000. Memory: 4 x dimensions x buckets bytes (as model.bin), 8 bytes per document, and about 200
    per sampled document.
    """

    version: ClassVar[int] = 1
    documents: int = Field(default=200_000, ge=10)  # per class
    held_out: float = Field(default=0.1, gt=0, lt=1)
    ngrams: int = Field(default=2, ge=1, le=5)
    dimensions: int = Field(default=64, ge=1, le=1000)
    buckets: int = Field(default=1 << 18, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    epochs: int = Field(default=5, ge=1)
    seed: int = Field(default=0, ge=0)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        hashes = {role: _hashes(inputs[role]) for role in ROLES}
        known = np.sort(hashes["positive"])
        fresh = {"positive": known, "negative": hashes["negative"][~_inside(hashes["negative"], known)]}
        size = min(self.documents, *map(len, fresh.values()))
        if size < 10:
            numbers = " and ".join(f"{len(fresh[role]):,} {role}" for role in ROLES)
            raise InputError(f"a classifier needs at least 10 documents of each class, there are {numbers}")
        limits = {role: np.partition(fresh[role], size - 1)[size - 1] for role in ROLES}
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".sample-") as scratch:
            sample = Sample(Path(scratch) / "lines", self.held_out)
            for role in ROLES:
                sample.take(role, inputs[role], limits[role], known if role == "negative" else None)
            train = Path(scratch) / "train"
            sample.write_training(train)
            if not sample.of("train") or not sample.of("held_out"):
                raise InputError(f"{size} documents of each class are too few to hold out {self.held_out:.0%} of them")
            self._train(train, out / "model.bin")
            truth, scores = sample.scores(out / "model.bin")
        shared = int(_inside(hashes["negative"], known).sum())
        counts = self._counts(hashes, sample, shared)
        report = {
            "documents": {role: {"corpus": len(hashes[role]), "sampled": sample.count(role)} for role in ROLES},
            "in_both": shared,
            "trained_on": sample.of("train"),
            "held_out": figures(truth, scores),
        }
        write_text(out / "quality.json", json.dumps(report, indent=1) + "\n")
        return counts

    def _train(self, text: Path, target: Path) -> None:
        with writing(target) as partial:
            train_supervised(
                text,
                partial,
                lr=self.learning_rate,
                dim=self.dimensions,
                epoch=self.epochs,
                wordNgrams=self.ngrams,
                bucket=self.buckets,
                seed=self.seed,
            )

    def _counts(self, hashes: Mapping[str, np.ndarray], sample: Sample, shared: int) -> Counts:
        seen = sum(map(len, hashes.values()))
        kept = sum(sample.count(role) for role in ROLES)
        dropped = {"in_both": shared, "not_sampled": seen - kept - shared}
        return Counts(seen=seen, kept=kept, dropped={k: v for k, v in dropped.items() if v}).check("quality")


class Sample:
    """The sampled documents as lines of a file, with an index of about 200 bytes per document in memory."""

    def __init__(self, path: Path, held_out: float) -> None:
        self.path = path
        self.places: list[tuple[int, int, int, str, str]] = []  # order, offset, bytes, role, part
        self._border = int(held_out * 2**64)
        self._end = 0

    def take(self, role: str, corpus: Artifact, limit: np.uint64, excluded: np.ndarray | None) -> None:
        """Add the documents of a corpus with id hashes up to `limit`, except those with a hash in `excluded`."""
        with self.path.open("ab") as spool:
            for batch in _batches(corpus, ["id", "text"]):
                hashes = _hash(batch.column("id"))
                chosen = hashes <= limit
                if excluded is not None:
                    chosen &= ~_inside(hashes, excluded)
                part = batch.filter(pa.array(chosen))
                texts = lines(pl.Series("text", part.column("text").cast(pa.large_string())))
                for order, text in zip(hashes[chosen].tolist(), texts.to_list(), strict=True):
                    line = text.encode()
                    share = int.from_bytes(blake3(line).digest()[:8], "little")
                    where = "held_out" if share < self._border else "train"
                    self.places.append((order, self._end, len(line), role, where))
                    self._end += spool.write(line)

    def write_training(self, target: Path) -> None:
        """Write the training documents in the order of their hashes, which mixes the classes."""
        with target.open("wb") as out:
            for line, role in self._read("train"):
                out.write(f"{PREFIX}{role} ".encode() + line + b"\n")

    def scores(self, model: Path) -> tuple[np.ndarray, np.ndarray]:
        """Return (is positive, probability) of the held-out documents; a document without a known word scores 0.5."""
        truth, scores = [], []
        rows = self._read("held_out")
        while batch := list(itertools.islice(rows, ROWS)):
            truth += [role == "positive" for _, role in batch]
            texts = pl.Series([line.decode() for line, _ in batch], dtype=pl.String)
            scores.append(probabilities(opened(model), texts, "positive"))
        return np.array(truth), np.nan_to_num(np.concatenate(scores), nan=0.5)

    def count(self, role: str) -> int:
        """Return the number of documents of a class."""
        return sum(place[3] == role for place in self.places)

    def of(self, part: str) -> int:
        """Return the number of documents in the part `train` or `held_out`."""
        return sum(place[4] == part for place in self.places)

    def _read(self, part: str) -> Iterator[tuple[bytes, str]]:
        with self.path.open("rb") as spool:
            for _, offset, size, role, where in sorted(self.places):
                if where == part:
                    spool.seek(offset)
                    yield spool.read(size), role


def _batches(corpus: Artifact, columns: list[str]) -> Iterator[pa.RecordBatch]:
    for path in corpus.files("kept"):
        yield from batches(path, columns, ROWS)


def _hashes(corpus: Artifact) -> np.ndarray:
    parts = [_hash(batch.column("id")) for batch in _batches(corpus, ["id"])]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _hash(ids: pa.Array) -> np.ndarray:
    """Return 64 bits of blake3 of each id, since user-defined ids may not be uniformly distributed."""
    digests = b"".join(blake3(name.encode()).digest()[:8] for name in ids.to_pylist())
    return np.frombuffer(digests, "<u8")


def _inside(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    if not len(known):
        return np.zeros(len(values), bool)
    positions = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return known[positions] == values
