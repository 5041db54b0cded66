"""Exchanges the completions of models between a mirror and its bucket, so that no machine asks for one again."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from windtunnel.generators.client.store import COMPLETIONS, CompletionStore
from windtunnel.pipelines.remote.failures import explained
from windtunnel.pipelines.remote.files import current, opened
from windtunnel.schemas.artifact import write_text


def pull(folder: Path, url: str, mark: Path) -> None:
    """Add the completions in the bucket to those of the mirror; `mark` keeps what was exchanged last."""
    remote = current(f"{url}/{COMPLETIONS}")
    if remote is None or _exchanged(mark).get("version") == remote.version:
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=".completions-") as temporary:
        copy = Path(temporary) / COMPLETIONS
        with explained(f"{remote} cannot be downloaded"):
            fs, path = opened(remote.url)
            fs.get_file(path, str(copy))
        store = CompletionStore(folder / COMPLETIONS)
        rows = store.merge(copy)
        store.close()
    write_text(mark, json.dumps({"version": remote.version, "rows": rows}))


def push(folder: Path, url: str, mark: Path) -> None:
    """Upload the mirror's completions where there are more of them than in the bucket."""
    if not (folder / COMPLETIONS).exists():
        return
    store = CompletionStore(folder / COMPLETIONS)
    try:
        rows = len(store)
        if rows == _exchanged(mark).get("rows"):
            return
        with tempfile.TemporaryDirectory(dir=folder, prefix=".completions-") as temporary:
            copy = Path(temporary) / COMPLETIONS
            store.snapshot(copy)
            with explained(f"{url}/{COMPLETIONS} cannot be uploaded"):
                fs, path = opened(f"{url}/{COMPLETIONS}")
                fs.put_file(str(copy), path)
    finally:
        store.close()
    remote = current(f"{url}/{COMPLETIONS}")
    write_text(mark, json.dumps({"version": remote.version if remote else None, "rows": rows}))


def _exchanged(mark: Path) -> dict[str, Any]:
    return json.loads(mark.read_bytes()) if mark.exists() else {}
