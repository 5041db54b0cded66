"""Cards of judges: figures with their intervals, foreign text that stays text, and the command that writes them."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from windtunnel.pipelines.cli import app

HOSTILE = "<script>x</script> | **b**"


def test_a_calibration_ends_in_a_card(tmp_path) -> None:
    rows = [{"prompt": f"p{k}", "chosen": "x" * (9 + k), "rejected": "y", "subset": HOSTILE} for k in range(12)]
    rows += [{"id": "of four", "prompt": "q", "chosen": ["xxx"], "rejected": ["y", "yy", "z"]}, {"prompt": "no pair"}]
    pairs, card = tmp_path / "pairs.jsonl", tmp_path / "judge.md"
    pairs.write_text("\n".join(map(json.dumps, rows)))
    done = CliRunner().invoke(app, ["judge", "calibrate", str(pairs), "--judge", "longest", "--card", str(card)])
    assert done.exit_code == 0, done.output
    assert done.output.index("kappa") < done.output.index("agreement ")
    text = card.read_text(encoding="utf-8")
    assert "# Judge longest" in text and "Held against 15 labelled pairs of pairs.jsonl" in text
    assert text.index("| kappa | ") < text.index("| agreement [95 %] | 1.000 [")
    assert "| best of several answers, ties shared [95 %] | 1.000 [" in text
    assert "<script>" not in text and "&lt;script" in text
    assert "1 rows are no labelled pair: missing\\_field" in text
    assert str(tmp_path) not in text
    again = CliRunner().invoke(app, ["judge", "calibrate", str(pairs), "--judge", "longest", "--json"])
    assert json.loads(again.stdout)["subsets"][HOSTILE]["n"] == 12
