"""The tokens step: kept documents -> token shards in datatrove's layout, with a sidecar that names each document.

tokens/NNNNN.ds        raw little-endian token ids, u16, or u32 when the vocabulary passes 65,536
tokens/NNNNN.ds.index  u64 a document: the cumulative end of its tokens
documents/NNNNN.parquet  id, source, lang, bytes, tokens, text_hash; row i is entry i of the index

The end-of-text token follows each document and is counted in its tokens. datatrove's DatatroveFolderDataset reads the
`tokens` folder as it is. Corpora made from one another share most of their texts: the tokens of a text that was encoded
for the larger corpus are copied from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from windtunnel.pipelines.datasets.tokenizer import FOLDER
from windtunnel.pipelines.shards.reader import ShardWork, batches
from windtunnel.pipelines.shards.writer import shard_writer
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts
from windtunnel.trainer.data.encoder import Encoder, open_encoder

HASH_BYTES = 16
SIDECAR = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("lang", pa.string()),
        pa.field("bytes", pa.int64(), nullable=False),  # UTF-8 bytes of the text
        pa.field("tokens", pa.int64(), nullable=False),  # end-of-text included
        pa.field("text_hash", pa.binary(HASH_BYTES), nullable=False),  # of the UTF-8 bytes, by blake3
    ]
)
BATCH_DOCUMENTS = 512
LARGEST_U16, LARGEST_U32 = 1 << 16, 1 << 32


class Tokens(ShardWork):
    """Encode a corpus (input role `corpus`) with a tokenizer (role `tokenizer`), one task a shard of the corpus.

    Role `known`, if given: the tokens, by the same tokenizer, of a corpus that this one was made from. Tokens of texts
    in its shard of the same number are copied; the bytes written are the same with and without it. Memory: 32 bytes a
    document of that shard.
    """

    version: ClassVar[int] = 3
    shards_of: ClassVar[tuple[str, str]] = ("corpus", "kept")
    aids: ClassVar[frozenset[str]] = frozenset({"known"})

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        if number := super().shards(inputs):
            return number
        raise InputError(f"{inputs['corpus'].path.name}: the corpus has no shard in kept/")

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        encoder = open_encoder(inputs["tokenizer"].path / FOLDER)
        dtype = token_dtype(encoder.vocabulary)
        corpus, name = inputs["corpus"].files("kept")[rank], f"{rank:05d}"
        known = _Known(inputs["known"].path, name, dtype) if "known" in inputs else None
        counts = Counts()
        copied = 0
        ends: list[np.ndarray] = []
        with (
            writing(out / "tokens" / f"{name}.ds") as tokens_file,
            tokens_file.open("wb") as handle,
            shard_writer(out, "documents", rank, SIDECAR) as sidecar,
        ):
            for batch in batches(corpus, ["id", "text", "source", "lang"], BATCH_DOCUMENTS):
                hashes = b"".join(blake3(text.as_buffer()).digest(HASH_BYTES) for text in batch["text"])
                old = known.find(hashes) if known else [None] * len(batch)
                lengths = _write_tokens(batch, old, encoder, dtype, handle)
                copied += sum(ids is not None for ids in old)
                counts.seen += len(batch)
                kept = _rows(batch, lengths, hashes).filter(pa.array(lengths > 1))  # 1: end-of-text of an empty text
                counts.kept += len(kept)
                counts.bytes += int(kept["bytes"].to_numpy().sum())
                counts.tokens += int(lengths[lengths > 1].sum())
                ends.append(lengths[lengths > 1])
                sidecar.write_table(kept)
        if empty := counts.seen - counts.kept:
            counts.dropped["empty"] = empty
        if known:
            counts.notes["copied"] = copied
        with writing(out / "tokens" / f"{name}.ds.index") as index_file:
            cumulative = np.cumsum(np.concatenate([*ends, np.empty(0, np.int64)])).astype("<u8")
            index_file.write_bytes(cumulative.tobytes())
        return counts


def token_dtype(vocabulary: int) -> np.dtype:
    """Return the little-endian type of a token on disk: u16 while every id fits, else u32.

    Raises InputError for ids beyond that.
    """
    if vocabulary > LARGEST_U32:
        raise InputError(f"the tokenizer's largest id is {vocabulary - 1:,}, and a token on disk has 4 bytes at most")
    return np.dtype("<u2" if vocabulary <= LARGEST_U16 else "<u4")


class _Known:
    """The tokens of a shard's texts that were encoded before, found by the texts' hashes."""

    def __init__(self, folder: Path, name: str, dtype: np.dtype) -> None:
        sidecar, file = folder / "documents" / f"{name}.parquet", folder / "tokens" / f"{name}.ds"
        self._tokens = np.memmap(file, dtype, "r") if file.exists() and file.stat().st_size else np.empty(0, dtype)
        columns = ["tokens", "text_hash"]
        rows = pq.read_table(sidecar, columns=columns) if len(self._tokens) else SIDECAR.empty_table().select(columns)
        high, low = _halves(b"".join(_whole(chunk) for chunk in rows["text_hash"].chunks))
        order = np.argsort(high, kind="stable")
        lengths = rows["tokens"].to_numpy()
        self._high, self._low = high[order], low[order]
        self._ends, self._lengths = np.cumsum(lengths)[order], lengths[order]

    def find(self, hashes: bytes) -> list[np.ndarray | None]:
        """Return the tokens, end-of-text included, of each text of a hash; None: not known."""
        high, low = _halves(hashes)
        if not len(self._high):
            return [None] * len(high)
        at = np.minimum(np.searchsorted(self._high, high), len(self._high) - 1)
        known = (self._high[at] == high) & (self._low[at] == low)
        spans = zip(known, self._ends[at] - self._lengths[at], self._ends[at], strict=True)
        return [self._tokens[start:end] if same else None for same, start, end in spans]


def _whole(hashes: pa.FixedSizeBinaryArray) -> pa.Buffer:
    return hashes.buffers()[1].slice(hashes.offset * HASH_BYTES, len(hashes) * HASH_BYTES)


def _halves(hashes: bytes) -> tuple[np.ndarray, np.ndarray]:
    high, low = np.frombuffer(hashes, "<u8").reshape(-1, 2).T
    return np.ascontiguousarray(high), np.ascontiguousarray(low)


def _write_tokens(
    batch: pa.RecordBatch, known: Sequence[np.ndarray | None], encoder: Encoder, dtype: np.dtype, handle: BinaryIO
) -> np.ndarray:
    """Append each document's tokens and the end; return int64 lengths [documents]. Empty documents are not written."""
    lengths = np.ones(len(batch), np.int64)
    tail = np.array([encoder.end_of_text], dtype)
    new = encoder.encode([text.as_py() for text, ids in zip(batch["text"], known, strict=True) if ids is None])
    for row, ids in enumerate(known):
        whole = np.append(next(new).astype(dtype), tail) if ids is None else ids
        lengths[row] = len(whole)
        if len(whole) > 1:
            handle.write(whole.tobytes())
    return lengths


def _rows(batch: pa.RecordBatch, lengths: np.ndarray, hashes: bytes) -> pa.Table:
    size = pl.Series(values=pl.from_arrow(batch["text"])).str.len_bytes().cast(pl.Int64).to_arrow()
    columns = [batch["id"], batch["source"], batch["lang"], size, pa.array(lengths)]
    columns.append(
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH_BYTES), len(batch), [None, pa.py_buffer(hashes)])
    )
    return pa.Table.from_arrays(columns, schema=SIDECAR)
