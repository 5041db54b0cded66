"""What a user may say about where tasks run, and what wrong words are answered."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from windtunnel.pipelines.engine.executors import Where, kinds, parse_options
from windtunnel.schemas.errors import RecipeError


def test_words_become_options_of_the_right_type() -> None:
    words = ["partition=cpu", "time=2:00:00", "mem_per_cpu_gb=8", "sbatch_args.account=nlp", "sbatch_args.exclude=n1=x"]
    options = Where("slurm", 4, parse_options(words)).checked()
    assert (options.partition, options.time, options.mem_per_cpu_gb) == ("cpu", "2:00:00", 8)
    assert options.sbatch_args == {"account": "nlp", "exclude": "n1=x"}
    assert Where("ray", 4, parse_options(["mem_per_cpu_gb=0.5"])).checked().mem_per_cpu_gb == 0.5


def test_the_shells_options_yield_to_given_ones_and_to_other_executors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDTUNNEL_EXECUTOR_OPTIONS", "partition=cpu time=1:00:00")
    options = Where("slurm", 4, {"time": "2:00:00"}).checked()
    assert (options.partition, options.time) == ("cpu", "2:00:00")
    Where("local")
    monkeypatch.setenv("WINDTUNNEL_EXECUTOR_OPTIONS", "partitoin=cpu")
    with pytest.raises(RecipeError, match=r"WINDTUNNEL_EXECUTOR_OPTIONS.*did you mean 'partition'"):
        Where("local")


@pytest.mark.parametrize(
    ("executor", "words", "message"),
    [
        ("slrum", [], "no executor is called 'slrum': did you mean 'slurm'"),
        ("slurm", ["partitions=cpu"], "option 'partitions': did you mean 'partition'"),
        ("slurm", ["cpus_per_task=many"], "option 'cpus_per_task': .*integer"),
        ("slurm", ["cpus_per_task=0"], "option 'cpus_per_task': .*greater than or equal to 1"),
        ("slurm", ["partition"], "is written key=value, and 'partition' is not"),
        ("slurm", ["partition.x=1"], "option 'partition': .*string"),
        ("slurm", ["sbatch_args=1", "sbatch_args.x=1"], "sbatch_args"),
        ("ray", ["partition=cpu"], "option 'partition'"),
        ("local", ["time=1"], "option 'time': none available"),
    ],
)
def test_wrong_words_are_named(executor: str, words: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Where(executor, 2, parse_options(words))


def test_nothing_that_nobody_set_goes_to_slurm(tmp_path: Path) -> None:
    script = Where("slurm").checked().script("name", tmp_path, jobs=3, workers=2, first=0, after=None)
    directives = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", script, re.MULTILINE))
    assert not directives.keys() & {"partition", "time", "qos", "gpus", "dependency"}
    assert directives["array"] == "0-2%2"
    assert f"export PATH={Path(sys.executable).parent}:$PATH" in script


def test_kinds_are_the_files() -> None:
    assert kinds() == ["inline", "local", "ray", "slurm"]
