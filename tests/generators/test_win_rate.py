"""The win-rate step: both orders, ties where the place decides, nothing asked twice, nothing lost."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.generators.judging.win_rate import WinRate
from windtunnel.generators.serving.served import Served
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError, WindtunnelError


def answered(folder: Path, texts: dict[str, str]) -> Artifact:
    rows = [
        {"document": name, "source": "s", "prompt": f"question {name}", "answer": text} for name, text in texts.items()
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "answers.parquet")
    return Artifact(folder)


def letter(play, favourite):
    """A judge model that writes one letter, found by looking at the request's words."""

    def script(body, _before):
        text = favourite(body["messages"][-1]["content"])
        return play.says(text, logprobs={"content": [{"token": text, "logprob": -0.1, "top_logprobs": [
            {"token": text, "logprob": -0.1}, {"token": "B" if text == "A" else "A", "logprob": -2.4}]}]})  # fmt: skip

    return script


def step(server) -> WinRate:
    return WinRate(judge={"j": Served(url=server.url, model="m")})


def rows_of(out: Path) -> dict[str, dict]:
    return {row["document"]: row for row in pq.read_table(out / "scores.parquet").to_pylist()}


def test_the_better_answer_wins_in_both_places(scripted, play, tmp_path):
    scripted.script = letter(play, lambda text: "A" if text.index("GOOD") < text.index("POOR") else "B")
    inputs = {
        "answers": answered(tmp_path / "mine", {"one": "GOOD and long", "two": "POOR", "same": "equal"}),
        "baseline": answered(tmp_path / "theirs", {"two": "GOOD", "same": "equal", "one": "POOR"}),
    }
    counts = step(scripted).run(inputs, tmp_path, 0)
    rows = rows_of(tmp_path)
    assert counts.kept == counts.seen == 3
    assert (rows["one"]["win"], rows["two"]["win"]) == (1.0, 0.0)
    assert rows["one"]["consistent"] and rows["one"]["longer"] and rows["one"]["first"] > 0.5 < rows["one"]["second"]
    assert (rows["same"]["win"], rows["same"]["first"], rows["same"]["longer"]) == (0.5, None, None)
    assert len(scripted.bodies) == 4, "equal answers are not asked about"


def test_a_judge_of_places_gives_ties_and_is_seen_through(scripted, play, tmp_path):
    scripted.script = letter(play, lambda _text: "A")
    inputs = {
        "answers": answered(tmp_path / "mine", {"q": "one"}),
        "baseline": answered(tmp_path / "theirs", {"q": "other"}),
    }
    step(scripted).run(inputs, tmp_path, 0)
    row = rows_of(tmp_path)["q"]
    assert row["win"] == 0.5 and not row["consistent"]
    assert row["first"] > 0.5 > row["second"]
    assert row["probability"] == pytest.approx(0.5)


def test_a_pair_without_a_verdict_is_counted_and_stays_a_tie(scripted, play, tmp_path):
    scripted.script = lambda body, _before: play.says(
        "Neither, I would say" if "question q" in body["messages"][-1]["content"] else "A"
    )
    inputs = {
        "answers": answered(tmp_path / "mine", {"q": "one", "r": "one"}),
        "baseline": answered(tmp_path / "theirs", {"q": "other", "r": "other"}),
    }
    counts = step(scripted).run(inputs, tmp_path, 0)
    assert (counts.seen, counts.kept, counts.unreadable) == (2, 1, {"no_label": 1})
    row = rows_of(tmp_path)["q"]
    assert (row["win"], row["first"], row["second"]) == (0.5, None, None)


def test_a_judge_that_decides_no_pair_is_no_win_rate_of_one_half(scripted, play, tmp_path):
    scripted.script = lambda body, _before: play.says("Neither, I would say")
    inputs = {
        "answers": answered(tmp_path / "mine", {"q": "one", "same": "equal"}),
        "baseline": answered(tmp_path / "theirs", {"q": "other", "same": "equal"}),
    }
    with pytest.raises(WindtunnelError, match="no verdict on any of 1 pairs: no_label 1"):
        step(scripted).run(inputs, tmp_path, 0)
    assert not (tmp_path / "scores.parquet").exists()


@pytest.mark.parametrize(
    ("code", "error", "name"),
    [
        (401, {}, "unauthorized"),
        (404, {}, "model_not_found"),
        (429, {"code": "insufficient_quota"}, "quota_exhausted"),
    ],
)
def test_a_judge_that_cannot_answer_ends_the_step_and_a_later_run_finishes_it(
    scripted, play, tmp_path, code, error, name
):
    healthy = letter(play, lambda _text: "B")
    scripted.script = lambda body, before: (
        play.status(code, "not now", **error) if len(scripted.bodies) > 3 else healthy(body, before)
    )
    inputs = {
        "answers": answered(tmp_path / "mine", {f"q{k}": "one" for k in range(6)}),
        "baseline": answered(tmp_path / "theirs", {f"q{k}": "other" for k in range(6)}),
    }
    work = WinRate(judge={"j": Served(url=scripted.url, model="m")}, completions=str(tmp_path / "kept.sqlite"))
    with pytest.raises(WindtunnelError, match=rf"\({name}\): .*not now[\s\S]*run again"):
        work.run(inputs, tmp_path, 0)
    assert not (tmp_path / "scores.parquet").exists()
    scripted.script = healthy
    counts = work.run(inputs, tmp_path, 0)
    assert counts.kept == counts.seen == 6 and all(row["first"] is not None for row in rows_of(tmp_path).values())


def test_other_questions_are_refused(scripted, tmp_path):
    inputs = {"answers": answered(tmp_path / "mine", {"q": "x"}), "baseline": answered(tmp_path / "theirs", {"r": "y"})}
    with pytest.raises(InputError, match="different questions"):
        step(scripted).run(inputs, tmp_path, 0)
    assert not scripted.bodies
