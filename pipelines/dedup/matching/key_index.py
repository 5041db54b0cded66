"""An index: the keys of a set of documents, kept so that other data can be deduplicated against it.

A directory with `keys/NNNNN.arrow` and `index.json`: the parameters of the keys, a fingerprint of the keys, and the
size of every key file. The sizes are checked, since missing or truncated files would match nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blake3 import blake3

from windtunnel.pipelines.dedup.matching.band_keys import FOLDER
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.errors import InputError, RecipeError

INDEX = "index.json"


def index_notes(folder: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what `index.json` holds: the keys' parameters, a fingerprint and the size of the files."""
    hashed, sizes = blake3(), {}
    for path in sorted((folder / FOLDER).glob("*.arrow")):
        hashed.update_mmap(str(path))
        sizes[path.name] = path.stat().st_size
    return {"parameters": parameters, "fingerprint": hashed.hexdigest()[:32], "files": sizes}


def as_folders(index: str | Sequence[str] | None) -> list[Path]:
    """Return the directories that a method's `index` names: none, one or several."""
    return [Path(folder) for folder in ([index] if isinstance(index, str) else index or [])]


def check_indexes(folders: Sequence[Path], parameters: dict[str, Any]) -> str:
    """Return the fingerprints of all indexes as one text; raises as `check_index` does."""
    return "+".join(check_index(folder, parameters) for folder in folders)


def check_index(folder: Path, parameters: dict[str, Any]) -> str:
    """Return the fingerprint of an index.

    Raises InputError if it is not a whole index, RecipeError if its parameters differ.
    """
    notes = _notes(folder)
    there, here = notes["parameters"], json.loads(canonical_json(parameters))
    if there != here:
        keys = sorted(set(there) | set(here))
        differ = [f"{k}: {there.get(k)!r} there, {here.get(k)!r} here" for k in keys if there.get(k) != here.get(k)]
        raise RecipeError(
            f"the index {folder} has other parameters ({'; '.join(differ)}): use the same, or make the index again"
        )
    key_files(folder)
    return str(notes["fingerprint"])


def key_files(folder: Path) -> list[Path]:
    """Return the key files of an index in shard order; raise InputError for one that is missing or truncated."""
    files = []
    for name, size in sorted(_notes(folder)["files"].items()):
        path = folder / FOLDER / Path(name).name
        actual = path.stat().st_size if path.is_file() else None
        if actual != size:
            state = "is not there" if actual is None else f"has {actual:,} bytes"
            raise InputError(
                f"the index {folder} is not whole: {FOLDER}/{path.name} should have {size:,} bytes and {state}; copy "
                "the index again, or make it again"
            )
        files.append(path)
    return files


def _notes(folder: Path) -> dict[str, Any]:
    try:
        notes = json.loads((folder / INDEX).read_bytes())
        if not isinstance(notes["parameters"], dict) or not notes["fingerprint"]:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{folder} is no deduplication index: it has no readable {INDEX}") from None
    if not isinstance(notes.get("files"), dict):
        raise InputError(
            f"{folder}/{INDEX} does not list its key files: it is of an older version, make the index again"
        )
    return notes
