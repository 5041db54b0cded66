"""Calibration against figures worked out by hand, simulated labellers, and judges that deserve no trust."""

from __future__ import annotations

import gzip
import json
import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.generators.judges._judge import Judge, Pair, Verdict, make_judge
from windtunnel.generators.judging.calibration import calibrate, calibrate_file, examine, wilson
from windtunnel.generators.judging.pairs import read_pairs
from windtunnel.schemas.errors import InputError, RecipeError, WindtunnelError

KEYS = [
    "kappa", "agreement", "low", "high", "agreement_without_ties", "human_ceiling", "baselines", "swap_consistency",
    "length_preference", "brier", "ece", "n", "subsets", "best_of", "label_mass", "from_logprobs",
]  # fmt: skip


def pair(labels, ab=0.5, ba=0.5, a="xx", b="x", name="") -> Pair:
    return Pair("p", a, b, tuple(labels), name, (ab, ba))


RECORDED = make_judge("recorded")


def test_the_figures_by_hand():
    pairs = [
        pair(["a"], 0.9, 0.7),  # a in both orders: right
        pair(["b"], 0.4, 0.2),  # b in both: right; b is the shorter
        pair(["a", "b"], 0.8, 0.3),  # a, then b: a tie by contradiction, equal to no label
        pair(["tie", "tie"], 0.5, 0.5, a="x"),  # a tie, right
        pair(["a", "a"], 0.1, 0.1, a="x", b="xyz"),  # b, the longer: wrong
    ]
    found = calibrate(pairs, RECORDED)
    assert list(found) == KEYS
    assert found["agreement"] == pytest.approx(3 / 5)
    assert (found["low"], found["high"]) == (pytest.approx(0.2307, abs=1e-4), pytest.approx(0.8824, abs=1e-4))
    chance = (1 / 5) * (2.5 / 5) + (2 / 5) * (1.5 / 5) + (2 / 5) * (1 / 5)
    assert found["kappa"] == pytest.approx((3 / 5 - chance) / (1 - chance))
    assert found["agreement_without_ties"] == pytest.approx(2 / 3)  # of pairs 1, 2 and 5
    assert (found["subsets"], found["best_of"], found["label_mass"], found["from_logprobs"]) == ({}, None, None, 0)
    assert found["human_ceiling"] == pytest.approx((0 + 1 + 1) / 3)
    # longest: a, a, a, tie, b against the labels
    assert found["baselines"]["longest"] == pytest.approx((1 + 0 + 0.5 + 1 + 0) / 5)
    assert found["baselines"]["first"] == pytest.approx(2.5 / 5)
    assert found["baselines"]["random"] == pytest.approx((2.5 + 1.5) / 2 / 5)
    assert found["swap_consistency"] == pytest.approx(4 / 5)
    assert found["length_preference"] == pytest.approx(2 / 3)  # verdicts a, b, b on pairs of unequal length
    probabilities = [0.8, 0.3, 0.55, 0.5, 0.1]
    brier = [(0.8 - 1) ** 2, 0.3**2, (0.45**2 + 0.55**2) / 2, 0.0, 0.9**2]
    assert found["brier"] == pytest.approx(sum(brier) / 5)
    gaps = [abs(0.8 - 1), 0.3, abs((0.55 + 0.5) / 2 - 0.5) * 2, abs(0.1 - 1)]
    assert found["ece"] == pytest.approx(sum(gaps) / 5)
    assert found["n"] == 5
    assert len(probabilities) == found["n"]
    json.dumps(found, allow_nan=False)


def test_pairs_without_a_verdict_are_in_no_figure():
    class Half(Judge):
        def verdicts(self, pairs):
            return [Verdict(0.9, 0.9) if k % 2 else Verdict(error="no_label") for k in range(len(pairs))]

    found = examine([pair(["b"] if k % 2 else ["a"]) for k in range(8)], Half())
    assert (found.figures["n"], found.failed) == (4, {"no_label": 4})
    assert found.figures["agreement"] == 0
    assert (found.figures["low"], found.figures["high"]) == (0, pytest.approx(0.4899, abs=1e-4))  # of 4, not of 8
    assert [b.pairs for b in found.bins] == [4]


def test_a_judge_as_good_as_one_more_labeller_reaches_the_human_ceiling():
    rng = random.Random(5)
    pairs = []
    for _ in range(4000):
        truth = rng.choice("ab")
        *labels, judge = [truth if rng.random() < 0.8 else "ba"["ab".index(truth)] for _ in range(4)]
        p = 1.0 if judge == "a" else 0.0
        pairs.append(pair(labels, p, p))
    found = calibrate(pairs, RECORDED)
    assert found["human_ceiling"] == pytest.approx(0.8**2 + 0.2**2, abs=0.02)
    assert found["agreement"] == pytest.approx(found["human_ceiling"], abs=0.02)
    assert found["low"] < found["agreement"] < found["high"]


def test_a_calibrated_probability_has_no_error_and_an_overconfident_one_has():
    rng = random.Random(1)
    honest, proud = [], []
    for _ in range(4000):
        p = rng.random()
        label = ["a" if rng.random() < p else "b"]
        honest.append(pair(label, p, p))
        proud.append(pair(label, float(p > 0.5), float(p > 0.5)))
    good, bad = calibrate(honest, RECORDED), calibrate(proud, RECORDED)
    assert good["ece"] < 0.03
    assert bad["ece"] > 0.2
    assert good["brier"] == pytest.approx(1 / 6, abs=0.01)
    assert bad["brier"] > good["brier"]
    assert good["agreement"] == bad["agreement"]


class Constant(Judge):
    ab: float
    ba: float

    def verdicts(self, pairs):
        return [Verdict(self.ab, self.ba) for _ in pairs]


def labelled(n: int = 200) -> list[Pair]:
    rng = random.Random(3)
    return [
        pair([rng.choice(["a", "a", "b", "tie"])], a="x" * rng.randint(1, 9), b="x" * rng.randint(1, 9))
        for _ in range(n)
    ]


@pytest.mark.parametrize(("ab", "ba"), [(1, 1), (0, 0), (0.5, 0.5), (1, 0), (0.9, 0.2)])
def test_a_judge_that_always_says_the_same_is_found_out(ab, ba):
    found = examine(labelled(), Constant(ab=ab, ba=ba))
    assert found.figures["kappa"] == pytest.approx(0, abs=1e-12)
    assert any("same verdict" in finding for finding in found.findings)
    assert any("baseline" in finding for finding in found.findings)
    by_position = any("position" in finding for finding in found.findings)
    assert by_position == ((ab > 0.5) != (ba > 0.5))


def test_a_good_judge_has_no_findings():
    pairs = [pair(["a" if i % 2 else "b"], *[0.95 if i % 2 else 0.05] * 2, a="same", b="size") for i in range(100)]
    found = examine(pairs, RECORDED)
    assert found.findings == []
    assert found.figures["kappa"] == pytest.approx(1)
    assert found.figures["length_preference"] is None
    assert found.figures["human_ceiling"] is None


def test_what_chance_agrees_on_in_full_has_no_kappa():
    assert calibrate([pair(["a"]) for _ in range(5)], Constant(ab=1, ba=1))["kappa"] == 0


def test_one_pair_is_no_habit():
    assert not any("same verdict" in finding for finding in examine([pair(["a"])], Constant(ab=1, ba=1)).findings)


def test_above_a_baseline_by_luck_is_not_clearly_above():
    pairs = [pair(["a"], 0.9, 0.9, b="xx"), pair(["b"], 0.1, 0.1, b="xx"), pair(["b"], 0.1, 0.1, b="xx")]
    found = examine(pairs, RECORDED)
    assert found.figures["agreement"] == 1 > max(found.figures["baselines"].values()) > found.figures["low"]
    (finding,) = found.findings
    assert "not clearly above the baseline 'random' (0.500)" in finding


def test_of_many_bad_lines_the_first_ten_are_written_out(tmp_path):
    said: list[str] = []
    calibrate_file(write(tmp_path / "pairs.jsonl", [row()] + [b"{"] * 25), "recorded", said.append)
    assert [line.partition("line ")[2].split(":")[0] for line in said[:10]] == [str(n) for n in range(2, 12)]
    assert said[10] == "25 of 26 lines are left out: invalid_json 25"


def test_the_baseline_judges_agree_with_the_baselines():
    pairs = labelled()
    assert calibrate(pairs, make_judge("longest"))["agreement"] == calibrate(pairs, RECORDED)["baselines"]["longest"]
    first = calibrate(pairs, make_judge("first"))
    assert first["swap_consistency"] == 0
    assert first["agreement"] == sum(p.labels == ("tie",) for p in pairs) / len(pairs)  # all its verdicts are ties
    coin = calibrate(pairs, make_judge("random"))
    assert 0.35 < coin["swap_consistency"] < 0.65
    assert coin == calibrate(pairs, make_judge({"random": 0})) != calibrate(pairs, make_judge({"random": 1}))


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b", "tie"]), min_size=1, max_size=4),
            st.floats(0, 1), st.floats(0, 1), st.text(max_size=3), st.text(max_size=3),
        ),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_figures_stay_in_their_range_and_do_not_depend_on_the_names_of_the_answers(rows):
    pairs = [pair(labels, ab, ba, a, b) for labels, ab, ba, a, b in rows]
    other = {"a": "b", "b": "a", "tie": "tie"}
    swapped = [pair([other[x] for x in labels], 1 - ba, 1 - ab, b, a) for labels, ab, ba, a, b in rows]
    found, mirror = calibrate(pairs, RECORDED), calibrate(swapped, RECORDED)
    for key in ("agreement", "low", "high", "swap_consistency", "brier", "ece"):
        assert 0 <= found[key] <= 1
    assert found["low"] <= found["agreement"] <= found["high"] + 1e-12
    for key in ("agreement", "kappa", "human_ceiling", "swap_consistency", "length_preference", "brier"):
        assert mirror[key] == pytest.approx(found[key]), key


def write(path, rows):
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    return path


def row(**change):
    whole = {"prompt": "p", "response_a": "long", "response_b": "b", "labels": ["a"], "judge": {"ab": 0.9, "ba": 0.8}}
    return {key: value for key, value in (whole | change).items() if value is not ...}


def test_bad_lines_are_counted_and_named_and_the_good_ones_judged(tmp_path):
    rows = [
        row(id="one"), b"", b'{"half', b"\xff\xfe", b"[1]", row(id="two", labels=["A"]), row(id="three", labels=[]),
        row(id="four", labels=...), row(id="five", response_a=7), row(id="one"),
        row(id="six", judge={"ab": 1.5, "ba": 0}), row(id="seven", judge={"ab": True, "ba": 0}),
        row(id="eight", labels=["b", "tie"]), row(id=9, prompt=["x"]),
        row(id=10, prompt=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]), row(id=[]),
    ]  # fmt: skip
    path = write(tmp_path / "pairs.jsonl", rows)
    read = read_pairs(path)
    assert [p.id for p in read.good] == ["one", "eight", "10"]
    assert read.good[2].prompt == "user: hi\n\nassistant: ho"
    assert [(bad.line, bad.reason) for bad in read.bad] == [
        (3, "invalid_json"), (4, "invalid_json"), (5, "not_an_object"), (6, "unknown_label"), (7, "no_labels"),
        (8, "missing_field"), (9, "wrong_type"), (10, "duplicate_id"), (11, "bad_recorded"), (12, "bad_recorded"),
        (14, "wrong_type"), (16, "wrong_type"),
    ]  # fmt: skip
    said: list[str] = []
    found = calibrate_file(path, "recorded", said.append)
    assert found["n"] == 3
    assert any("line 6: unknown_label: 'A' is none of a, b, tie" in line for line in said)
    assert any(line.startswith("12 of 15 lines are left out") for line in said)


def test_pairs_without_a_recorded_verdict_are_not_in_the_figures(tmp_path):
    path = write(tmp_path / "pairs.jsonl", [row(id="1"), row(id="2", judge=...)])
    said: list[str] = []
    assert calibrate_file(path, "recorded", said.append)["n"] == 1
    assert any("not_recorded 1" in line for line in said)
    with pytest.raises(WindtunnelError, match="no verdict on any of 1 pairs: not_recorded"):
        calibrate_file(write(tmp_path / "none.jsonl", [row(judge=...)]), "recorded")


def test_a_compressed_file_and_one_with_a_byte_order_mark(tmp_path):
    packed = tmp_path / "pairs.jsonl.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(row()).encode()))
    assert len(read_pairs(packed).good) == 1
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(packed)


def test_a_file_without_a_good_line_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no labelled pair"):
        read_pairs(write(tmp_path / "empty.jsonl", []))
    with pytest.raises(InputError, match="line 1: 'labels' is a list"):
        read_pairs(write(tmp_path / "bad.jsonl", [row(labels=[])]))
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(tmp_path / "missing.jsonl")


def test_judges_are_named_as_the_command_line_does():
    assert type(make_judge("longest")).__name__ == "Longest"
    judge = make_judge("openai:org/model@http://127.0.0.1:8000/v1")
    assert judge.endpoint().model == "org/model"  # type: ignore[attr-defined]
    assert judge.endpoint().url == "http://127.0.0.1:8000/v1"  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match="did you mean 'longest'"):
        make_judge("longst")
    with pytest.raises(RecipeError, match="MODEL@URL"):
        make_judge("openai:http://127.0.0.1:8000/v1")
    with pytest.raises(RecipeError, match="there is correctness, quality"):
        make_judge({"rubric": {"at": "m@http://h/v1", "criterion": "beauty"}})


def test_wilsons_interval_by_hand() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def preference(**change):
    whole = {"prompt": "p", "chosen": "good", "rejected": "bad", "subset": "math"}
    return {key: value for key, value in (whole | change).items() if value is not ...}


def turns(*contents):
    return [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(contents)]


LAYOUTS = [  # all of them: is "good" better than "bad" on the question "p"?
    preference(),
    preference(chosen=[{"role": "assistant", "content": "good"}], rejected=[{"role": "assistant", "content": "bad"}]),
    preference(prompt=turns("p"), chosen=["good"], rejected=["bad"], num_correct=1, num_incorrect=1),
    preference(chosen=turns("p", "good"), rejected=turns("p", "bad")),  # the prompt again
    preference(prompt=..., chosen=turns("p", "good"), rejected=turns("p", "bad")),  # implicit
]


@pytest.mark.parametrize("layout", range(len(LAYOUTS)))
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_preference_rows_are_pairs_whatever_their_layout(tmp_path, layout, form):
    path = tmp_path / f"pairs.{form}"
    if form == "parquet":
        pl.DataFrame([LAYOUTS[layout]]).write_parquet(path)
    else:
        write(path, [LAYOUTS[layout]])
    (found,) = read_pairs(path).good
    assert (found.prompt, found.subset, found.row) == ("p", "math", "")
    assert {"a": found.response_a, "b": found.response_b}[found.labels[0]] == "good"
    assert {found.response_a, found.response_b} == {"good", "bad"}


def test_bad_preference_rows_are_counted_with_their_reason(tmp_path):
    rows = [
        preference(), preference(prompt="p2", rejected="good"), preference(prompt=...), preference(chosen=[]),
        preference(prompt="p3", chosen=["x", "y"], num_correct=1), preference(prompt=7),
        preference(id="i", chosen=None),
        preference(chosen=[{"role": "assistant", "content": None}]), preference(),
        preference(prompt=..., chosen=turns("p", "good"), rejected=turns("q", "bad")),
        preference(chosen=[{"role": "assistant", "content": [{"type": "image"}]}]), preference(chosen=[[1]]),
    ]  # fmt: skip
    read = read_pairs(write(tmp_path / "pairs.jsonl", rows))
    assert len(read.good) == 1
    assert [(bad.line, bad.reason) for bad in read.bad] == [
        (2, "equal_answers"), (3, "missing_field"), (4, "wrong_type"), (5, "wrong_number"), (6, "wrong_type"),
        (7, "wrong_type"), (8, "wrong_type"), (9, "duplicate_id"), (10, "missing_field"), (11, "wrong_type"),
        (12, "wrong_type"),
    ]  # fmt: skip


class Longer(Judge):
    """Prefers the longer answer, and calls answers of one length a tie."""

    def verdicts(self, pairs):
        sizes = [len(pair.response_a) - len(pair.response_b) for pair in pairs]
        return [Verdict(p, p, mass=0.8) for size in sizes for p in [1.0 if size > 0 else 0.5 if size == 0 else 0.0]]


def test_the_best_of_several_with_ties(tmp_path):
    rows = [  # the judge prefers the longer answer
        preference(id="right", chosen=["xxxx"], rejected=["a", "b", "c"]),
        preference(id="tied", chosen=["xxxx"], rejected=["aaaa", "b", "c"]),
        preference(id="wrong", chosen=["x"], rejected=["aaaa", "b", "cc"]),
        preference(id="two", subset="ties", chosen=["xxx", "y"], rejected=["aa", "b"], num_correct=2, num_incorrect=2),
        preference(id="plain", chosen="xx", rejected="y", subset="other"),
    ]
    path = write(tmp_path / "pairs.jsonl", rows)
    pairs = read_pairs(path).good
    assert len(pairs) == 3 * 3 + 4 + 1
    assert {pair.labels for pair in pairs} == {("a",), ("b",)}
    found = calibrate(pairs, Longer())
    assert found["best_of"]["agreement"] == pytest.approx((1 + 1 / 2 + 0 + (1 + 0) / 2) / 4)
    assert found["best_of"]["strict"] == 1 / 4
    assert found["best_of"]["chance"] == pytest.approx((1 / 4 * 3 + 2 / 4) / 4)
    assert found["best_of"]["n"] == 4
    assert {name: figures["n"] for name, figures in found["subsets"].items()} == {"math": 9, "ties": 4, "other": 1}
    assert found["subsets"]["other"]["agreement"] == 1
    assert (found["label_mass"], found["from_logprobs"]) == (pytest.approx(0.8), 1)
    assert (found["low"], found["high"]) == pytest.approx(wilson(found["agreement"], 5))  # rows, not pairs
    assert {pair.labels for pair in read_pairs(write(path, [preference(prompt=str(k)) for k in range(20)])).good} == {
        ("a",), ("b",),
    }  # fmt: skip
