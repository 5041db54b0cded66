"""The house keeps its shape: rooms, import directions, sizes, and packages that load from this tree."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from windtunnel.schemas.plugin import KINDS

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / ".src"
FOLDERS = ("schemas", "generators", "trainer", "data_cards", "pipelines")
TOP = {
    "pyproject.toml", "README.md", "pipelines", "generators", "trainer", "schemas", "tests", "data_cards",
    "LICENSE", "CONTRIBUTING.md", "Makefile",
}  # fmt: skip
# Floors: a room may import itself, its own sub-rooms and what is named here, in function bodies and for types too.
# A room stands below all that may import it, so there are no circles of rooms (tested).
FLOORS = {
    "schemas": "",
    "data_cards": "schemas",
    "generators": "",
    "trainer": "",
    "generators.text": "schemas",
    "generators.families": "schemas",
    "generators.client": "schemas",
    "generators.serving": "schemas generators.client",
    "generators.core": "schemas generators.client generators.serving generators.text",
    "generators.judges": "schemas generators.client generators.core generators.text",
    "generators.judging": "schemas generators.client generators.serving generators.text generators.core "
    "generators.judges",
    "generators.kinds": "schemas generators.client generators.families generators.text generators.core "
    "generators.judging",
    "trainer.kernels": "",
    "trainer.runtime": "schemas",
    "trainer.schedules": "schemas",
    "trainer.optimizers": "schemas",
    "trainer.loggers": "schemas",
    "trainer.laws": "schemas",
    "trainer.constraints": "schemas",
    "trainer.rewards": "schemas trainer.constraints trainer.data trainer.losses trainer.modules trainer.tasks",
    "trainer.rollouts": "schemas trainer.data trainer.modules",
    "trainer.tasks": "schemas trainer.constraints",
    "trainer.data": "schemas",
    "trainer.models": "schemas trainer.modules trainer.runtime",
    "trainer.modules": "schemas trainer.kernels trainer.runtime",
    "trainer.gguf": "schemas",
    "trainer.losses": "trainer.kernels trainer.modules trainer.runtime",
    "trainer.deltas": "schemas trainer.models trainer.modules trainer.runtime",
    "trainer.stats": "schemas trainer.laws",
    "trainer.readers": "schemas trainer.stats",
    "trainer.eval": "schemas trainer.data trainer.losses trainer.models trainer.modules trainer.runtime trainer.tasks",
    "trainer.objectives": "schemas trainer.data trainer.deltas trainer.eval trainer.losses trainer.models "
    "trainer.modules trainer.optimizers trainer.rewards trainer.rollouts trainer.runtime",
    "trainer.loop": "schemas trainer.data trainer.deltas trainer.eval trainer.loggers trainer.models trainer.modules "
    "trainer.objectives trainer.optimizers trainer.runtime trainer.schedules",
    "pipelines.recipe": "schemas generators.client pipelines.remote",
    "pipelines.shards": "schemas",
    "pipelines.remote": "schemas",
    "pipelines.readers": "schemas pipelines.remote",
    "pipelines.layouts": "schemas",
    "pipelines.engine.tasks": "schemas",
    "pipelines.engine.executors": "schemas pipelines.engine.tasks",
    "pipelines.engine.mirrors": "schemas generators.client pipelines.remote pipelines.samples",
    "pipelines.engine": "schemas generators.serving",
    "pipelines.features.kernels": "schemas",
    "pipelines.features": "schemas",
    "pipelines.samples": "schemas pipelines.readers trainer.runtime",
    "pipelines.samples.sets": "schemas pipelines.readers pipelines.samples",
    "pipelines.sources": "schemas pipelines.remote pipelines.readers pipelines.recipe pipelines.samples",
    "pipelines.scorers": "schemas pipelines.shards pipelines.samples trainer.data trainer.eval trainer.models "
    "trainer.runtime",
    "pipelines.filters": "schemas pipelines.features pipelines.recipe pipelines.samples pipelines.scorers "
    "pipelines.shards",
    "pipelines.dedup.matching": "schemas pipelines.features pipelines.shards",
    "pipelines.dedup": "schemas pipelines.features pipelines.shards",
    "pipelines.rows": "schemas generators.core generators.text pipelines.layouts pipelines.readers pipelines.shards "
    "pipelines.sources trainer.tasks",
    "pipelines.datasets": "schemas pipelines.dedup pipelines.features pipelines.filters pipelines.recipe "
    "pipelines.shards generators.text trainer.data trainer.modules",
    "pipelines.files": "schemas pipelines.remote pipelines.datasets pipelines.dedup pipelines.engine pipelines.filters "
    "pipelines.layouts pipelines.readers pipelines.rows pipelines.shards pipelines.sources",
    "pipelines.report": "schemas pipelines.filters",
    "pipelines.report.sections": "schemas pipelines.report pipelines.datasets pipelines.recipe generators.judging "
    "trainer.stats",
    "pipelines.plan": "schemas pipelines.datasets pipelines.dedup pipelines.engine pipelines.filters pipelines.readers "
    "pipelines.recipe pipelines.report pipelines.rows pipelines.samples pipelines.scorers pipelines.sources generators "
    "trainer",
    "pipelines.views": "schemas data_cards pipelines.shards pipelines.parts pipelines.engine pipelines.plan "
    "pipelines.datasets pipelines.readers pipelines.recipe pipelines.rows pipelines.report pipelines.samples "
    "pipelines.sources generators.client generators.judging generators.text trainer.models trainer.stats",
    "pipelines.hub": "schemas data_cards pipelines.engine pipelines.plan pipelines.views trainer.gguf",
    "pipelines.parts": "schemas pipelines.filters pipelines.report pipelines.recipe generators trainer",
    "pipelines.parts.skeletons": "schemas generators trainer pipelines",
    "pipelines.api": "schemas generators trainer pipelines",
    "pipelines": "schemas data_cards generators trainer",
}
PLUGIN_FOLDERS = tuple(kind.package.replace(".", "/") for kind in KINDS.values())
HEAVY = {"torch", "transformers", "vllm", "ray", "datatrove", "spacy", "fasttext", "numba"}


def sources() -> list[Path]:
    return [file for room in FOLDERS for file in sorted((ROOT / room).rglob("*.py"))]


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Return the most specific room of FLOORS that holds a module, by its name without `windtunnel.`."""
    parts = module.split(".")
    return next(room for n in range(len(parts), 0, -1) if (room := ".".join(parts[:n])) in FLOORS)


@cache
def graph() -> dict[str, set[str]]:
    """Return the imports of every module: at its top, inside functions and for types."""
    modules = {module_of(file): file for file in sources()}
    edges: dict[str, set[str]] = {}
    for module, file in modules.items():
        names = imports(ast.parse(file.read_text(encoding="utf-8")), members=True)
        own = {name.removeprefix("windtunnel.") for name in names if name.startswith("windtunnel.")}
        targets = {name if name in modules else name.rpartition(".")[0] for name in own}
        edges[module] = targets & modules.keys() - {module}
    return edges


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of nodes that reach one another."""
    order = TopologicalSorter(edges)
    try:
        order.prepare()
    except CycleError as error:
        return [error.args[1]]
    return []


def imports(tree: ast.Module, top_level_only: bool = False, members: bool = False) -> set[str]:
    """Return the imported modules; with `members`, `module.name` for every imported name."""
    nodes = ast.iter_child_nodes(tree) if top_level_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.update([f"{node.module}.{alias.name}" for alias in node.names] if members else [node.module])
        elif isinstance(node, ast.ImportFrom) and node.level:
            names.add("." * node.level)
    return names


def test_nothing_at_top_level_that_the_house_does_not_name() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tops = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    assert {top for top in tops if not top.startswith(".")} <= TOP


def test_every_import_is_absolute_and_by_the_one_name() -> None:
    wrong = []
    for file in [*sources(), *sorted((ROOT / "tests").rglob("*.py"))]:
        for name in imports(ast.parse(file.read_text(encoding="utf-8"))):
            if name.startswith(".") or name.partition(".")[0] in FOLDERS:
                wrong.append(f"{file.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_imports_follow_the_floors() -> None:
    assert {module_of(file.parent / "__init__.py") for file in sources()} == set(FLOORS)
    wrong = []
    for module, targets in graph().items():
        room = room_of(module)
        allowed = (room, *FLOORS[room].split())
        wrong += [
            f"{module} imports {target}"
            for target in sorted(targets)
            if not any(target == floor or target.startswith(f"{floor}.") for floor in allowed)
        ]
    assert not wrong, "\n".join(wrong)


def test_there_are_no_circles_of_modules_nor_of_rooms() -> None:
    assert not circles(graph())
    rooms: dict[str, set[str]] = {}
    for module, targets in graph().items():
        file = ROOT / Path(*module.split("."))
        room = module if file.is_dir() else module.rpartition(".")[0]
        for target in targets:
            other = target if (ROOT / Path(*target.split("."))).is_dir() else target.rpartition(".")[0]
            if other != room:
                rooms.setdefault(room, set()).add(other)
    assert not circles(rooms)


def test_plugins_import_without_heavy_packages() -> None:
    wrong = []
    for folder in PLUGIN_FOLDERS:
        for file in sorted((ROOT / folder).glob("[!_]*.py")):
            heavy = {
                n.partition(".")[0] for n in imports(ast.parse(file.read_text("utf-8")), top_level_only=True)
            } & HEAVY
            wrong += [f"{file.relative_to(ROOT)} imports {name} when loaded" for name in sorted(heavy)]
    assert not wrong, "\n".join(wrong)


def test_no_rooms_without_a_name() -> None:
    names = {file.name for file in sources()}
    assert not names & {"utils.py", "common.py", "helpers.py", "misc.py"}
    assert not {name for name in names if name.startswith("base_")}


def test_files_and_functions_can_be_read_in_one_sitting() -> None:
    long_files, long_functions = [], []
    for file in sources():
        text = file.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > 400:
            long_files.append(f"{file.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
                docstring = node.body[0] if ast.get_docstring(node) else None
                documented = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
                if (length := node.end_lineno - node.lineno + 1 - documented) > 60:
                    long_functions.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines")
    assert not long_files, "\n".join(long_files)
    assert not long_functions, "\n".join(long_functions)


def test_the_links_of_the_one_import_name_lead_to_the_folders() -> None:
    package = SOURCE / "windtunnel"
    assert {entry.name for entry in package.iterdir() if entry.is_symlink()} == set(FOLDERS)
    for folder in FOLDERS:
        assert (package / folder).readlink() == Path("..", "..", folder)
    assert (package / "py.typed").is_file()


def test_packages_load_from_this_tree_and_listing_needs_no_torch() -> None:
    code = (
        "import sys, windtunnel\nprint(windtunnel.__file__)\n"
        "import windtunnel.pipelines.views.listing, windtunnel.pipelines.run_recipe, windtunnel.pipelines.recipe.file\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", env=environment)
    assert done.returncode == 0, done.stderr
    file, heavy = done.stdout.splitlines()
    assert Path(file) == SOURCE / "windtunnel" / "__init__.py"
    assert heavy == "[]"


def test_the_tree_speaks_of_itself_alone() -> None:
    """No registry hosts and no paths of one machine in the sources."""
    words = ("pypi.org", "pythonhosted", "registry.npmjs", "deb.debian.org", "/work/", "/root/")
    wrong = [
        f"{file.relative_to(ROOT)}: {word}"
        for file in [*sources(), ROOT / "README.md", ROOT / "Makefile", *sorted((ROOT / "tests").rglob("*.py"))]
        if file.name != "test_house.py"
        for word in words
        if word in file.read_text(encoding="utf-8")
    ]
    assert not wrong, "\n".join(wrong)
