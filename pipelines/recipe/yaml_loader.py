"""YAML of recipes: plain values only, `on` and `yes` as text, `3e-3` as a number, and the line of every key.

Written on PyYAML, because ruamel.yaml's safe loader gives no lines, takes twice the time and reads `.5e1` as text, and
its round-trip loader accepts any tag and reads `&x [*x]` as `[null]`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

from windtunnel.schemas.errors import RecipeError

Keys = tuple[str | int, ...]
MOST_VALUES = 100_000  # in one text, those that aliases repeat counted each time


class RecipeLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the booleans and floats of YAML 1.2: in YAML 1.1 a key `on:` is the value true."""


_RESOLVERS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "float": (
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.inf|\.nan)",
        "-+0123456789.",
    ),
}
RecipeLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _RESOLVERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, (_pattern, _first) in _RESOLVERS.items():
    RecipeLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first))


class Document(NamedTuple):
    """The value of a YAML text, and the node tree that holds its lines."""

    value: Any
    node: yaml.Node | None

    def place(self, keys: Keys) -> str:
        """Return `, line N` of what `keys` lead to, as far as the text has it; empty when it has nothing of it."""
        node, line = self.node, None
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                pair = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                pair = (node.value[key], node.value[key])
            else:
                pair = None
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        return f", line {line}" if line else ""


def load(text: str, origin: str) -> Document:
    """Return a YAML text's value with its lines.

    Raises RecipeError, `ORIGIN, line N: ...`, for what is not YAML or builds objects, a key that stands twice or is not
    a word, and aliases that contain themselves or write out more than MOST_VALUES values.
    """
    if control := RecipeLoader.NON_PRINTABLE.search(text):
        line, character = text.count("\n", 0, control.start()) + 1, ord(control.group())
        raise RecipeError(f"{origin}, line {line}: not YAML: the character U+{character:04X} may not stand in a recipe")
    loader = RecipeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Document(None, None)
        _check(node, origin, set(), {})
        return Document(loader.construct_document(node), node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(f"{origin}{line}: not YAML: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise RecipeError(f"{origin}: nested too deeply for a recipe") from None
    except (ValueError, LookupError) as error:  # raised by PyYAML for 2026-13-45 and !!int x
        raise RecipeError(f"{origin}: not YAML: a value that is none of its type ({error})") from None
    finally:
        loader.dispose()


def _check(node: yaml.Node, origin: str, above: set[int], sizes: dict[int, int]) -> int:
    """Return how many values a node holds, aliases written out; raises RecipeError for repeated keys and bad aliases.

    `above` holds the nodes around this one, `sizes` those that are counted, so that each is visited once.
    """
    where = f"{origin}, line {node.start_mark.line + 1}"
    if id(node) in above:
        raise RecipeError(f"{where}: what begins here contains itself, by an alias")
    if id(node) in sizes or not isinstance(node, yaml.CollectionNode):
        return sizes.get(id(node), 1)
    children = node.value
    if isinstance(node, yaml.MappingNode):
        _check_keys([key for key, _ in node.value], origin)
        children = [value for _, value in node.value]
    above.add(id(node))
    size = 1 + sum(_check(child, origin, above, sizes) for child in children)
    above.remove(id(node))
    if size > MOST_VALUES:
        raise RecipeError(f"{where}: more than {MOST_VALUES:,} values, aliases written out: too large for a recipe")
    sizes[id(node)] = size
    return size


def _check_keys(keys: list[yaml.Node], origin: str) -> None:
    seen: set[str] = set()
    for key in keys:
        where = f"{origin}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise RecipeError(f"{where}: a key is a word, not a list or a mapping")
        if key.value in seen:
            raise RecipeError(f"{where}: {key.value!r} stands twice")
        seen.add(key.value)
