"""Any file reader of datatrove as a source: what it yields becomes documents, what it leaves out is counted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pyarrow as pa
from pydantic import Field, model_validator

from windtunnel.pipelines.readers.batches import Unreadable, batches
from windtunnel.pipelines.readers.fields import Fields
from windtunnel.pipelines.readers.paths import Fingerprint, origin_of
from windtunnel.pipelines.recipe.datatrove_block import Call, Kind, Lost, build, kind_of, parse, read_with
from windtunnel.pipelines.sources._source import DOCUMENT_BYTES, FILES, Example, Source
from windtunnel.schemas.errors import InputError, RecipeError, WindtunnelError

SILENT = {"WarcReader": "warc"}  # readers that pass over what they cannot decode without a word, and ours instead


class Block(Source):
    """Read with a datatrove reader, one file a shard.

    call: the reader's constructor as text, with literals as arguments; it is parsed and never evaluated, and only
    readers of files below `datatrove.pipeline.` are built. The reader's `limit` and `skip` go by file. name: what the
    documents' `source` column says; by default the file's name without its endings. max_document_bytes: a longer
    document is counted as unreadable. The metadata, and datatrove's id as `id`, go into `meta`; `url` and `language`
    into their columns. What the reader only warns of (a line that is no JSON) or passes over (no text) is unreadable.
    Its reader of WARC is refused, since it passes over pages without a word: `warc` counts them.
    A folder may lie wherever fsspec reaches; options and secrets are no part of a recipe: the environment holds them.
    """

    version: ClassVar[int] = 2
    primary: ClassVar[str | None] = "call"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            {"a.jsonl": '{"text": "One."}\nno JSON\n'},
            ("One.",),
            {"reader_warning": 1},
            {"call": f"datatrove.pipeline.readers.JsonlReader('{FILES}')"},
        ),
    )
    call: str
    name: str | None = None
    max_document_bytes: int = Field(default=DOCUMENT_BYTES, gt=0)

    @model_validator(mode="after")
    def _readable(self) -> Block:
        try:
            kind = kind_of(self.parsed)
        except RecipeError as error:
            raise ValueError(str(error)) from error
        if kind != Kind.READER:
            raise ValueError(f"{self.parsed.path} is no reader of files ({kind}): among the rules it has its place")
        if ours := SILENT.get(self.parsed.class_name):
            raise ValueError(
                f"{self.parsed.class_name} passes over what it cannot decode without a word: the source `{ours}` reads "
                "such files, and counts it"
            )
        places = [*self.parsed.positional[:2], *(self.parsed.named.get(n) for n in ("data_folder", "paths_file"))]
        for place in places:
            if place is not None and (not isinstance(place, str) or _may_hold_secrets(place)):
                raise ValueError(
                    "data_folder and paths_file are written as plain paths or addresses: options and secrets would "
                    "end in manifests, and come from the environment instead"
                )
        return self

    @cached_property
    def parsed(self) -> Call:
        """The call in parts."""
        return parse(self.call)

    def parts(self) -> list[dict[str, Any]]:
        reader = build(self.parsed)
        folder = reader.data_folder
        try:
            files = _files(reader)
            parts = [_fingerprint(folder, file) for file in files]
        except WindtunnelError:
            raise
        except Exception as error:  # file systems raise types of their own
            raise InputError(f"{folder.path} cannot be listed: {type(error).__name__}: {str(error)[:200]}") from error
        if not parts:
            raise InputError(f"{self.parsed.class_name} finds no file in {folder.path}: check path and glob_pattern")
        return parts

    def read(self, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Unreadable]:
        reader, file = build(self.parsed), part["file"]
        if part != _fingerprint(reader.data_folder, file):
            raise InputError(f"{file} changed while the run was going: run again, and it is read anew")
        origin = self.name or origin_of(Path(file))
        fields = Fields("text", "url", "language", None, True, origin, self.max_document_bytes)
        return batches(
            Unreadable(origin, *item) if isinstance(item, Lost) else fields.row(item[1], item[0])
            for item in read_with(reader, file)
        )


def _may_hold_secrets(place: str) -> bool:
    parts = urlsplit(place)
    return bool(parts.scheme) and ("@" in parts.netloc or bool(parts.query))


def _files(reader: Any) -> list[str]:
    """Return the files that the reader's tasks would share, in name order."""
    from datatrove.io import get_shard_from_paths_file

    if reader.paths_file:
        return [path for path in get_shard_from_paths_file(reader.paths_file, 0, 1) if path]
    return reader.data_folder.list_files(recursive=reader.recursive, glob_pattern=reader.glob_pattern)


def _fingerprint(folder: Any, file: str) -> dict[str, Any]:
    """Return the JSON-able shard of a file: size and time where it is local, else what its file system knows."""
    from fsspec.implementations.local import LocalFileSystem

    if isinstance(folder.fs, LocalFileSystem):
        return Fingerprint.of(Path(folder.resolve_paths(file))).part(file=file)
    known = folder.info(file)
    state = [str(known.get(word)) for word in ("size", "ETag", "mtime") if known.get(word) is not None]
    return {"file": file, "path": f"{folder.path}/{file}", "state": " ".join([str(folder.ukey(file)), *state])}
