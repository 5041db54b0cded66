"""Model directories: their content hash, and the directory of a model of the hub."""

from __future__ import annotations

import json
from pathlib import Path

from blake3 import blake3

from windtunnel.schemas.artifact import canonical_json, write_text
from windtunnel.schemas.errors import InputError, WindtunnelError
from windtunnel.schemas.model_delta import refuse_delta

REVISION_HEX_DIGITS = 16
IGNORED = {".md", ".txt~", ".lock", ".log"}  # files that do not affect answers


def directory(model: str | Path) -> Path:
    """Return the directory of a model: a path as it is, `owner/name` from the hub.

    Raises InputError when the directory does not exist, is not a transformers model or has a delta beside its weights.
    """
    path = Path(model)
    if not path.is_dir() and str(model).count("/") == 1 and not str(model).startswith((".", "/", "~")):
        path = _from_hub(str(model))
    if not (path / "config.json").is_file():
        raise InputError(
            f"{model} is no model directory: it holds no config.json. Give a directory as transformers' "
            "save_pretrained writes it, or the name of a model on the hub as OWNER/NAME"
        )
    refuse_delta(path, "vLLM")
    return path.resolve()


def revision(path: Path, cache: Path | None = None) -> str:
    """Return the content hash of all files that affect answers: weights, configuration, tokenizer, template.

    Hashes several GB/s (all cores, memory-mapped). `cache` is a JSON file with the digests of files by path, size and
    time of change, so that a large model is read once.
    """
    known: dict[str, str] = _read(cache)
    fresh: dict[str, str] = {}
    digests: dict[str, str] = {}
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p.suffix not in IGNORED):
        name = file.relative_to(path).as_posix()
        if name.startswith("."):
            continue
        stat = file.stat()
        mark = f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ino}"
        if mark not in known:
            fresh[mark] = blake3(max_threads=blake3.AUTO).update_mmap(file).hexdigest() if stat.st_size else ""
        digests[name] = known.get(mark, fresh.get(mark, ""))
    if cache is not None and fresh:
        write_text(cache, json.dumps(known | fresh))
    return blake3(canonical_json(digests).encode()).hexdigest()[:REVISION_HEX_DIGITS]


def _read(cache: Path | None) -> dict[str, str]:
    try:
        return dict(json.loads(cache.read_text())) if cache else {}
    except (OSError, ValueError, TypeError):
        return {}  # a cache may be missing


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, ignore_patterns=["*.bin", "*.pth", "*.gguf", "original/*"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise WindtunnelError(f"model {name!r} is neither a directory nor to be had from the hub: {error}") from error
