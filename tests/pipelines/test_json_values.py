"""JSON files that are not in lines: arrays and objects over several lines, in any pieces, whole or not."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.test_books import read
from windtunnel.pipelines.files.user_files import user_rows
from windtunnel.pipelines.readers.json_values import in_lines, values
from windtunnel.pipelines.sources._read import read_work
from windtunnel.schemas.errors import InputError

ROWS: list[dict[str, Any]] = [
    {"text": 'quotes " and \\ backslashes \\" [{', "in": {"a": [1, [2, {}]], "b": "},{"}},
    {"text": "größer ]", "n": None},
    {"text": "last"},
]
FORMS = {
    "array": json.dumps(ROWS),
    "pretty array": json.dumps(ROWS, indent=2),
    "an object a line in an array": "[\n" + ",\n".join(json.dumps(row) for row in ROWS) + "\n]\n",
    "pretty objects": "\n".join(json.dumps(row, indent=1) for row in ROWS),
    "lines": "\n".join(json.dumps(row) for row in ROWS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_its_records(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.json").write_text(FORMS[form])
    counts, _ = read({"jsonl": str(tmp_path / "a.json")}, tmp_path / "out")
    assert (counts.seen, counts.kept) == (3, 3)
    assert user_rows(tmp_path / "a.json").inputs["columns"].work.run({}, tmp_path / "columns", 0).seen == 3


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("form", ["array", "pretty array", "pretty objects"])
def test_values_are_the_same_in_any_pieces(form: str, size: int) -> None:
    data = FORMS[form].encode()
    found = [line.data or b"" for line in values((data[at : at + size] for at in range(0, len(data), size)), 1000)]
    assert [json.loads(value) for value in found] == ROWS


def test_a_value_above_the_limit_has_no_data_and_the_next_is_read() -> None:
    data = json.dumps([{"text": "x" * 500}, {"text": "b"}]).encode()
    assert [line.data for line in values([data[:100], data[100:]], 100)] == [None, b'{"text": "b"}']


def test_what_is_cut_or_wrong_is_counted(tmp_path: Path) -> None:
    whole = json.dumps(ROWS, indent=1)
    for number, (data, lost) in enumerate(
        {
            whole[:-10]: {"invalid_json": 1},
            whole.rstrip("]"): {"truncated_json": 1},
            whole.replace('"n": null', '"n" null'): {"invalid_json": 1},
            whole.replace("[\n {", '[\n 7, "x",\n {', 1): {"not_an_object": 2},
        }.items()
    ):
        (tmp_path / "a.json").write_text(data)
        assert read({"jsonl": str(tmp_path / "a.json")}, tmp_path / str(number))[0].unreadable == lost


def test_a_damaged_first_line_does_not_make_a_document_of_lines(tmp_path: Path) -> None:
    assert in_lines(b'{"text": "cut\n{"text": "b"}\n') and in_lines(b'{"text": tru}\n{}')
    assert not in_lines(b'\n {\n"text"') and not in_lines(b'{"data": [\n{')
    (tmp_path / "a.json").write_text('{\n "text": "one",\n "n": 1\n}')
    assert read({"jsonl": str(tmp_path / "a.json")}, tmp_path / "one")[0].kept == 1
    (tmp_path / "b.jsonl").write_text('[{"text": "one"}]')
    with pytest.raises(InputError, match="not_an_object"):
        read({"jsonl": str(tmp_path / "b.jsonl")}, tmp_path / "lines")


def test_a_large_array_is_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windtunnel.pipelines.sources.jsonl.SPLIT_BYTES", 100)
    rows = [{"text": "word " * random.Random(number).randrange(1, 9)} for number in range(50)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert len(read_work({"jsonl": str(tmp_path / "a.json")}).parts) == 1
    assert read({"jsonl": str(tmp_path / "a.json")}, tmp_path / "out")[0].kept == 50
