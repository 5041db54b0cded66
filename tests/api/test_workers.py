"""Worker processes behind the functions: what failed in them is told, and programs they cannot load are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.pipelines.api.temporary_files import temporary_folder
from windtunnel.pipelines.engine.executors import local
from windtunnel.schemas.errors import WindtunnelError

SORT = """
import polars as pl, windtunnel as wt
from windtunnel.pipelines.api import frames
from windtunnel.pipelines.sources import parquet
frames.ROW_GROUP_BYTES = parquet.SPLIT_BYTES = 1  # so that there is more than one task
frame = pl.DataFrame({'text': ['a few words'] * 3})
print(wt.filter(frame, {'length': {'min_words': 1}}, workers=2).counts.kept)
"""


def test_an_error_has_the_traceback_and_the_log_that_it_points_at() -> None:
    with pytest.raises(WindtunnelError) as error, temporary_folder() as folder:
        (folder / "errors").mkdir()
        (folder / "errors" / "00000.json").write_text('{"traceback": "Traceback: boom in line 3"}', encoding="utf-8")
        (folder / "workers.log").write_text("killed by me", encoding="utf-8")
        raise WindtunnelError(
            f"step a failed; finished shards are kept; its log: {folder}/workers.log\n"
            f"Traceback and shard files: {folder}/errors/00000.json"
        )
    assert str(error.value) == "step a failed"
    assert "killed by me" in error.value.__notes__[0] and "boom in line 3" in error.value.__notes__[1]


def test_a_program_from_standard_input_is_refused_with_a_reason() -> None:
    done = subprocess.run([sys.executable], input=SORT, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("the program is read from standard input, and worker processes cannot load that: "
                         "save it as a file, or use one worker")  # fmt: skip


def test_a_program_of_the_command_line_has_workers() -> None:
    done = subprocess.run([sys.executable, "-c", SORT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_a_program_whose_file_is_gone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = type("Main", (), {"__file__": str(tmp_path / "gone.py"), "__spec__": None})
    monkeypatch.setitem(sys.modules, "__main__", main)  # pyright: ignore[reportArgumentType]
    with pytest.raises(WindtunnelError, match=r"of a file that is gone, .*gone\.py"):
        local._check_main()
