"""What a journal holds: files that stay where they were written, and none of a directory that is still being built."""

from __future__ import annotations

from windtunnel.schemas.artifact import write_text
from windtunnel.schemas.journal import journal, record_all, recorded


def test_a_directory_under_a_temporary_name_has_no_lines(tmp_path):
    task = tmp_path / "train.a.0-12345678.partial"  # of a step, as all journals are
    building, folder = task / "cache" / ".rows.77.partial", task / "cache" / "rows"
    with journal(task, "00000"):
        write_text(task / "log.txt", "a")
        write_text(building / "counts.json", "b")
        building.rename(folder)
        record_all([folder / "counts.json"])
    (files,) = recorded(task).values()
    assert sorted(files) == ["cache/rows/counts.json", "log.txt"]
    assert all((task / name).is_file() for name in files)
