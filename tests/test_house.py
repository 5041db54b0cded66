"""The house keeps its shape: rooms, import directions, sizes, and packages that load from this tree."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "schemas",
    "generators",
    "trainer",
    "data_cards",
    "pipelines",
)
TOP = {
    "pyproject.toml", "README.md", "pipelines", "generators", "trainer", "schemas", "tests", "data_cards",
    "LICENSE", "CONTRIBUTING.md", "Makefile",
}  # fmt: skip
MAY_IMPORT = {
    "schemas": {"schemas"},
    "generators": {"schemas", "generators"},
    "trainer": {"schemas", "trainer"},
    "data_cards": {"schemas", "data_cards"},
    "pipelines": set(ROOMS),
}
PLUGIN_FOLDERS = (
    "trainer/objectives", "trainer/deltas", "trainer/models", "trainer/schedules", "trainer/tasks",
    "generators/kinds", "generators/judges",
    "pipelines/rules",
    "pipelines/sources", "pipelines/dedup",
)  # fmt: skip
HEAVY = {"torch", "transformers", "vllm", "ray", "datatrove", "spacy", "fasttext", "numba"}


def sources() -> list[Path]:
    return [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


def imports(tree: ast.Module, top_level_only: bool = False) -> set[str]:
    nodes = ast.iter_child_nodes(tree) if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.add("." * node.level)
    return found


def test_nothing_at_top_level_that_the_house_does_not_name() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tops = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    assert {top for top in tops if not top.startswith(".")} <= TOP


def test_imports_point_one_way() -> None:
    wrong = []
    for file in sources():
        room = file.relative_to(ROOT).parts[0]
        for name in imports(ast.parse(file.read_text(encoding="utf-8"))):
            assert not name.startswith("."), f"{file}: relative import"
            if (top := name.partition(".")[0]) in ROOMS and top not in MAY_IMPORT[room]:
                wrong.append(f"{file.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_plugins_import_without_heavy_packages() -> None:
    wrong = []
    for folder in PLUGIN_FOLDERS:
        for file in sorted((ROOT / folder).glob("*.py")):
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
        lines = text.count("\n")
        if lines > 400:
            long_files.append(f"{file.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
                long_functions += [
                    f"{file.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines"
                    for length in [node.end_lineno - node.lineno + 1]
                    if length > 60
                ]
    assert not long_files, "\n".join(long_files)
    assert not long_functions, "\n".join(long_functions)


def test_packages_load_from_this_tree_and_listing_needs_no_torch() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {ROOMS!r}:\n    print(importlib.import_module(name).__file__)\n"
        "import windtunnel.pipelines.views.listing, windtunnel.pipelines.run_recipe, windtunnel.pipelines.recipe.file\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    *files, heavy = done.stdout.splitlines()
    for room, file in zip(ROOMS, files, strict=True):
        assert Path(file) == ROOT / room / "__init__.py"
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
