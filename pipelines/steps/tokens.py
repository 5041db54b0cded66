"""The tokens step: kept documents -> token shards in datatrove's layout, with a sidecar that names each document.

tokens/NNNNN.ds        raw little-endian token ids, u16, or u32 when the vocabulary passes 65,536
tokens/NNNNN.ds.index  u64 a document: the cumulative end of its tokens
documents/NNNNN.parquet  id, source, lang, bytes, tokens; row i is entry i of the index

The end-of-text token follows each document and is counted in its tokens. datatrove's DatatroveFolderDataset reads the
`tokens` folder as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.steps.tokenizer import FOLDER
from schemas.artifact import Artifact, writing
from schemas.errors import InputError
from schemas.work import Counts, Work

if TYPE_CHECKING:
    from trainer.encoder import Encoder

SIDECAR = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("lang", pa.string()),
        pa.field("bytes", pa.int64(), nullable=False),  # UTF-8 bytes of the text
        pa.field("tokens", pa.int64(), nullable=False),  # end-of-text included
    ]
)
BATCH_DOCUMENTS = 512
LARGEST_U16 = 1 << 16


class Tokens(Work):
    """Encode a corpus (input role `corpus`) with a tokenizer (role `tokenizer`), one task a shard of the corpus."""

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        files = inputs["corpus"].files("kept")
        if not files:
            raise InputError(f"{inputs['corpus'].path.name}: the corpus has no shard in kept/")
        return len(files)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from trainer.encoder import open_encoder

        encoder = open_encoder(inputs["tokenizer"].path / FOLDER)
        dtype = token_dtype(encoder.vocabulary)
        counts = Counts()
        name = f"{rank:05d}"
        ends: list[np.ndarray] = []
        with (
            writing(out / "tokens" / f"{name}.ds") as tokens_file,
            writing(out / "documents" / f"{name}.parquet") as sidecar_file,
        ):
            with (
                tokens_file.open("wb") as handle,
                pq.ParquetWriter(sidecar_file, SIDECAR, compression="zstd") as sidecar,
            ):
                for batch in _batches(inputs["corpus"].files("kept")[rank]):
                    lengths = _write_tokens(batch, encoder, dtype, handle)
                    table = _rows(batch, lengths)
                    counts.seen += len(batch)
                    kept = table.filter(pa.array(lengths > 1))  # nothing but end-of-text: an empty document
                    counts.kept += len(kept)
                    counts.bytes += int(kept["bytes"].to_numpy().sum())
                    counts.tokens += int(lengths[lengths > 1].sum())
                    ends.append(lengths[lengths > 1])
                    sidecar.write_table(kept)
        if empty := counts.seen - counts.kept:
            counts.dropped["empty"] = empty
        with writing(out / "tokens" / f"{name}.ds.index") as index_file:
            cumulative = np.cumsum(np.concatenate([*ends, np.empty(0, np.int64)])).astype("<u8")
            index_file.write_bytes(cumulative.tobytes())
        return counts


def token_dtype(vocabulary: int) -> np.dtype:
    """Return the little-endian type of a token on disk: u16 while every id fits, else u32."""
    return np.dtype("<u2" if vocabulary <= LARGEST_U16 else "<u4")


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    columns = ["id", "text", "source", "lang"]
    with pq.ParquetFile(file) as parquet:
        yield from parquet.iter_batches(batch_size=BATCH_DOCUMENTS, columns=columns)


def _write_tokens(batch: pa.RecordBatch, encoder: Encoder, dtype: np.dtype, handle: BinaryIO) -> np.ndarray:
    """Append each document's tokens and the end; return int64 lengths [documents]. Empty documents are not written."""
    lengths = np.ones(len(batch), np.int64)
    tail = np.array([encoder.end_of_text], dtype).tobytes()
    for row, ids in enumerate(encoder.encode(batch["text"].to_pylist())):
        lengths[row] += len(ids)
        if len(ids):
            handle.write(ids.astype(dtype).tobytes())
            handle.write(tail)
    return lengths


def _rows(batch: pa.RecordBatch, lengths: np.ndarray) -> pa.Table:
    size = pl.Series(values=pl.from_arrow(batch["text"])).str.len_bytes().cast(pl.Int64).to_arrow()
    columns = [batch["id"], batch["source"], batch["lang"], size, pa.array(lengths)]
    return pa.Table.from_arrays(columns, schema=SIDECAR)
