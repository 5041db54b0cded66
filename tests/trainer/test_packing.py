"""Packing: nothing leaks from row to row or from answer to answer, and the loss is that of the rows alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.trainer.data.packing import PAD_ROW, Row, fill_bins, micro_batches, pack, split_branches, tensors
from windtunnel.trainer.losses.target_logps import sum_by_owner, target_log_probs


def conversation(length: int, seed: int) -> Row:
    rng = np.random.default_rng(seed)
    target = rng.random(length) < 0.5
    target[-1] = True
    return Row(rng.integers(3, 320, length), target, np.zeros(length, np.uint8))


def pair(prompt: int, chosen: int, rejected: int, seed: int) -> Row:
    rng = np.random.default_rng(seed)
    branch = np.repeat(np.array([0, 1, 2], np.uint8), [prompt, chosen, rejected])
    return Row(rng.integers(3, 320, len(branch)), branch > 0, branch)


def alone(model, row: Row) -> list[float]:
    """The log-probabilities of a row's sequences by the plainest route: one sequence, full logits."""
    sums = []
    for part in split_branches(row):
        ids = torch.from_numpy(part.ids)[None]
        logps = model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        sums.append(float(logps[torch.from_numpy(part.target[1:])].sum()))
    return sums


ROWS = {
    "conversations": [conversation(n, n) for n in (40, 7, 13, 22, 9, 31, 2)],
    "pairs": [pair(11, 6, 9, 1), pair(5, 14, 2, 2), pair(20, 1, 1, 3), pair(3, 4, 5, 4)],
}


@pytest.mark.parametrize("name", sorted(ROWS))
@pytest.mark.parametrize(("capacity", "plain_head"), [(None, True), (64, True), (64, False)])
@torch.no_grad()
def test_a_packed_batch_scores_as_its_sequences_alone(tiny_llama, name, capacity, plain_head, monkeypatch):
    if not plain_head:
        monkeypatch.setattr("windtunnel.trainer.losses.target_logps.PLAIN_HEADS", frozenset())
    packed = pack(ROWS[name], pad_id=0, capacity=capacity)
    batch = tensors(packed)
    values = target_log_probs(tiny_llama, batch)
    together = sum_by_owner(values, batch["owners"], len(packed.ends)).tolist()
    expected = [x for row in ROWS[name] for x in alone(tiny_llama, row)]
    np.testing.assert_allclose(together, expected, atol=1e-4, rtol=1e-6)
    assert abs(float(values.mean()) - sum(expected) / len(values)) < 1e-5


def test_a_packed_batch_gives_the_gradient_of_its_sequences_alone(tiny_llama):
    rows = ROWS["pairs"]
    target_log_probs(tiny_llama, tensors(pack(rows, 0, 64))).sum().backward()
    packed = {n: p.grad.clone() for n, p in tiny_llama.named_parameters()}
    tiny_llama.zero_grad()
    for row in rows:
        for part in split_branches(row):
            target_log_probs(tiny_llama, tensors(pack([part], 0))).sum().backward()
    for name, parameter in tiny_llama.named_parameters():
        scale = float(parameter.grad.abs().max())
        assert float((packed[name] - parameter.grad).abs().max()) < 1e-5 * scale, name


@torch.no_grad()
def test_changing_one_row_changes_no_other_row(tiny_llama):
    rows = ROWS["conversations"]
    other = [*rows[:3], conversation(22, 99), *rows[4:]]
    before, after = (target_log_probs(tiny_llama, tensors(pack(r, 0, 64))) for r in (rows, other))
    packed, changed = pack(rows, 0, 64), pack(other, 0, 64)
    for k in range(len(rows)):
        mine = before[torch.from_numpy(packed.owners == k)]
        same = after[torch.from_numpy(changed.owners == k)]
        assert (k == 3) != bool(len(mine) == len(same) and torch.allclose(mine, same, atol=1e-5))


def test_a_batch_of_rows_of_one_length_needs_no_mask():
    packed = pack([conversation(9, 1), conversation(9, 2)], 0)
    assert not packed.shared and "attention_mask" not in tensors(packed)


@torch.no_grad()
def test_right_padding_without_a_mask_changes_nothing(tiny_llama):
    rows = [conversation(30, 1), conversation(17, 2)]
    packed = pack(rows, 0)
    assert not packed.shared and packed.ids.shape == (2, 30)
    batch = tensors(packed)
    together = sum_by_owner(target_log_probs(tiny_llama, batch), batch["owners"], 2).tolist()
    np.testing.assert_allclose(together, [x for r in rows for x in alone(tiny_llama, r)], rtol=1e-5)


def test_bins_are_first_fit_decreasing_and_refuse_what_cannot_fit():
    assert fill_bins([4, 8, 1, 4, 2, 1], 10) == [[1, 4], [0, 3, 2, 5]]
    with pytest.raises(ValueError, match="does not fit"):
        fill_bins([11], 10)


def test_micro_batches_hold_every_row_once_within_the_bound():
    lengths = list(np.random.default_rng(0).integers(1, 60, 50))
    groups = micro_batches(lengths, 128)
    assert sorted(k for g in groups for k in g) == list(range(50))
    assert all(sum(lengths[k] for k in g) <= 128 for g in groups)
    assert micro_batches([64, 40, 64, 24], 128) == [[0, 2], [1, 3]]  # what fits exactly is let in
    assert micro_batches([300, 5], 128) == [[0], [1]]
    assert micro_batches([3, 5], None) == [[1, 0]]


def test_positions_restart_and_padding_belongs_to_no_row():
    packed = pack([pair(3, 2, 2, 1), conversation(4, 1)], 0, 12)
    assert packed.positions[0, :11].tolist() == [0, 1, 2, 3, 4, 3, 4, 0, 1, 2, 3]
    assert packed.rows[0].tolist() == [0] * 7 + [1] * 4
    assert packed.ends.tolist() == [4, 6, 10]  # of both answers, and of the conversation
    assert packed.ids.shape == (1, 11)  # no wider than what stands in it
    wide = pack([conversation(4, 1), conversation(6, 2)], 0)
    assert (wide.rows == PAD_ROW).sum() == 2
