"""An index: the keys of one set of documents, kept so that others can be deduplicated against it.

A directory with `keys/NNNNN.arrow` and `index.json`: the parameters that made the keys, a fingerprint of them, and the
size of every key file. Files that are missing or cut short would match nothing, and nobody would see it.
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

    Raises InputError if it is none or is not whole, RecipeError if other parameters made it.
    """
    notes = _notes(folder)
    theirs, ours = notes["parameters"], json.loads(canonical_json(parameters))
    if theirs != ours:
        keys = sorted(set(theirs) | set(ours))
        differ = [f"{k}: {theirs.get(k)!r} there, {ours.get(k)!r} here" for k in keys if theirs.get(k) != ours.get(k)]
        raise RecipeError(f"the index {folder} was made with other parameters ({'; '.join(differ)}): it cannot be used")
    key_files(folder)
    return str(notes["fingerprint"])


def key_files(folder: Path) -> list[Path]:
    """Return the key files of an index in shard order; raise InputError unless all are there in their whole length."""
    files = []
    for name, size in sorted(_notes(folder)["files"].items()):
        path = folder / FOLDER / Path(name).name
        held = path.stat().st_size if path.is_file() else None
        if held != size:
            found = "is not there" if held is None else f"has {held:,} bytes"
            raise InputError(
                f"the index {folder} is not whole: {FOLDER}/{path.name} should have {size:,} bytes and {found}; copy "
                "the index again, or make it anew"
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
        raise InputError(f"{folder}/{INDEX} does not list its key files: an older version made it; make the index anew")
    return notes
