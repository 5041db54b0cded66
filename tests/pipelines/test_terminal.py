"""Text from outside reaches the terminal without control characters, whichever command prints it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import fsspec
import pytest
from rich.table import Table

from windtunnel.pipelines import cli
from windtunnel.pipelines.engine.mirrors.mirror import Mirror
from windtunnel.pipelines.readers.listing import matching
from windtunnel.pipelines.readers.paths import shown
from windtunnel.pipelines.views.console import PlainConsole
from windtunnel.pipelines.views.plain_table import plain_table
from windtunnel.schemas.errors import InputError, nearest

EVIL = "x\n\x1b[31mred\x07.txt"


def test_errors_and_usage_are_printed_without_escape_sequences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["filter", f"{tmp_path}/{EVIL}", "out", "--rules", "length"], [EVIL], ["show", EVIL]):
        monkeypatch.setattr("sys.argv", ["windtunnel", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
        said = capsys.readouterr()
        assert said.err.startswith("error: ") and "red" in said.err
        assert "\x1b" not in said.err + said.out and "\x07" not in said.err + said.out


def test_styles_of_tables_pass_and_escape_sequences_of_cells_do_not() -> None:
    terminal = {"force_terminal": True, "color_system": "standard", "width": 80, "markup": False, "highlight": False}
    file = io.StringIO()
    console = PlainConsole(file=file, **terminal)  # pyright: ignore[reportArgumentType]
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_row(EVIL)
    console.print(table, f"\x1b]0;title\x07{EVIL}")
    text = file.getvalue()
    assert set(re.findall("\x1b[^m]*m", text)) == {"\x1b[1m", "\x1b[0m"} and text.count("<U+001B>[31") == 2


def test_names_of_rows_are_whole_where_the_terminal_is_narrow() -> None:
    name = "train:mix_of_many_letters:0"
    table = plain_table(("step", "state", "size", "tokens"), left=2)
    table.add_row(name, "finished after 120 steps, held-out 2.500 bits per byte", "1,234.5 MB", "1,000,000")
    file = io.StringIO()
    PlainConsole(file=file, width=40).print(table)
    assert "".join(line.split()[0] for line in file.getvalue().splitlines()[1:] if line[:1].strip()) == name


def test_names_in_errors_are_on_one_line(tmp_path: Path) -> None:
    escaped = r"x\n\x1b[31mred\x07.txt"
    (tmp_path / EVIL).write_text("a")
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"/evil-names/{EVIL}", b"a")
    for place in (str(tmp_path), "memory://evil-names"):
        with pytest.raises(InputError) as error:
            matching([place, f"{place}/*.zz"][place.startswith("memory")], (".jsonl",))
        assert escaped in str(error.value) and str(error.value).isprintable()
    assert nearest("red", [EVIL, "zzz"]).isprintable() and shown(tmp_path / EVIL).endswith(escaped)
    memory.rm("/evil-names", recursive=True)


def test_control_characters_of_a_bucket_make_no_names_in_the_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINDTUNNEL_CACHE", str(tmp_path))
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/evil-store/a\x1b[31m-12345678/manifest.json", b'{"key": "12345678", "bytes": 0}')
    mirror = Mirror.of("memory://evil-store")
    mirror.refresh()
    assert not [path for path in tmp_path.rglob("*") if not path.name.isprintable()]
    memory.rm("/evil-store", recursive=True)


def test_an_error_that_nobody_expected_shows_its_traceback_without_escape_sequences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise KeyError(EVIL + "\x1b]0;title\x07\u202e")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capsys.readouterr().err
    assert left.value.code == 1 and "Traceback" in said and "KeyError" in said
    assert not {"\x1b", "\x07", "\u202e"} & set(said)
