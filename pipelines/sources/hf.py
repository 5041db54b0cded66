"""Data sets of the Hugging Face library: on the hub (streamed), in a local directory, or saved to disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from windtunnel.pipelines.readers.batches import Stated
from windtunnel.pipelines.readers.columns import Slice, records
from windtunnel.pipelines.readers.listing import LeftOut, is_saved
from windtunnel.pipelines.readers.paths import listing_digest
from windtunnel.pipelines.sources._source import Example, RecordSource
from windtunnel.schemas.errors import InputError, nearest

_ROWS = 128  # at a time: rows of a hub data set have no known size


class Hf(RecordSource):
    """One document a row; nothing is downloaded whole, and no code of a data set is run.

    path: a name on the hub (`owner/name`) or a local directory. config, split: as in `datasets.load_dataset`.
    revision: a branch, tag or commit; the commit it means when the plan is made is what is read.
    """

    version: ClassVar[int] = 2
    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".jsonl", ".json", ".arrow", ".csv", ".txt")
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"a.jsonl": '{"text": "One."}\n{"text": ""}\n'}, ("One.",), {"empty_text": 1}),
    )
    path: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None

    def parts(self) -> list[dict[str, Any]]:
        local = Path(self.path).expanduser()
        identity = (
            {"digest": listing_digest(local, self.content_hash)} if local.exists() else {"revision": self._commit()}
        )
        data = self._load(identity.get("revision"))
        self.fields(Path(self.path)).check(list(data.features or {self.text: None}), self.path)
        return [{**identity, "shard": shard, "of": data.num_shards} for shard in range(data.num_shards)]

    def left_out(self) -> list[LeftOut]:
        return []  # which files are data is the library's decision

    def records(self, part: dict[str, Any]) -> Iterator[Any]:
        if "digest" in part and part["digest"] != listing_digest(Path(self.path).expanduser(), self.content_hash):
            raise InputError(f"{self.path} changed while the run was going: run again, and it is read anew")
        fields = self.fields(Path(self.path))
        data = self._load(part.get("revision")).shard(part["of"], part["shard"])
        row = 0
        try:
            for table in data.with_format("arrow").iter(batch_size=_ROWS):
                for batch in table.select(fields.wanted(table.schema.names)).combine_chunks().to_batches():
                    yield from records(Slice(batch, f"{self.path}:{self.split}:{part['shard']}", row), fields)
                    row += batch.num_rows
        except Exception as error:  # the library wraps whatever its readers raise in types of its own
            raise InputError(
                f"{self.path}, split {self.split}, shard {part['shard']}, after row {row}: {str(error)[:300]}"
            ) from error
        if (saved := self._saved()) is not None:
            yield Stated(len(saved.shard(part["of"], part["shard"], contiguous=True)))

    def _load(self, revision: str | None) -> Any:
        """Return the split as an iterable data set; raises InputError that says what could not be found."""
        import datasets

        local = Path(self.path).expanduser()
        try:
            if (split := self._saved()) is not None:
                return split.to_iterable_dataset(num_shards=max(1, len(split.cache_files)))
            return datasets.load_dataset(
                str(local) if local.exists() else self.path,
                self.config,
                split=self.split,
                revision=revision,
                streaming=True,
            )
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"data set {self.path!r} (config {self.config}, split {self.split}) cannot be loaded: "
                f"{type(error).__name__}: {str(error)[:300]}"
            ) from error

    def _saved(self) -> Any:
        """Return the split of a data set that was saved to disk, which knows its length; None for any other."""
        import datasets

        local = Path(self.path).expanduser()
        if not is_saved(local):
            return None
        saved = datasets.load_from_disk(str(local))
        if isinstance(saved, datasets.DatasetDict) and self.split not in saved:
            raise InputError(f"data set {self.path!r} has no split {self.split!r}: {nearest(self.split, saved)}")
        return saved[self.split] if isinstance(saved, datasets.DatasetDict) else saved

    def _commit(self) -> str:
        """Return the commit that `revision` means now, so that a run is of one state of the data."""
        from huggingface_hub import HfApi

        try:
            return str(HfApi().dataset_info(self.path, revision=self.revision).sha)
        except Exception as error:
            raise InputError(
                f"{self.path!r} is no local directory, and the hub could not be asked for it "
                f"({type(error).__name__}: {str(error)[:200]}). Check the name, the network, or HF_TOKEN"
            ) from error
