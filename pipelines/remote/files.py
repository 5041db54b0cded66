"""Files of fsspec's file systems: which there are at an address, their state, and their bytes in bounded memory."""

from __future__ import annotations

import glob
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from windtunnel.pipelines.remote.failures import explained
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import escaped

HIDDEN, OTHER = "hidden", "of another format"
BLOCK_BYTES = 4 << 20  # of a request, and of what is read ahead
# what tells one content of a file from another, the best first; s3, gs, hf, abfs, http
_VERSIONS = ("ETag", "etag", "blob_id", "generation", "md5Hash", "checksum")
_TIMES = ("LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "created")


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address, with the part of pathlib's interface that readers use.

    size: in bytes. version: the entity tag or the time of change, as the file system gives it.
    """

    url: str
    size: int
    version: str

    def __str__(self) -> str:
        return self.url

    @property
    def pure(self) -> PurePosixPath:
        """The address as a path; for names only."""
        return PurePosixPath(self.url)

    @property
    def name(self) -> str:
        return self.pure.name

    @property
    def stem(self) -> str:
        return self.pure.stem

    @property
    def suffix(self) -> str:
        return self.pure.suffix

    @property
    def suffixes(self) -> list[str]:
        return self.pure.suffixes

    def open(self, mode: str = "rb", ahead: bool = True) -> io.RawIOBase:
        """Open for reading; `ahead` reads in blocks of 4 MB, else each read is one request for just its bytes.

        Every failure, also of a later read, is an InputError: a file that the network cut is not a short file.
        """
        assert mode == "rb"
        with explained(f"{self.url} cannot be read"):
            fs, path = opened(self.url)
            handle = fs.open(path, "rb", block_size=BLOCK_BYTES, cache_type="readahead" if ahead else "none")
        return _Reader(handle, self.url)


class _Reader(io.RawIOBase):
    """A file of fsspec whose failures are explained."""

    def __init__(self, handle: Any, url: str) -> None:
        self._handle, self._url = handle, url

    def readinto(self, buffer: Any) -> int:
        with explained(f"{self._url} cannot be read"):
            data = self._handle.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with explained(f"{self._url} cannot be read"):  # a server without ranges gives a stream
            return self._handle.seek(offset, whence)

    def tell(self) -> int:
        return self._handle.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._handle.close()
        super().close()


File = Path | RemoteFile


def opened(url: str) -> tuple[Any, str]:
    """Return the file system of an address and the path in it; what it remembers of listings is forgotten."""
    import fsspec

    fs, path = fsspec.url_to_fs(url)
    fs.invalidate_cache()
    return fs, path


def seekable(path: File) -> Any:
    """Return what pyarrow reads at any place: a local path itself, an open file for a remote one."""
    return path if isinstance(path, Path) else path.open(ahead=False)


def current(url: str) -> RemoteFile | None:
    """Return a file as it is now, None where there is none."""
    with explained(f"{url} cannot be read"):
        fs, path = opened(url)
        try:
            return _file(url, fs.info(path))
        except FileNotFoundError:
            return None


def matching(
    pattern: str, suffixes: tuple[str, ...], compressions: tuple[str, ...]
) -> tuple[list[RemoteFile], list[tuple[str, str]]]:
    """Return the files that an address names (one file, a directory with all below it, or a glob), and others there.

    Of a directory come the files whose names end in one of `suffixes`, also compressed; what is hidden is left out. The
    others are pairs of a name and why it is not read. Raises InputError when there is none.
    """
    url = pattern.rstrip("/")
    with explained(f"{url} cannot be listed"):
        fs, path = opened(url)
        try:
            info = fs.info(path)
        except FileNotFoundError:
            info = None
        if info is not None and info["type"] != "directory":
            return [_file(url, info)], []
        if info is not None:
            endings = tuple(suffix + packed for suffix in suffixes for packed in ("", *compressions))
            listing = fs.find(path, detail=True)
            infos = [i for i in _visible(listing, path) if i["name"].lower().endswith(endings)]
            none = f"no {' or '.join(suffixes)} file below {url}"
        elif glob.has_magic(path):
            listing = fs.glob(path, detail=True)
            # as in a shell: only a pattern that says so matches what is hidden
            infos = list(listing.values() if "/." in path else _visible(listing, ""))
            none = f"no file matches {url}"
        else:
            listing, infos, none = {}, [], f"there is no {url}"
        files = [_file(_address(fs, url, path, i["name"]), _whole(fs, i)) for i in infos if i["type"] == "file"]
        if not files:
            raise InputError(f"{none}: {_around(fs, path)}")
        read, seen = ({i["name"] for i in some} for some in (infos, _visible(listing, path)))
        others = sorted((name, OTHER if name in seen else HIDDEN) for name in listing if name not in read)
        return files, [] if glob.has_magic(path) else others


def _visible(listing: dict[str, dict[str, Any]], base: str) -> Iterator[dict[str, Any]]:
    """Yield what is not hidden: no part of its path below `base` begins with a dot."""
    for name, info in listing.items():
        if not any(part.startswith(".") for part in name.removeprefix(base).split("/")):
            yield info


def _address(fs: Any, url: str, path: str, name: str) -> str:
    """Return the address of a file that was found at `path`, the path of `url`."""
    # url minus path keeps the host of sftp://host/path, which fsspec's own way back from a path loses
    return url.removesuffix(path) + name if url.endswith(path) else fs.unstrip_protocol(name)


def _around(fs: Any, path: str) -> str:
    """Return what there is where nothing was found: some names of the nearest directory that exists."""
    parts = path.split("/")
    for end in range(len(parts), 0, -1):
        place = "/".join(parts[:end])
        if glob.has_magic(place) or place.endswith((":", "/")) or not place:
            continue
        try:
            names = sorted(str(info["name"]) for info in fs.ls(place, detail=True))
        except FileNotFoundError:
            continue
        shown = ", ".join(escaped(name.rstrip("/").rpartition("/")[2]) for name in names[:5])
        return f"{place} holds {shown} ..." if names else f"{place} is empty"
    return f"{path.strip('/').partition('/')[0]} does not exist, or holds nothing that these credentials may list"


def _whole(fs: Any, info: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a file; listings of web servers give its name alone."""
    return info if info.get("size") is not None else fs.info(info["name"])


def _file(url: str, info: dict[str, Any]) -> RemoteFile:
    size = info.get("size")
    if size is None:
        raise InputError(f"{url}: the server does not give the file's size; download it, and name the local file")
    known = [str(info[word]) for word in _VERSIONS if info.get(word)]
    times = [_time(info[word]) for word in _TIMES if info.get(word)]
    return RemoteFile(url, int(size), (known + times or [""])[0])


def _time(value: Any) -> str:
    """Return a time of change as text; file systems give one time as a date here and as seconds there."""
    return str(value.timestamp() if isinstance(value, datetime) else value)
