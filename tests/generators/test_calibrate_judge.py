"""The step that calibrates a judge: planted pairs that hide their answer, figures that find a bad judge out."""

from __future__ import annotations

import json
from statistics import mean

import pytest

from windtunnel.generators.judging.calibrate_judge import CalibrateJudge, planted_pairs
from windtunnel.generators.serving.served import Served
from windtunnel.generators.text import seed_tasks
from windtunnel.schemas.errors import WindtunnelError


def step(server, **params) -> CalibrateJudge:
    return CalibrateJudge(judge={"j": Served(url=server.url, model="m")}, **params)


def figures(folder) -> dict:
    return json.loads((folder / "calibration.json").read_bytes())


def test_planted_pairs_hold_the_right_answer_and_neither_place_nor_length_tells_it():
    pairs = planted_pairs(150)
    answers = {task.id: task.instances[0].output for task in seed_tasks.read()}
    assert len({pair.name for pair in pairs}) == 150
    for pair in pairs:
        right, wrong = (pair.response_a, pair.response_b)[:: 1 if pair.labels == ("a",) else -1]
        assert right == answers[pair.name] != wrong
    assert 0.4 < mean(pair.labels == ("a",) for pair in pairs) < 0.6
    longer = [len(p.response_a) > len(p.response_b) for p in pairs if len(p.response_a) != len(p.response_b)]
    told = [p.labels == ("a",) for p in pairs if len(p.response_a) != len(p.response_b)]
    assert 0.35 < mean(a == b for a, b in zip(longer, told, strict=True)) < 0.65
    assert planted_pairs(20) == pairs[:20]


def test_a_judge_that_knows_is_told_from_one_that_always_says_a(scripted, play, tmp_path):
    right = {pair.prompt: pair for pair in planted_pairs(40)}

    def knows(body, _before):
        text = body["messages"][-1]["content"]
        pair = next(pair for prompt, pair in right.items() if prompt in text)
        good, bad = (pair.response_a, pair.response_b)[:: 1 if pair.labels == ("a",) else -1]
        return play.says("A" if text.rindex(good) < text.rindex(bad) else "B")

    scripted.script = lambda body, _before: play.says("A")
    counts = step(scripted, number=40).run({}, tmp_path / "first", 0)
    assert counts.kept == 40
    blind = figures(tmp_path / "first")
    assert blind["swap_consistency"] == 0 and blind["findings"] and blind["planted"]
    scripted.script = knows
    step(scripted, number=40).run({}, tmp_path / "second", 0)
    assert figures(tmp_path / "second")["agreement"] > 0.8 > blind["high"]


def test_a_file_of_labels_is_used_and_its_bad_lines_counted(scripted, play, tmp_path):
    scripted.script = lambda body, _before: play.says("B")
    lines = [{"prompt": f"q{k}", "response_a": "x", "response_b": "yy", "labels": ["b"]} for k in range(5)]
    file = tmp_path / "people.jsonl"
    file.write_text("\n".join([*map(json.dumps, lines), "{broken"]), encoding="utf-8")
    counts = step(scripted, file=str(file), digest="d").run({}, tmp_path / "out", 0)
    assert (counts.seen, counts.kept, counts.unreadable) == (6, 5, {"invalid_json": 1})
    assert figures(tmp_path / "out")["pairs"] == "people.jsonl" and not figures(tmp_path / "out")["planted"]


def test_a_key_that_expires_midway_leaves_no_calibration_on_fewer_pairs(scripted, play, tmp_path):
    scripted.script = lambda body, _before: play.status(401, "expired") if len(scripted.bodies) > 28 else play.says("A")
    work = step(scripted, number=40, completions=str(tmp_path / "kept.sqlite"))
    with pytest.raises(WindtunnelError, match="unauthorized"):
        work.run({}, tmp_path / "out", 0)
    assert not (tmp_path / "out" / "calibration.json").exists()
    scripted.script = lambda body, _before: play.says("A")
    assert work.run({}, tmp_path / "out", 0).kept == figures(tmp_path / "out")["n"] == 40


def test_other_labels_are_another_step(scripted):
    one, two, same = (step(scripted, file=f, digest=d) for f, d in (("a", "1"), ("a", "2"), ("b", "1")))
    assert one.identity() == same.identity() != two.identity()
    assert step(scripted, number=10).identity() != step(scripted, number=20).identity()


@pytest.mark.parametrize("number", [2, 60, 1000])
def test_no_more_pairs_than_tasks(number):
    assert len(planted_pairs(number)) == min(number, len(seed_tasks.read()))
