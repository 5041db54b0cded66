"""`import windtunnel` is light, and shows what it exports."""

from __future__ import annotations

import subprocess
import sys

import pytest

import windtunnel

HEAVY = {"polars", "pyarrow", "numpy", "torch", "datatrove", "pydantic", "typer"}


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_import_takes_no_time_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time, typing, importlib\n"
        "start = time.process_time()\n"
        "import windtunnel\n"
        f"print(time.process_time() - start < 0.05, sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    assert python(code) == "True []\n"


def test_every_exported_name_is_there_and_documented() -> None:
    assert set(windtunnel.__all__) <= set(dir(windtunnel))
    assert {name for names in windtunnel._MODULES.values() for name in names} == set(windtunnel.__all__)
    for name in windtunnel.__all__:
        assert getattr(windtunnel, name).__doc__, name
        assert getattr(windtunnel, name) is getattr(windtunnel, name)


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'filtre'"):
        windtunnel.filtre  # noqa: B018
    with pytest.raises(ImportError):
        from windtunnel import nothing  # noqa: F401  # pyright: ignore


def test_rooms_stay_importable_beside_the_names() -> None:
    said = python(
        "import windtunnel; windtunnel.filter; import windtunnel.trainer.laws; print(windtunnel.trainer.laws.__name__)"
    )
    assert said == "windtunnel.trainer.laws\n"


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "windtunnel", "list", "law"], capture_output=True, text=True)
    assert done.returncode == 0 and "exponential" in done.stdout
    wrong = subprocess.run([sys.executable, "-m", "windtunnel", "list", "lawn"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "did you mean 'law'" in wrong.stderr
