"""Weights in safetensors from outside: whole, with all shards, and numbers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError

INDEX = "*.safetensors.index.json"
SAMPLED = 1024  # numbers at the beginning, in the middle and at the end of each tensor
# unsigned type of the same width, all bits of the exponent: larger without the sign is not a number
_FLOATS = {
    "F64": ("<u8", 0x7FF << 52),
    "F32": ("<u4", 0xFF << 23),
    "F16": ("<u2", 0x1F << 10),
    "BF16": ("<u2", 0xFF << 7),
}


def check_weights(directory: Path) -> None:
    """Raise InputError, with the file's name, if weights of a model directory are cut, missing or not numbers.

    Reads the header of each safetensors file and a few numbers of each tensor; a model in an artifact of a store is
    read whole, and held against its digests. A directory without safetensors passes.
    """
    artifact = Artifact(directory.absolute().parent)
    if artifact.sound:
        artifact.intact(directory.name)
    for index in sorted(directory.glob(INDEX)):
        for shard in sorted(_shards(index)):
            if Path(shard).name != shard:
                raise InputError(f"{index} names {shard!r} as weights, which is outside the directory")
            if not (directory / shard).is_file():
                raise InputError(f"{directory / shard} is missing, and {index.name} names it: fetch it, too")
    for file in sorted(directory.glob("*.safetensors")):
        check_file(file)


def check_file(file: Path) -> None:
    """Raise InputError if a safetensors file is missing, cut, of another format, or holds NaN."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np"):  # compares the offsets with the file's size
            pass
        for name in _not_numbers(file):
            raise InputError(f"the tensor {name} of {file} holds NaN: the training that wrote it has diverged")
    except FileNotFoundError as error:
        raise InputError(f"{file} is missing") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is cut off or is no safetensors file ({error}): fetch or write it again") from error


def _shards(index: Path) -> set[str]:
    try:
        return {str(shard) for shard in json.loads(index.read_bytes())["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is no index of shards ({error}): fetch it again") from error


def _not_numbers(file: Path) -> Iterator[str]:
    """Yield the names of tensors with NaN among the sampled numbers."""
    import numpy as np

    with open(file, "rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header: dict[str, Any] = json.loads(opened.read(length))
        for name, about in header.items():
            if name == "__metadata__" or about["dtype"] not in _FLOATS:
                continue
            kind, infinite = _FLOATS[about["dtype"]]
            begin, end = about["data_offsets"]
            width = np.dtype(kind).itemsize
            count = (end - begin) // width
            for first in {0, max(0, count // 2 - SAMPLED // 2), max(0, count - SAMPLED)}:
                opened.seek(8 + length + begin + first * width)
                bits = np.frombuffer(opened.read(min(SAMPLED, count - first) * width), kind)
                if (bits & (2 ** (8 * width - 1) - 1) > infinite).any():
                    yield name
                    break
