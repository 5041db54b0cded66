"""The sampler: a function of the step, shared draws between mixes, every token once an epoch, shares as asked."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.sampler import DocumentIds, Domain, Share, Windows, apportion, read_mix

CONTEXT = 32


def domain(world, name, seed=0, piece=4 * CONTEXT):
    return Domain(name, world.artifact(f"tokens_{name}"), seed, piece)


def windows(world, weights, number, seed=0):
    domains = {name: domain(world, name, seed) for name in weights}
    return Windows([Share(n, w) for n, w in weights.items()], domains, CONTEXT, number)


def test_a_batch_needs_no_batch_before_it(world):
    weights = {"wide": 0.3, "narrow": 0.7}
    replayed = windows(world, weights, 640)
    rows = [replayed.tokens(first, first + 8) for first in range(0, 640, 8)]
    for step in (79, 3, 40, 0):
        assert np.array_equal(windows(world, weights, 640).tokens(step * 8, step * 8 + 8), rows[step])


def test_each_token_is_predicted_once_an_epoch(world):
    wide = domain(world, "wide")
    stream = wide.read(0, 2 * wide.tokens + 1)
    files = world.artifact("tokens_wide").files("tokens", ".ds")
    counts = np.bincount(np.concatenate([np.fromfile(f, "<u2") for f in files]))
    first, second = stream[: wide.tokens], stream[wide.tokens : 2 * wide.tokens]
    assert np.array_equal(np.bincount(first), counts)
    assert np.array_equal(np.bincount(second), counts)
    assert not np.array_equal(first, second)  # another order in another epoch
    number = wide.tokens // CONTEXT
    cut = windows(world, {"wide": 1.0}, number).tokens(0, number)
    assert np.array_equal(cut[:, 1:].ravel(), stream[1 : number * CONTEXT + 1])
    assert np.array_equal(cut[1:, 0], cut[:-1, -1])


def test_corpora_that_share_documents_share_their_order(world):
    wide, narrow = domain(world, "wide", seed=3), domain(world, "narrow", seed=3)
    for epoch in range(2):
        inner = _pieces_in_order(narrow, epoch)
        assert [piece for piece in _pieces_in_order(wide, epoch) if piece in set(inner)] == inner
        assert inner != sorted(inner)
    assert _pieces_in_order(domain(world, "wide", seed=4), 0) != _pieces_in_order(wide, 0)


def _pieces_in_order(source: Domain, epoch: int) -> list[tuple[int, ...]]:
    order, ends = source.epoch(epoch)
    stream = source.read(epoch * source.tokens, (epoch + 1) * source.tokens)
    return [tuple(piece.tolist()) for piece in np.split(stream, ends[:-1])] if len(order) else []


def test_draws_of_a_domain_do_not_depend_on_the_others(world):
    alone = windows(world, {"narrow": 1.0}, 300)
    mixed = windows(world, {"wide": 0.5, "narrow": 0.5}, 600)
    shared = [w for w in range(600) if mixed.where(w)[0].name == "narrow"]
    assert len(shared) == 300
    for k in (0, 1, 77, 299):
        assert np.array_equal(mixed.tokens(shared[k], shared[k] + 1), alone.tokens(k, k + 1))


def test_shares_hold_at_every_moment(world):
    weights = {"wide": 0.61, "narrow": 0.39}
    plan = windows(world, weights, 1000)
    taken = {"wide": 0, "narrow": 0}
    for window in range(1000):
        taken[plan.where(window)[0].name] += 1
        for name, weight in weights.items():
            assert abs(taken[name] - weight * (window + 1)) <= 1.0
    assert taken == {"wide": 610, "narrow": 390}


def test_apportion_gives_every_window_to_someone():
    assert apportion(np.array([1.0, 1.0, 1.0]), 10).tolist() == [4, 3, 3]
    assert apportion(np.array([0.1, 0.2, 0.7]), 10).tolist() == [1, 2, 7]
    assert apportion(np.array([5.0, 1e-9]), 3).tolist() == [3, 0]


def test_realised_counts_are_those_of_the_tokens_drawn(world):
    weights = {"wide": 0.2, "narrow": 0.8}
    plan = windows(world, weights, 900)
    realised = plan.realised()
    by_domain = {name: sum(r["tokens"] for r in realised if r["domain"] == name) for name in weights}
    assert by_domain == {"wide": 180 * CONTEXT, "narrow": 720 * CONTEXT}
    narrow = domain(world, "narrow")
    whole, rest = divmod(720 * CONTEXT, narrow.tokens)
    assert whole >= 1
    ids = set(narrow.documents(0, 720 * CONTEXT))
    rows = [r for r in realised if r["domain"] == "narrow"]
    assert sum(r["documents"] for r in rows) == len(ids)
    sidecar = pl.concat([pl.read_parquet(f) for f in world.artifact("tokens_narrow").files("documents")])
    expected = sidecar["bytes"].sum() * (whole + rest / narrow.tokens)
    assert sum(r["bytes"] for r in rows) == pytest.approx(expected, rel=0.02)
    last = domain(world, "narrow").realised(narrow.tokens)
    sums = sidecar.group_by("source").agg(pl.col("bytes").sum())
    assert {r["source"]: r["bytes"] for r in last} == dict(sums.iter_rows())
    assert [r["epochs"] for r in last] == [1.0, 1.0]


def test_the_documents_of_a_batch_are_named(world):
    plan = windows(world, {"narrow": 1.0}, 50)
    ids = DocumentIds(plan, 3, 5)
    known = set(pl.concat([pl.read_parquet(f) for f in world.artifact("tokens_narrow").files("documents")])["id"])
    assert len(ids) >= 1
    assert set(ids) <= known


def test_read_mix(world):
    shares, budget = read_mix(world.artifact("mix_both"))
    assert shares == [Share("wide", 0.25), Share("narrow", 0.75)]
    assert budget == 8192


def test_a_shard_cut_short_is_named(tmp_path, world):
    shutil.copytree(world.root / "tokens_narrow", tmp_path / "tokens")
    file = tmp_path / "tokens" / "tokens" / "00001.ds"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"00001\.ds.*cut short"):
        Domain("narrow", Artifact(tmp_path / "tokens"), 0, 128)
    file.unlink()
    with pytest.raises(InputError, match="do not match"):
        Domain("narrow", Artifact(tmp_path / "tokens"), 0, 128)


def test_four_byte_tokens_are_read_as_such_and_not_beside_two_byte_ones(tmp_path, world):
    shutil.copytree(world.root / "tokens_narrow", tmp_path / "tokens")
    files = Artifact(tmp_path / "tokens").files("tokens", ".ds")
    for file in files[1:]:
        (np.fromfile(file, "<u2").astype("<u4") + 100_000).tofile(file)
    with pytest.raises(InputError, match="mix two-byte and four-byte tokens"):
        Domain("narrow", Artifact(tmp_path / "tokens"), 0, 128)
    (np.fromfile(files[0], "<u2").astype("<u4") + 100_000).tofile(files[0])
    narrow, wide = domain(world, "narrow"), Domain("narrow", Artifact(tmp_path / "tokens"), 0, 128)
    assert np.array_equal(wide.read(5, 3000), narrow.read(5, 3000) + 100_000)


def test_no_two_epochs_of_any_seeds_share_their_order(world):
    orders = {tuple(domain(world, "wide", seed).epoch(epoch)[0].tolist()) for seed in (1, 11) for epoch in (1, 11)}
    assert len(orders) == 4


def test_ids_that_are_no_hashes_are_hashed(tmp_path, world):
    shutil.copytree(world.root / "tokens_narrow", tmp_path / "tokens")
    for file in sorted((tmp_path / "tokens" / "documents").glob("*.parquet")):
        rows = pl.read_parquet(file)
        rows.with_columns(pl.format("{}#{}", pl.lit(file.stem), pl.int_range(pl.len())).alias("id")).write_parquet(file)
    named = Domain("narrow", Artifact(tmp_path / "tokens"), 0, 128)
    order, _ = named.epoch(0)
    assert sorted(order.tolist()) == list(range(len(order)))
    assert order.tolist() != sorted(order.tolist())


def test_copies_of_a_document_do_not_stand_side_by_side(world, tmp_path):
    shutil.copytree(world.artifact("tokens_wide").path, tmp_path / "copied")
    whole = domain(world, "wide")
    twins = []  # (document, its copy)
    for file in sorted((tmp_path / "copied" / "documents").glob("*.parquet")):
        sidecar, before = pl.read_parquet(file), len(twins) * 2
        half = sidecar.height // 2
        ids = [*sidecar["id"][:half], *sidecar["id"][:half], *sidecar["id"][2 * half :]]
        sidecar.with_columns(pl.Series("id", ids)).write_parquet(file)
        twins += [(before + k, before + half + k) for k in range(half)]
        assert sidecar.height == 2 * half  # or the numbers above are off
    copied = Domain("copied", Artifact(tmp_path / "copied"), 0, 4 * CONTEXT)
    place = np.empty(len(copied._document), np.int64)
    place[copied.epoch(0)[0]] = np.arange(len(place))
    firsts = place[np.flatnonzero(np.diff(copied._document, prepend=-1))]  # of each document's first piece
    gaps = np.array([abs(firsts[a] - firsts[b]) for a, b in twins])
    assert len(gaps) > 20 and np.median(gaps) > len(place) / 10
    originals = [a for a, _ in twins]  # they keep the order that they have where there are no copies
    before = np.empty(len(place), np.int64)
    before[whole.epoch(0)[0]] = np.arange(len(place))
    starts = before[np.flatnonzero(np.diff(whole._document, prepend=-1))]
    assert np.array_equal(np.argsort(firsts[originals]), np.argsort(starts[originals]))
