"""Sources of many small files: several to a task, named in the plan by their number and a digest of the listing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from windtunnel.pipelines.readers.paths import Fingerprint, digest_of, folder_of, origin_of
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.sources._source import SPLIT_BYTES, FileSource
from windtunnel.schemas.errors import InputError

GROUP_FILES = 4096


class GroupedSource(FileSource):
    """One document a file. A part is a run of the sorted listing, so that a million files make a short plan."""

    def parts(self) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        held: list[Fingerprint] = []
        first = size = 0
        files = self.files()
        for number, path in enumerate(files):
            held.append(Fingerprint.of(path, self.content_hash))
            size += held[-1].size
            if size >= SPLIT_BYTES or len(held) == GROUP_FILES or number == len(files) - 1:
                parts.append({"first": first, "files": len(held), "size": size, "digest": digest_of(held)})
                first, held, size = number + 1, [], 0
        return parts

    def place(self, part: dict[str, Any]) -> str:
        """Return which files of the listing a part holds."""
        return f"file {part['first'] + 1} to {part['first'] + part['files']} of {self.path}"

    def group(self, part: dict[str, Any]) -> Iterator[File]:
        """Yield the part's files; raises InputError when they are not what was planned."""
        files = self.files()[part["first"] : part["first"] + part["files"]]
        if digest_of([Fingerprint.of(path, self.content_hash) for path in files]) != part["digest"]:
            raise InputError(f"files of {self.path} changed while the run was going: run again, and they are read anew")
        yield from files

    def group_origin(self, path: File) -> str:
        """Return the directory's name: one file a document would make one origin a document."""
        return self.name or origin_of(folder_of(path))
