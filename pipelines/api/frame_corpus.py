"""Documents of a frame as a corpus in a store, keyed by their content: equal frames are one artifact."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from blake3 import blake3

from windtunnel.pipelines.api.frames import write
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.features.buffers import text_buffers
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.role import StepName
from windtunnel.schemas.work import Counts, Work


class FrameCorpus(Work):
    """Puts the documents of `file` into `kept/`; the key depends on `digest`, the hash of their content, alone."""

    digest: str
    file: str
    documents: int

    def identity(self) -> dict[str, Any]:
        return {"digest": self.digest}

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        with writing(out / "kept" / "00000.parquet") as partial:
            shutil.copyfile(self.file, partial)
        return Counts(seen=self.documents, kept=self.documents)


def corpus_of(documents: pa.Table, store: Path) -> Step:
    """Return the step that holds the documents (DOCUMENT); they are written into the store unless it has them."""
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder:
        file = Path(folder) / "documents.parquet"
        work = FrameCorpus(digest=_digest(documents), file=str(file), documents=documents.num_rows)
        step = Step(StepName.parse("corpus:frame"), work)
        if not step.artifact(store).done:
            write(documents, file)
            run([step], store, Where("inline"))
    return step


def _digest(table: pa.Table) -> str:
    """Return the hash of a table of strings, which does not depend on how it is cut into chunks."""
    digest = blake3()
    for name in table.column_names:
        column = table[name].cast(pa.large_string()).combine_chunks()
        data, ends = text_buffers(column)
        for part in (np.diff(ends), np.asarray(column.is_null()), data[ends[0] : ends[-1]]):
            digest.update(part.tobytes() if part.dtype != np.uint8 else part.data)
    return digest.hexdigest()[:32]
