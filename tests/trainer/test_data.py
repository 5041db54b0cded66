"""The sampler: a function of the step, shared draws between mixes, every token once an epoch, shares as asked."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.domain import Domain
from windtunnel.trainer.data.sampler import DocumentIds, Share, Windows, apportion, read_mix

CONTEXT = 32


def domain(world, name, seed=0, piece=CONTEXT):
    return Domain(name, world.artifact(f"tokens_{name}"), seed, CONTEXT, piece)


def windows(world, weights, number, seed=0):
    domains = {name: domain(world, name, seed) for name in weights}
    return Windows([Share(n, w) for n, w in weights.items()], domains, CONTEXT, number)


def rows_of(world, name):
    """Source and tokens of every document of a corpus, in the order of its shards."""
    artifact = world.artifact(f"tokens_{name}")
    return pl.concat([pl.read_parquet(f) for f in artifact.files("documents")])


def test_a_batch_needs_no_batch_before_it(world):
    weights = {"wide": 0.3, "narrow": 0.7}
    replayed = windows(world, weights, 640)
    rows = [replayed.tokens(first, first + 8) for first in range(0, 640, 8)]
    for step in (79, 3, 40, 0):
        assert np.array_equal(windows(world, weights, 640).tokens(step * 8, step * 8 + 8), rows[step])


def test_each_token_of_a_source_is_predicted_once_an_epoch(world):
    files = world.artifact("tokens_wide").files("tokens", ".ds")
    tokens = np.concatenate([np.fromfile(f, "<u2") for f in files])
    of = np.repeat(rows_of(world, "wide")["source"].to_numpy(), rows_of(world, "wide")["tokens"].to_numpy())
    streams = domain(world, "wide").streams
    assert [stream.name for stream in streams] == ["notes", "tales"]
    for stream in streams:
        first, second = np.split(stream.read(0, 2 * stream.tokens), 2)
        counts = np.bincount(tokens[of == stream.name])
        assert np.array_equal(np.bincount(first), counts)
        assert np.array_equal(np.bincount(second), counts)
        assert not np.array_equal(first, second)  # another order in another epoch
    plan = windows(world, {"wide": 1.0}, 300)
    for stream in plan.streams[0][0].streams:
        at = [w for w in range(300) if plan.where(w)[0] is stream]
        cut = np.concatenate([plan.tokens(w, w + 1) for w in at])
        assert np.array_equal(cut[:, 1:].ravel(), stream.read(1, len(at) * CONTEXT + 1))
        assert np.array_equal(cut[1:, 0], cut[:-1, -1])


def test_corpora_that_share_documents_share_their_order_within_length_and_source(world):
    ids = {name: np.array(rows_of(world, name)["id"].to_list()) for name in ("wide", "narrow")}
    classes = {row["id"]: (row["source"], row["tokens"].bit_length()) for row in rows_of(world, "wide").to_dicts()}

    def order(name, seed, epoch):
        """Stratum -> documents in reading order, with as many entries as pieces."""
        found = {}
        for stream in domain(world, name, seed).streams:
            for document in ids[name][stream._document[stream.epoch(epoch)[0]]]:
                found.setdefault(classes[document], []).append(document)
        return found

    for epoch in range(2):
        wide, narrow = order("wide", 3, epoch), order("narrow", 3, epoch)
        for stratum, documents in narrow.items():
            assert [d for d in wide[stratum] if d in set(documents)] == documents
    assert order("wide", 4, 0) != order("wide", 3, 0)


def test_draws_of_a_domain_do_not_depend_on_the_others(world):
    alone = windows(world, {"narrow": 1.0}, 300)
    mixed = windows(world, {"wide": 0.5, "narrow": 0.5}, 600)
    shared = [w for w in range(600) if mixed.where(w)[0].domain.name == "narrow"]
    assert len(shared) == 300
    for k in (0, 1, 77, 299):
        assert np.array_equal(mixed.tokens(shared[k], shared[k] + 1), alone.tokens(k, k + 1))


def test_shares_of_sources_hold_at_every_moment(world):
    weights = {"wide": 0.61, "narrow": 0.39}
    plan = windows(world, weights, 1000)
    taken = {}
    expected = {
        stream: weights[domain.name] * stream.tokens / domain.tokens
        for domain, number in plan.streams
        for stream in [domain.streams[number]]
    }
    for window in range(1000):
        stream = plan.where(window)[0]
        taken[stream] = taken.get(stream, 0) + 1
        for each, share in expected.items():
            assert abs(taken.get(each, 0) - share * (window + 1)) <= 2.0
    by_domain = {name: sum(n for s, n in taken.items() if s.domain.name == name) for name in weights}
    assert by_domain == {"wide": 610, "narrow": 390}


def test_long_and_short_documents_are_drawn_in_proportion_all_along(world):
    """Within a source, the share of each length class is right to a piece or two at every moment; a shuffle is not."""
    (stream,) = [s for s in domain(world, "wide", 5).streams if s.name == "tales"]
    order, ends = stream.epoch(0)
    read = np.eye(stream._strata.max() + 1)[stream._strata[order]] * stream._lengths[order][:, None]
    error = np.abs(read.cumsum(axis=0) - ends[:, None] * read.sum(axis=0) / ends[-1])
    shuffled = read[np.random.default_rng(0).permutation(len(read))]
    before = np.abs(shuffled.cumsum(axis=0) - shuffled.sum(axis=1).cumsum()[:, None] * read.sum(axis=0) / ends[-1])
    assert error.max() <= 2 * CONTEXT < before.max() / 2


def test_a_mix_declared_by_source_is_the_same_mix(tmp_path, world):
    """One corpus of two sources and two corpora of one source each, in shards of other names, give equal batches."""
    artifact = world.artifact("tokens_wide")
    rows = rows_of(world, "wide")
    tokens = np.concatenate([np.fromfile(f, "<u2") for f in artifact.files("tokens", ".ds")])
    cut = np.split(tokens, np.cumsum(rows["tokens"].to_numpy())[:-1])
    shares, domains = [], {}
    for name in ("tales", "notes"):
        at = np.flatnonzero((rows["source"] == name).to_numpy())[::-1]  # and documents in another order
        for folder in ("tokens", "documents"):
            (tmp_path / name / folder).mkdir(parents=True)
        np.concatenate([cut[k] for k in at]).tofile(tmp_path / name / "tokens" / "part-7.ds")
        rows[at]["tokens"].cum_sum().to_numpy().astype("<u8").tofile(tmp_path / name / "tokens" / "part-7.ds.index")
        rows[at].write_parquet(tmp_path / name / "documents" / "part-7.parquet")
        domains[name] = Domain(name, Artifact(tmp_path / name), 2, CONTEXT, CONTEXT)
        shares.append(Share(name, domains[name].tokens))
    parts, whole = Windows(shares, domains, CONTEXT, 400), windows(world, {"wide": 1.0}, 400, seed=2)
    assert np.array_equal(parts.tokens(0, 400), whole.tokens(0, 400))
    pinned = Windows(
        [Share("wide", 1.0, {"tales": 0.25, "notes": 0.75})], {"wide": domain(world, "wide")}, CONTEXT, 400
    )
    drawn = {row["source"]: row["tokens"] for row in pinned.realised()}
    assert drawn == {"tales": 100 * CONTEXT, "notes": 300 * CONTEXT}


def test_small_sources_share_a_stream_and_their_documents_are_spread_over_it(tmp_path, world):
    shutil.copytree(world.artifact("tokens_wide").path, tmp_path / "many")
    number = 0
    for file in sorted((tmp_path / "many" / "documents").glob("*.parquet")):
        rows = pl.read_parquet(file)
        source = [f"site{(number + k) % 40:02}" if k % 2 else row for k, row in enumerate(rows["source"])]
        number += rows.height
        rows.with_columns(pl.Series("source", source)).write_parquet(file)
    many = Domain("many", Artifact(tmp_path / "many"), 0, 40 * CONTEXT, CONTEXT)
    assert [stream.name for stream in many.streams] == ["notes", "tales", ""]
    order, _ = many.streams[-1].epoch(0)
    assert sorted(order.tolist()) == list(range(len(order)))
    plan = Windows([Share("many", 1.0)], {"many": many}, CONTEXT, 200)
    assert sum(row["tokens"] for row in plan.realised()) == 200 * CONTEXT


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
    assert domain(world, "narrow").tokens <= 720 * CONTEXT
    own = [w for w in range(900) if plan.where(w)[0].domain.name == "narrow"]
    ids = {name for window in own for name in DocumentIds(plan, window, window + 1)}
    rows = [r for r in realised if r["domain"] == "narrow"]
    assert sum(r["documents"] for r in rows) == len(ids)
    sidecar = pl.concat([pl.read_parquet(f) for f in world.artifact("tokens_narrow").files("documents")])
    expected = sidecar["bytes"].sum() * 720 * CONTEXT / domain(world, "narrow").tokens
    assert sum(r["bytes"] for r in rows) == pytest.approx(expected, rel=0.02)
    narrow = domain(world, "narrow")
    last = narrow.realised({k: (0, stream.tokens) for k, stream in enumerate(narrow.streams)})
    sums = sidecar.group_by("source").agg(pl.col("bytes").sum())
    assert {r["source"]: r["bytes"] for r in last} == dict(sums.iter_rows())
    assert [r["epochs"] for r in last] == [1.0, 1.0]


def test_the_documents_of_a_batch_are_named(world):
    plan = windows(world, {"narrow": 1.0}, 50)
    ids = DocumentIds(plan, 3, 5)
    known = set(pl.concat([pl.read_parquet(f) for f in world.artifact("tokens_narrow").files("documents")])["id"])
    assert len(ids) == len(list(ids)) >= 1
    assert list(ids) == [ids[k] for k in range(len(ids))]
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
        Domain("narrow", Artifact(tmp_path / "tokens"), 0, CONTEXT, 128)
    file.unlink()
    with pytest.raises(InputError, match="do not match"):
        Domain("narrow", Artifact(tmp_path / "tokens"), 0, CONTEXT, 128)


def test_four_byte_tokens_are_read_as_such_and_not_beside_two_byte_ones(tmp_path, world):
    shutil.copytree(world.root / "tokens_narrow", tmp_path / "tokens")
    files = Artifact(tmp_path / "tokens").files("tokens", ".ds")
    for file in files[1:]:
        (np.fromfile(file, "<u2").astype("<u4") + 100_000).tofile(file)
    with pytest.raises(InputError, match="mix two-byte and four-byte tokens"):
        Domain("narrow", Artifact(tmp_path / "tokens"), 0, CONTEXT, 128)
    (np.fromfile(files[0], "<u2").astype("<u4") + 100_000).tofile(files[0])
    narrow, wide = (
        Domain("narrow", path, 0, CONTEXT, 128)
        for path in (world.artifact("tokens_narrow"), Artifact(tmp_path / "tokens"))
    )
    assert np.array_equal(wide.streams[0].read(5, 3000), narrow.streams[0].read(5, 3000) + 100_000)


def test_no_two_epochs_of_any_seeds_share_their_order(world):
    streams = [domain(world, "wide", seed).streams[-1] for seed in (1, 11)]
    assert len({tuple(stream.epoch(epoch)[0].tolist()) for stream in streams for epoch in (1, 11)}) == 4


def test_an_id_that_is_no_digest_is_hashed_and_changes_no_other_order(tmp_path, world):
    shutil.copytree(world.root / "tokens_narrow", tmp_path / "tokens")
    file = min((tmp_path / "tokens" / "documents").glob("*.parquet"))
    rows = pl.read_parquet(file)
    at = int((rows["source"] == "tales").arg_true()[0])
    rows.with_columns(pl.Series("id", [*rows["id"][:at], "my row", *rows["id"][at + 1 :]])).write_parquet(file)
    mine, before = Domain("narrow", Artifact(tmp_path / "tokens"), 0, CONTEXT, 128), domain(world, "narrow", piece=128)
    for named, digests in zip(mine.streams, before.streams, strict=True):
        orders = [s._document[s.epoch(0)[0]] for s in (named, digests)]
        assert sorted(orders[0].tolist()) == sorted(orders[1].tolist())
        one = named._document[named._starts == named._starts.min()][0] if named.name == "tales" else -1
        changed = at if named.name == "tales" else one
        strata = [s._strata[s.epoch(0)[0]] for s in (named, digests)]
        for stratum in np.unique(strata[0]):
            kept = [o[(t == stratum) & (o != changed)].tolist() for o, t in zip(orders, strata, strict=True)]
            assert kept[0] == kept[1]


def test_copies_of_a_document_do_not_stand_side_by_side(world, tmp_path):
    shutil.copytree(world.artifact("tokens_wide").path, tmp_path / "copied")
    whole = domain(world, "wide", piece=4 * CONTEXT)
    twins = []  # (document, its copy)
    for file in sorted((tmp_path / "copied" / "documents").glob("*.parquet")):
        sidecar, before = pl.read_parquet(file), len(twins) * 2
        half = sidecar.height // 2
        ids = [*sidecar["id"][:half], *sidecar["id"][:half], *sidecar["id"][2 * half :]]
        sidecar.with_columns(pl.Series("id", ids)).write_parquet(file)
        twins += [(before + k, before + half + k) for k in range(half)]
        assert sidecar.height == 2 * half  # or the numbers above are off
    copied = Domain("copied", Artifact(tmp_path / "copied"), 0, CONTEXT, 4 * CONTEXT)
    gaps, kept = [], []
    for stream, before in zip(copied.streams, whole.streams, strict=True):
        firsts, starts = (_first_places(s) for s in (stream, before))
        pairs = [(a, b) for a, b in twins if a in firsts and b in firsts]
        gaps += [abs(firsts[a] - firsts[b]) / len(stream._document) for a, b in pairs]
        strata = dict(zip(stream._document.tolist(), stream._strata.tolist(), strict=True))
        for stratum in set(strata.values()):  # originals keep the order that they have where there are no copies
            of = [a for a, _ in twins if strata.get(a) == stratum]
            kept.append(sorted(of, key=firsts.__getitem__) == sorted(of, key=starts.__getitem__))
    assert len(gaps) > 20 and np.median(gaps) > 0.1
    assert all(kept) and len(kept) > 4


def _first_places(stream):
    """Document -> where in an epoch its first piece is read."""
    places = {}
    order, _ = stream.epoch(0)
    begins = dict(zip(stream._document[::-1].tolist(), range(len(order) - 1, -1, -1), strict=True))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    for document, piece in begins.items():
        places[document] = int(rank[piece])
    return places
