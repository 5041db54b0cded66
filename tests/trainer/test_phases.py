"""Mixes in time: shares phase by phase, draws shared with mixes without phases, and documents in an order."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from blake3 import blake3

from windtunnel.pipelines.datasets.planned_mix import OrderOfMix, PhaseOfMix, PlannedMix
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.domain import Domain, Order
from windtunnel.trainer.data.sampler import Share, Stretch, Windows, read_mix
from windtunnel.trainer.loop.train import Stage, train

CONTEXT = 32
PHASED = {"wide": [(0.8, 1.0, 1.0), (1.0, 0.5, 0.5)], "narrow": [(0.8, 0.0, 0.0), (1.0, 0.5, 0.5)]}
RAMPED = {
    "wide": [(0.3, 0.9, 0.9), (0.7, 0.9, 0.2), (1.0, 0.2, 0.2)],
    "narrow": [(0.3, 0.1, 0.1), (0.7, 0.1, 0.8), (1.0, 0.8, 0.8)],
}


def windows(world, courses, number, seed=0, order=None):
    """Windows of corpora with their shares by phase, or with one share."""
    shares = [
        Share(name, course, order=(order or {}).get(name))
        if isinstance(course, float)
        else Share(name, 0.0, course=tuple(Stretch(*stretch) for stretch in course), order=(order or {}).get(name))
        for name, course in courses.items()
    ]
    domains = {name: Domain(name, world.artifact(f"tokens_{name}"), seed, CONTEXT, CONTEXT) for name in courses}
    return Windows(shares, domains, CONTEXT, number)


def names_of(plan):
    return np.array([plan.where(window)[0].domain.name for window in range(plan.number)])


def test_a_mix_without_phases_has_the_order_that_it_always_had(world):
    digests = [
        blake3(windows(world, weights, number, seed=3).tokens(0, number).tobytes()).hexdigest(8)
        for weights, number in (({"wide": 0.61, "narrow": 0.39}, 1000), ({"narrow": 1.0}, 301))
    ]
    assert digests == ["5bbf78b76c88ef1c", "0bbd4caae409a831"]


def test_phases_of_equal_shares_are_one_phase(world):
    same = {name: [(0.25, share, share), (1.0, share, share)] for name, share in (("wide", 0.5), ("narrow", 0.5))}
    parts, whole = (windows(world, courses, 800) for courses in (same, {"wide": 0.5, "narrow": 0.5}))
    assert sorted(map(tuple, parts.tokens(0, 800))) == sorted(map(tuple, whole.tokens(0, 800)))


@pytest.mark.parametrize("courses", [PHASED, RAMPED])
def test_shares_are_right_at_every_moment_of_every_phase(world, courses):
    plan = windows(world, courses, 1000)
    names = names_of(plan)
    for name, course in courses.items():
        begin, expected = 0, [0.0]
        for until, first, last in course:
            length = round(until * 1000) - begin
            at = (np.arange(length) + 0.5) / length
            expected += (first + (last - first) * at).tolist()
            begin += length
        error = np.abs(np.cumsum(np.r_[0, names == name]) - np.cumsum(expected))
        assert error.max() <= 2.0  # one for each of its two streams


def test_a_phase_goes_on_drawing_where_the_one_before_ended(world):
    phased, alone = windows(world, RAMPED, 900), windows(world, {"narrow": 1.0}, 900)
    own = np.flatnonzero(names_of(phased) == "narrow")
    by_stream: dict[str, list[int]] = {}
    for window in own.tolist():
        by_stream.setdefault(phased.where(window)[0].name, []).append(window)
    assert len(own) > 300 and len(by_stream) == 2
    for name, drawn in by_stream.items():
        unphased = [w for w in range(900) if alone.where(w)[0].name == name]
        for k in range(0, len(drawn), 17):
            assert np.array_equal(phased.tokens(drawn[k], drawn[k] + 1), alone.tokens(unphased[k], unphased[k] + 1))


def test_realised_counts_are_told_by_phase_and_add_up(world):
    plan = windows(world, PHASED, 1000)
    rows = pl.DataFrame(plan.realised())
    sums = rows.group_by("phase", "domain").agg(pl.col("tokens").sum())
    tokens = {(phase, domain): number for phase, domain, number in sums.iter_rows()}
    assert tokens == {(1, "wide"): 800 * CONTEXT, (2, "wide"): 100 * CONTEXT, (2, "narrow"): 100 * CONTEXT}
    whole = pl.DataFrame(windows(world, {"wide": 0.9, "narrow": 0.1}, 1000).realised())
    assert "phase" not in whole.columns
    sums = rows.group_by("domain", "source").agg(pl.col("tokens", "epochs").sum()).sort("domain", "source")
    same = whole.sort("domain", "source")
    assert np.abs(sums["tokens"] - same["tokens"]).max() <= 2 * CONTEXT  # each phase rounds to windows
    assert np.allclose(sums["epochs"], same["epochs"], atol=0.05)


def values_of(world, tmp_path, name="wide"):
    """A value of each document of a corpus, some equal and some missing, and the file of an order by it."""
    artifact = world.artifact(f"tokens_{name}")
    number = sum(pl.read_parquet(f).height for f in artifact.files("documents"))
    values = [None if k % 11 == 0 else float((k * 29) % 23) for k in range(number)]
    pl.DataFrame({"value": values}, schema={"value": pl.Float64}).write_parquet(tmp_path / f"{name}.parquet")
    return np.array(values, float), tmp_path / f"{name}.parquet"


@pytest.mark.parametrize("descending", [False, True])
def test_an_order_reads_the_same_tokens_by_value_in_every_epoch(world, tmp_path, descending):
    values, file = values_of(world, tmp_path)
    plain = windows(world, {"wide": 0.6, "narrow": 0.4}, 6000)
    ordered = windows(world, {"wide": 0.6, "narrow": 0.4}, 6000, order={"wide": Order(file, descending)})
    (stream,) = next(domain.streams for domain, _ in ordered.streams if domain.name == "wide")
    wide = plain.streams[0][0]
    assert stream.tokens > 1.5 * wide.tokens  # more than an epoch
    drawn = [p.tokens(0, 6000)[names_of(p) == "wide"][:, 1:].ravel() for p in (plain, ordered)]
    counts = [np.bincount(tokens, minlength=500) for tokens in drawn]
    assert np.abs(counts[0] - counts[1]).sum() <= 4  # the first token of a stream is not predicted
    assert not np.array_equal(drawn[0], drawn[1])
    read, pieces = values[stream._document], sum(len(s._document) for s in wide.streams)
    assert np.isnan(read[:pieces]).sum() > 5
    for start in range(0, len(read), pieces):
        known = read[start : start + pieces]
        last = len(known) - np.isnan(known).sum()
        assert np.isnan(known[last:]).all()  # what has no value ends an epoch
        steps = np.diff(known[:last])
        assert (steps <= 0).all() if descending else (steps >= 0).all()
    rows = pl.DataFrame(ordered.realised()).group_by("domain").agg(pl.col("tokens").sum())
    assert dict(rows.iter_rows()) == {"wide": 3600 * CONTEXT, "narrow": 2400 * CONTEXT}


def test_documents_of_equal_value_are_in_another_order_with_another_seed(world, tmp_path):
    _, file = values_of(world, tmp_path)
    streams = [
        windows(world, {"wide": 1.0}, 200, seed=seed, order={"wide": Order(file)}).streams[0][0].streams[0]
        for seed in (0, 0, 1)
    ]
    documents = [stream._document.tolist() for stream in streams]
    assert documents[0] == documents[1] != documents[2]


def test_values_of_another_corpus_are_refused(world, tmp_path):
    _, file = values_of(world, tmp_path, "narrow")
    with pytest.raises(InputError, match=r"40 values are not those of the corpus 'wide'"):
        windows(world, {"wide": 1.0}, 100, order={"wide": Order(file)})


def test_phases_and_order_are_read_from_the_mix(tmp_path):
    phases = [
        {"from": 0.0, "until": 0.8, "first": {"a": 1.0}, "last": {"a": 1.0}},
        {"from": 0.8, "until": 1.0, "first": {"a": 1.0}, "last": {"a": 0.5, "b": 0.5}},
    ]
    domains = [{"name": "a", "weight": 0.95}, {"name": "b", "weight": 0.05}]
    mix = {"domains": domains, "token_budget": 7, "phases": phases, "order": {"by": "x", "direction": "descending"}}
    (tmp_path / "mix.json").write_text(json.dumps(mix))
    (_, second), budget = read_mix(Artifact(tmp_path))
    assert budget == 7
    assert second.course == (Stretch(0.8, 0.0, 0.0), Stretch(1.0, 0.0, 0.5))
    assert second.order == Order(tmp_path / "order" / "b.parquet", descending=True)


@pytest.mark.parametrize("objective", [{}, {"documents": "separate"}])
def test_a_run_resumes_within_a_phased_and_ordered_mix_and_tells_its_phases(world, tmp_path, objective):
    phases = (
        PhaseOfMix(weights={"wide": 1.0}, until=0.5),
        PhaseOfMix(weights={"wide": 1.0, "narrow": 1.0}, ramp=True),
    )
    mix = PlannedMix(phases=phases, order=OrderOfMix(by="tokens"), token_budget=4096, context=CONTEXT)
    inputs = world.inputs("both")
    mix.run({role: found for role, found in inputs.items() if role.startswith("tokens:")}, tmp_path / "mix", 0)
    inputs["mix"] = Artifact(tmp_path / "mix")
    model = {"llama": {"width": 32, "layers": 1, "heads": 2, "context": CONTEXT}}
    stage = Stage.from_specs("m", 0, model, "constant", {"causal_lm": {"batch_tokens": 256, **objective}})

    def stop(step, *_):
        if step == 11:  # in the second phase
            raise InterruptedError

    train(stage, inputs, tmp_path / "whole")
    with pytest.raises(InterruptedError):
        train(stage, inputs, tmp_path / "resumed", report=stop, checkpoint_steps=10)
    train(stage, inputs, tmp_path / "resumed")
    for name in ("model/model.safetensors", "realised.parquet", "scores.parquet"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes()
    rows = pl.read_parquet(tmp_path / "whole" / "realised.parquet")
    sums = rows.group_by("phase", "domain").agg(pl.col("tokens").sum()).sort("phase", "domain")
    assert sums.rows() == [(1, "wide", 2048), (2, "narrow", 512), (2, "wide", 1536)]
