"""What identifies the bytes of a file, and the origin that its name tells."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from blake3 import blake3

from windtunnel.pipelines.remote import files as remote
from windtunnel.pipelines.remote.address import scheme_of
from windtunnel.pipelines.remote.files import BLOCK_BYTES, File, RemoteFile
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import escaped

_ENDINGS = re.compile(
    r"(\.(jsonl?|ndjson|parquet|txt|text|md|rst|csv|tsv|arrow|feather|ipc|html?|xhtml|warc|wet|wat|gz|zstd?|bz2|xz|"
    r"snappy|lz4))+$",
    re.I,
)
# a lone digit is part of a name: c4, gpt-2
_NUMBER = r"(\d{2,}|(part|shard|chunk|split)[-_.]?\d+)([-_.]?of[-_.]?\d+)?"
_MARK = r"([0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|c\d{3})"
_SHARD = re.compile(rf"(^(data[-_.])?{_NUMBER}|^{_MARK}|[-_.]{_NUMBER}|[-_.]{_MARK})+$", re.I)


class Fingerprint(NamedTuple):
    """A file as it was when the plan was made; reading another file than the planned one is refused.

    A local file has `mtime_ns`, a remote one `version`. `content` is the digest of the bytes, where it was asked for.
    """

    path: str
    size: int
    mtime_ns: int | None
    version: str | None = None
    content: str | None = None

    @staticmethod
    def of(path: File, content: bool = False) -> Fingerprint:
        """Return a file's state, with the digest of its bytes where `content` is true, which reads all of them.

        Raises InputError when the file cannot be read, or has a name that no JSON text can hold.
        """
        if isinstance(path, RemoteFile):
            return Fingerprint(path.url, path.size, None, path.version, content_digest(path) if content else None)
        if not os.access(path, os.R_OK):
            raise InputError(f"{shown(path)} cannot be read: check its permissions (is it yours to read?)")
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise InputError(f"{shown(path)} has a name that is not UTF-8: rename it") from None
        stat = path.stat()
        return Fingerprint(str(path), stat.st_size, stat.st_mtime_ns, content=content_digest(path) if content else None)

    def part(self, **more: Any) -> dict[str, Any]:
        """Return the JSON-able shard of a plan."""
        return {**{name: value for name, value in self._asdict().items() if value is not None}, **more}

    @staticmethod
    def check(part: dict[str, Any]) -> File:
        """Return the part's file; raises InputError if it is another than the one planned."""
        place = part["path"]
        path: File | None
        if scheme_of(place):
            if (path := remote.current(place)) is None:
                raise InputError(f"{place} is gone since the plan was made: run again")
            state = path.size, path.version
        else:
            path = Path(place)
            try:
                stat = path.stat()
            except OSError as error:
                raise InputError(f"{path} is gone since the plan was made ({error.strerror}): run again") from error
            state = stat.st_size, stat.st_mtime_ns
        if state != (part["size"], part.get("version", part.get("mtime_ns"))):
            raise InputError(f"{path} changed while the run was going: run again, and it is read anew")
        return path


def content_digest(path: File) -> str:
    """Return blake3 over a file's bytes, 32 hexadecimal digits, in bounded memory."""
    digest = blake3()
    with path.open("rb") as handle:
        while piece := handle.read(BLOCK_BYTES):
            digest.update(piece)
    return digest.hexdigest()[:32]


def listing_digest(folder: Path, content: bool = False) -> str:
    """Return a digest over the names, sizes and times of all files below a directory, and over their bytes if asked."""
    return digest_of([Fingerprint.of(path, content) for path in sorted(folder.rglob("*")) if path.is_file()])


def digest_of(files: Sequence[Fingerprint]) -> str:
    """Return a digest over the fingerprints of files, 32 hexadecimal digits of blake3."""
    digest = blake3()
    for file in files:
        state = file.version if file.mtime_ns is None else file.mtime_ns
        digest.update(f"{file.path}\x00{file.size}\x00{state}\x00{file.content or ''}".encode())
    return digest.hexdigest()[:32]


def folder_of(path: PurePath | RemoteFile) -> PurePath:
    """Return the directory in which a file is found, for its name; a link lies where it is, not where it leads."""
    if isinstance(path, RemoteFile):
        return path.pure.parent
    return path.parent.resolve() if isinstance(path, Path) else path.parent


def origin_of(path: PurePath | RemoteFile) -> str:
    """Return the data set of a file: its name without endings and shard numbers, or its directory's if nothing is left.

    `news/part-00001-of-00010.jsonl.gz` is `news`, `wiki-0003.parquet` is `wiki`, `books.txt` is `books`. Hashes and
    identifiers that writers of shards add are no part of the name either.
    """
    stem = _ENDINGS.sub("", path.name)
    name = _SHARD.sub("", stem) or folder_of(path).name or stem
    return os.fsencode(name).decode("utf-8", "replace")


def shown(path: File | str) -> str:
    """Return a path as text that any file can hold: without bytes that are not UTF-8, control characters escaped."""
    return escaped(os.fsencode(str(path)).decode("utf-8", "replace"))
