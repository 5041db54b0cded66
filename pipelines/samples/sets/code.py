"""Code: the standard library of the running Python, one file per document."""

from __future__ import annotations

import io
import os
import platform
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.samples.sample_set import SampleSet

_EXCLUDED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "lib2to3"}


class Code(SampleSet):
    """Python source files, decoded by their encoding declaration, without tests and installed packages."""

    name = "code"
    about = "Python's standard library, one module a document"
    licence = "PSF-2.0"
    text_megabytes = 11.83
    origin = "the running Python's standard library (no download)"
    parts = 2

    def members(self) -> list[tuple[str, int]]:
        members = []
        for folder, below, files in os.walk(root := library()):
            below[:] = [name for name in below if name not in _EXCLUDED]  # prunes the walk
            for path in (Path(folder, name) for name in files if name.endswith(".py")):
                if size := path.stat().st_size:
                    members.append((path.relative_to(root).as_posix(), size))
        return sorted(members, key=lambda member: member[0].split("/"))

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        data = (library() / member).read_bytes()
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
            text = data.decode(encoding).replace("\r\n", "\n")
        except (SyntaxError, UnicodeDecodeError) as error:
            yield Unreadable(self.name, member, "invalid_encoding", str(error))
            return
        yield Row(text, self.name, lang="en", meta={"file": member, "language": "python"})

    def fingerprint(self) -> list[dict[str, str]]:
        """Return the interpreter's version and a digest of the names and sizes of its files."""
        digest = blake3()
        for name, size in self.members():
            digest.update(f"{name}\x00{size}\x00".encode())
        return [
            {
                "registry": "running interpreter",
                "name": platform.python_implementation(),
                "version": platform.python_version(),
                "blake3": digest.hexdigest()[:32],
            }
        ]


def library() -> Path:
    """Return the standard library's directory."""
    return Path(sysconfig.get_path("stdlib"))
