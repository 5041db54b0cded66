"""Log-probabilities of both answers under the frozen initial model, cached by content.

The cache key hashes the reference's weights, every token and mask, and the batching of rows, on which float sums
depend. Stages that share a `cache` compute them once. They are stored in parts of `PART` pairs, so that an interrupted
computation resumes; the files are numpy arrays, loaded with pickling disabled.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3

from windtunnel.schemas.artifact import writing
from windtunnel.trainer.data.chat_batches import batches
from windtunnel.trainer.data.chat_rows import AnswerRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PART = 512


def reference_logps(
    model: PreTrainedModel, rows: AnswerRows, micro_tokens: int | None, share: bool, cache: Path
) -> np.ndarray:
    """Return summed log-probabilities of the answers in nats, float32 [rows, answers], from `cache` if possible."""
    key = blake3(f"{model_digest(model)}\0{rows.digest()}\0{micro_tokens}\0{share}".encode()).hexdigest()[:16]
    folder = cache / f"reference-{key}"
    parts = []
    for number, begin in enumerate(range(0, len(rows), PART)):
        path = folder / f"{number:05d}.npy"
        if not path.exists():
            values = pair_logps(model, rows, range(begin, min(begin + PART, len(rows))), micro_tokens, share)
            save(path, values)
        parts.append(load(path))
    return np.concatenate(parts)


def pair_logps(
    model: PreTrainedModel, rows: AnswerRows, numbers: range, micro_tokens: int | None, share: bool
) -> np.ndarray:
    """Return summed log-probabilities of the answers in nats for rows by number, float32 [numbers, answers]."""
    import torch

    from windtunnel.trainer.losses.target_logps import answer_sums

    place = np.full((len(rows), 1), -1, np.int64)
    place[numbers.start : numbers.stop, 0] = np.arange(len(numbers))
    out = np.empty((len(numbers), rows.answers), np.float32)
    loaded = [rows[k] for k in numbers]
    with torch.no_grad():
        for batch in batches(rows, list(numbers), loaded, micro_tokens, share, {"place": place}):
            logps, _ = answer_sums(model, batch.tensors, rows.answers)
            out[batch.tensors["place"][:, 0].numpy()] = logps.cpu().numpy()
    return out


def model_digest(model: PreTrainedModel) -> str:
    """Return a hash of the names, dtypes, shapes and bytes of all weights."""
    import torch

    digest = blake3(max_threads=blake3.AUTO)
    for name, value in sorted(model.state_dict().items()):
        value = value.detach().cpu().contiguous()
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def keep(name: str, values: np.ndarray, cache: Path) -> None:
    """Store an array in the cache under a name."""
    save(cache / f"{name}.npy", values)


def kept(name: str, cache: Path) -> np.ndarray:
    """Return the array that `keep` stored."""
    return load(cache / f"{name}.npy")


def save(path: Path, values: np.ndarray) -> None:
    """Write an array atomically."""
    with writing(path) as partial, open(partial, "wb") as handle:
        np.save(handle, values, allow_pickle=False)


def load(path: Path) -> np.ndarray:
    """Read an array; pickled data raise ValueError."""
    return np.load(path, allow_pickle=False)
