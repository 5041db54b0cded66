"""The installed package: one import name, beside other people's packages that have the names of our folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parent.parent
# each has a top-level package of its name; that of schemas is Python 2 and can be found, not imported
OTHERS = ("trainer==0.0.36", "pipelines==0.0.14", "schemas==0.7.1")
NEEDS = ("coqpit", "tensorboard")  # of trainer, beyond what this environment has
PROBE = """
import importlib.util, json, trainer, pipelines
import windtunnel, windtunnel.trainer.stats.effects, windtunnel.pipelines.cli, windtunnel.schemas.records
print(json.dumps({
    "windtunnel": windtunnel.__file__,
    "version": windtunnel.__version__,
    "ours": windtunnel.trainer.__file__,
    "others": {name: importlib.util.find_spec(name).origin for name in ("trainer", "pipelines", "schemas")},
    "trainer": [trainer.__version__, trainer.Trainer.__module__],
}))
"""


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """Return the standard output of a command without the tree under test in its path; fail with its errors."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd, env=inherited | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a source distribution, as an index would hold it."""
    out = tmp_path_factory.mktemp("dist")
    listed = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    tree = tmp_path_factory.mktemp("tree")
    for name in filter(None, listed):
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_symlink():
                (tree / name).symlink_to((ROOT / name).readlink())
            else:
                (tree / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, tree)
    return next(out.glob("windtunnel-*.whl"))


@pytest.mark.network
def test_the_wheel_works_beside_packages_with_the_names_of_its_folders(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, *OTHERS, *NEEDS)
    # dependencies are those of this environment: a path without its .pth files, so the editable install is not seen
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    probe = json.loads(run(python, "-c", PROBE, cwd=tmp_path))
    assert probe["version"] == metadata.version("windtunnel")
    assert Path(probe["windtunnel"]).parent == site / "windtunnel"
    assert Path(probe["ours"]).parent == site / "windtunnel" / "trainer"
    assert {name: Path(origin).parent for name, origin in probe["others"].items()} == {
        name: site / name for name in ("trainer", "pipelines", "schemas")
    }
    assert probe["trainer"] == ["v0.0.36", "trainer.trainer"]
    assert "gopher_quality" in run(environment / "bin" / "windtunnel", "list", "rule", cwd=tmp_path)
    texts = [
        {"text": "short"},
        {"text": " ".join(["This is a sentence that the rule keeps, and it has words enough."] * 20)},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    run(python, "-m", "windtunnel", "filter", "in.jsonl", "out", "--rules", "gopher_quality", cwd=tmp_path)
    assert pq.read_table(tmp_path / "out" / "kept")["text"].to_pylist() == [texts[1]["text"]]
    assert pq.read_table(tmp_path / "out" / "dropped")["text"].to_pylist() == ["short"]


@pytest.mark.network
def test_the_wheel_holds_every_tracked_file_of_the_folders_and_nothing_else_at_its_top(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"windtunnel"}
    folders = ("schemas", "generators", "trainer", "data_cards", "pipelines")
    tracked = {f"windtunnel/{name}" for name in run("git", "ls-files", *folders, cwd=ROOT).splitlines()}
    present = {name for name in tracked if (ROOT / name.removeprefix("windtunnel/")).exists()}
    assert present <= set(names), sorted(present - set(names))[:5]
    assert {"windtunnel/__init__.py", "windtunnel/__main__.py", "windtunnel/py.typed"} <= set(names)


@pytest.mark.slow
def test_a_type_checker_sees_the_package_from_elsewhere(tmp_path: Path) -> None:
    """Imports by the one name resolve to files with types, as an editor's go-to-definition does."""
    user = tmp_path / "user.py"
    user.write_text(
        "from windtunnel.schemas.plugin import make\n"
        "from windtunnel.pipelines.filters._rule import Rule\n"
        "reveal_type(make(Rule, 'c4'))\n"
        "from windtunnel.trainer.stats.paired import no_such_name\n"
    )
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT / ".src")]}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(user)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    messages = [item["message"] for item in json.loads(done.stdout)["generalDiagnostics"]]
    assert 'Type of "make(Rule, \'c4\')" is "Rule"' in messages
    assert any("no_such_name" in message for message in messages)
    assert len(messages) == 2
