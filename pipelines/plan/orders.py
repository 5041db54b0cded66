"""Whether documents can have the value that a mix is ordered by, as far as that is known before any are read."""

from __future__ import annotations

from typing import Any

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.readers.fields import Fields
from windtunnel.pipelines.recipe.place import at
from windtunnel.pipelines.recipe.yaml_loader import Keys
from windtunnel.pipelines.sources._source import RecordSource

META = "meta."


def check_order(by: str, corpus: Step, place: Keys) -> None:
    """Raise RecipeError for a value that no document of a `corpus:` step can have."""
    name = corpus.name.what
    if by.startswith(META):
        sources = [step.work.plugin() for step in corpus.reads()]  # type: ignore[attr-defined]
        if not any(_carries(source, by.removeprefix(META)) for source in sources):
            raise at(place, f"no document of the corpus {name!r} has {by!r}: `meta:` of its source leaves it out")
    elif not any(role.startswith("measures") for role in corpus.inputs):
        raise at(
            place,
            f"nothing is measured on the documents of the corpus {name!r}, so none has a value {by!r}: order them by "
            "`tokens`, `bytes` or `meta.KEY`, or give the corpus `rules:` that measure it (a union does not keep what "
            "its corpora measured)",
        )


def _carries(source: Any, key: str) -> bool:
    """Return whether documents of a source may have a key in `meta`."""
    if not isinstance(source, RecordSource):
        return True
    return Fields(source.text, source.url, source.lang, source.source, source.meta, "", 0).carries(key)
