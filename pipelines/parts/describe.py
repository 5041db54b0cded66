"""What a plug-in class says of itself: docstring, parameters, version and the facts of its kind."""

from __future__ import annotations

import inspect
from typing import Any

from windtunnel.pipelines.parts import part_class
from windtunnel.pipelines.parts.fields import bases, parameters
from windtunnel.schemas import plugin, plugin_files


def describe(kind: str, name: str) -> dict[str, Any]:
    """Return the description of a part as JSON values.

    Keys: kind, name, from, version, digest, primary, about, parameters, bases and the facts of the class. Raises
    RecipeError for a part that cannot be found or loaded.
    """
    cls = part_class(kind, name)
    own, *others = bases(cls)
    kept = [base for base in others if base is not plugin.base(kind)]  # whose docstring is for authors
    inherited = {base.__name__: text for base in kept if (text := own_docstring(base))}
    try:
        facts = cls.facts()
    except Exception as error:  # the code of a user's file
        facts = {"facts": f"cannot be told: {type(error).__name__}: {error}"}
    return {
        "kind": kind,
        "name": plugin.reference(cls),
        "from": _origin(kind, name, cls),
        "version": cls.version,
        "digest": plugin.digest(cls),
        "primary": cls.primary,
        "about": own_docstring(own),
        "parameters": [parameter._asdict() for parameter in parameters(cls)],
        "bases": inherited,
        **facts,
    }


def own_docstring(cls: type) -> str:
    """Return the docstring that a class itself has, without the indentation of its source."""
    return inspect.cleandoc(vars(cls).get("__doc__") or "")


def _origin(kind: str, name: str, cls: type[plugin.Plugin]) -> str:
    if cls.external is None:
        return f"built in, {cls.__module__}"
    if cls.external.path is not None:
        return f"the file {cls.external.path}"
    return f"the installed package {plugin_files.package_of(plugin.entry_points(kind)[name])}"
