"""Opens a store from its address; for stores in object storage, gets the files of artifacts where they are needed."""

from __future__ import annotations

import os
from pathlib import Path

from windtunnel.pipelines.engine.mirrors.mirror import Mirror, Say, mirror_folder, silent
from windtunnel.pipelines.remote.address import checked, local_path, scheme_of
from windtunnel.pipelines.remote.files import current
from windtunnel.schemas.artifact import MANIFEST, Artifact
from windtunnel.schemas.errors import InputError, RecipeError


def store_folder(address: str) -> Path:
    """Return the directory where a store's files are on this machine; looks at nothing."""
    if scheme_of(address) is None:
        return Path(local_path(address))
    return mirror_folder(address.rstrip("/"))


def open_store(address: str) -> Path:
    """Return the directory of a store; of one in object storage it is the mirror, with the manifests of today.

    Raises InputError for an address with a secret or without a driver, and when the object storage cannot be listed.
    """
    try:
        checked(address)
    except ValueError as error:
        raise InputError(f"the store: {error}") from None
    if scheme_of(address) is None:
        return store_folder(address)
    mirror = Mirror.of(address.rstrip("/"))
    mirror.refresh()
    return mirror.folder


def fetched(artifact: Artifact, *only: str, say: Say = silent) -> Artifact:
    """Return an artifact whose files are on this machine, downloaded where they were not; `only` names some of them."""
    if mirror := Mirror.at(artifact.path.parent):
        mirror.fetch(artifact.path.name, only, say)
    return artifact


def publish(artifact: Artifact, say: Say = silent) -> Artifact:
    """Upload a finished artifact if its store is in object storage; return it."""
    if mirror := Mirror.at(artifact.path.parent):
        mirror.publish(artifact.path.name, say)
    return artifact


def add_file(artifact: Artifact, file: str) -> None:
    """Upload a file that was added to a finished artifact, if its store is in object storage."""
    if mirror := Mirror.at(artifact.path.parent):
        mirror.add(artifact.path.name, file)


def address_of(artifact: Artifact) -> str:
    """Return where an artifact is: its path, or its address in object storage."""
    return f"{store_address(artifact.path.parent)}/{artifact.path.name}"


def store_address(folder: Path) -> str:
    """Return where the store of a directory is: the directory, or the address of which it is a mirror."""
    mirror = Mirror.at(folder)
    return mirror.url if mirror else str(folder)


def fetched_path(place: str | Path) -> Path:
    """Return the local path of an artifact, or of a file in one, that is named by its path or its address.

    Raises InputError for an address that is in no artifact of a store.
    """
    if scheme_of(str(place)) is None:
        path = Path(local_path(str(place)))
        for folder in (path, *path.parents):
            if (folder / MANIFEST).exists():
                fetched(Artifact(folder))
                break
        return path
    try:
        checked(str(place))
    except ValueError as error:
        raise InputError(f"the path: {error}") from None
    parts = str(place).rstrip("/").split("/")
    for end in range(len(parts), 4, -1):  # scheme://bucket/artifact has 4 parts at least
        if current("/".join([*parts[:end], MANIFEST])) is not None:
            store = open_store("/".join(parts[: end - 1]))
            return fetched(Artifact(store / parts[end - 1])).path.joinpath(*parts[end:])
    raise InputError(f"{place} is in no artifact of a store: copy it here, and name the local file")


def check_executor(address: str, executor: str) -> None:
    """Raise RecipeError where workers on other machines could not reach the mirror of a store in object storage."""
    if executor == "local" or scheme_of(address) is None or os.environ.get("WINDTUNNEL_CACHE"):
        return
    raise RecipeError(
        f"--executor {executor}: the store {address} is worked on in a local mirror, {store_folder(address)}, which "
        "the workers have to reach too: set WINDTUNNEL_CACHE to a directory that all machines share, or use the local "
        "executor"
    )
