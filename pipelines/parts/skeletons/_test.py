"""Runs the examples of NewPart: `pytest test_new_part.py`."""

from __future__ import annotations

from pathlib import Path

from windtunnel.pipelines.parts import check


def test_the_examples_hold() -> None:
    assert check("KIND", "./new_part.py:NewPart", Path(__file__).parent) == []
