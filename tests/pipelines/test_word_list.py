"""Lists from files: one entry a line, and nothing taken for a list that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from windtunnel.pipelines.filters._word_list import entries
from windtunnel.schemas.errors import InputError


def test_a_byte_order_mark_is_no_part_of_an_entry_and_hides_no_web_page(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfexample.org\nexample.com\n")
    assert entries(str(path)) == ["example.org", "example.com"]
    path.write_bytes(b"\xef\xbb\xbf<html><body>404</body></html>")
    with pytest.raises(InputError, match="looks like a web page"):
        entries(str(path))
