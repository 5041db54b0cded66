"""Conversations and preferences as token ids on disk: encoded once, in batches, and read through memory maps.

A directory contains `tokens.u4`, `target.u1`, `branch.u1` (one entry per token, rows concatenated), `index.parquet`
(one line per row), `dropped.parquet` (id, reason and detail of every dropped row) and, written last, `counts.json`.
Memory is about 80 bytes per row when reading and 100 when writing, independent of row length.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from blake3 import blake3

from windtunnel.schemas import journal
from windtunnel.schemas.artifact import PARQUET, write_text
from windtunnel.schemas.errors import InputError, nearest
from windtunnel.schemas.printable import printable
from windtunnel.schemas.results import EncodedSet
from windtunnel.schemas.turns import tools, turns
from windtunnel.schemas.work import Counts
from windtunnel.trainer.data.chat import ChatEncoder, Encoded
from windtunnel.trainer.data.chat_check import conversation_problem, preference_problem, turns_problem
from windtunnel.trainer.data.chat_errors import ChatError, mend
from windtunnel.trainer.data.packing import Row
from windtunnel.trainer.data.stratified import Strata

BATCH = 512
LONG = 1 << 16  # characters of a row
INDEX = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("set", pa.string()),  # of the mix that a row comes from; empty outside of mixes
        pa.field("source", pa.string()),
        pa.field("group", pa.string()),  # shared by rows of one origin; the id of a row without a group
        pa.field("begin", pa.int64()),  # offset of the first token in the flat files
        pa.field("tokens", pa.int32()),
        pa.field("targets", pa.int32()),  # target tokens
        pa.field("bytes", pa.int32()),  # UTF-8 bytes of the target turns' text (of both answers of a preference)
        pa.field("bytes_rejected", pa.int32()),  # of the rejected answer; 0 for a conversation
        pa.field("margin", pa.float64()),  # difference of the ratings, if both are present
        pa.field("desirable", pa.bool_()),  # of a labelled answer
    ]
)
DROPPED = pa.schema([pa.field(name, pa.string()) for name in ("id", "set", "source", "reason", "detail")])
ENCODING = 4  # of rows that are encoded otherwise than before, so that a cache of earlier ones is not read
FLAT = {"tokens": np.dtype("<u4"), "target": np.dtype("u1"), "branch": np.dtype("u1")}


class EncodedRow(NamedTuple):
    """An encoded row, ready to be written."""

    row: Row
    bytes: int
    bytes_rejected: int = 0
    margin: float | None = None
    desirable: bool | None = None
    truncated: bool = False


Encode = Callable[[Mapping[str, Any]], EncodedRow]


class Limits(NamedTuple):
    """Limits on the length of a row."""

    context: int  # positions of the model
    truncate: bool  # truncate longer conversations to complete rounds; False: drop them


def encode_conversation(encoder: ChatEncoder, limits: Limits, record: Mapping[str, Any]) -> EncodedRow:
    """Encode a row of windtunnel.schemas.records.CONVERSATION. Raises ChatError with the drop reason."""
    messages, callable_tools = turns(record), tools(record)
    if record.get("label") is False:
        raise ChatError("undesirable_answer")
    if problem := conversation_problem(messages):
        raise ChatError(problem)
    encoded = whole = encoder.encode(messages, tools=callable_tools)
    fitting = _ends(whole, limits.context) if len(whole.ids) > limits.context else len(whole.turns)
    while len(encoded.ids) > limits.context:
        if not limits.truncate or not fitting:
            raise ChatError("too_long")
        # encoded again, because templates write a last turn in another way than an earlier one
        fitting -= 1
        encoded = encoder.encode(messages[: whole.turns[fitting].message + 1], tools=callable_tools)
    size = sum(turn.bytes for turn in encoded.turns)
    return EncodedRow(Row.of(encoded.ids, encoded.target), size, truncated=encoded is not whole)


def _ends(encoded: Encoded, context: int) -> int:
    """Return how many learnt turns end within the first `context` tokens."""
    target = np.append(np.asarray(encoded.target), False)
    ends = np.flatnonzero(target[:-1] & ~target[1:]) + 1
    return min(int((ends <= context).sum()), len(encoded.turns) - 1)


def encode_preference(encoder: ChatEncoder, limits: Limits, record: Mapping[str, Any]) -> EncodedRow:
    """Encode a row of windtunnel.schemas.records.PREFERENCE: the shared prompt, then both answers. Raises ChatError."""
    if problem := preference_problem(record):
        raise ChatError(problem)
    prompt, callable_tools = turns(record, "prompt"), tools(record)
    conversations = [[*prompt, *turns(record, column)] for column in ("chosen", "rejected")]
    encoded = [encoder.encode(messages, len(prompt), callable_tools) for messages in conversations]
    shared = min(e.target.index(True) for e in encoded)
    same = np.asarray(encoded[0].ids[:shared]) == np.asarray(encoded[1].ids[:shared])
    shared = shared if same.all() else int(np.argmin(same))
    if not shared:
        raise ChatError("no_prompt", "the answers share no token")
    if max(len(e.ids) for e in encoded) > limits.context:
        raise ChatError("too_long")
    if encoded[0].ids == encoded[1].ids:  # templates strip spaces
        raise ChatError("chosen_equals_rejected", "the template writes both answers alike")
    tails = [len(e.ids) - shared for e in encoded]
    ids = encoded[0].ids + encoded[1].ids[shared:]
    target = encoded[0].target + encoded[1].target[shared:]
    branch = np.repeat(np.array([0, 1, 2], np.uint8), [shared, *tails])
    sizes = [sum(turn.bytes for turn in e.turns) for e in encoded]
    ratings = record.get("rating_chosen"), record.get("rating_rejected")
    margin = None if ratings[0] is None or ratings[1] is None else float(ratings[0] - ratings[1])
    return EncodedRow(Row(np.asarray(ids), np.asarray(target), branch), sum(sizes), sizes[1], margin)


def encode_prompt(encoder: ChatEncoder, limits: Limits, record: Mapping[str, Any]) -> EncodedRow:
    """Encode the prompt of a row of CONVERSATION: what stands before its last answer, no target. Raises ChatError."""
    messages, _ = without_answer(turns(record))
    if not messages:
        raise ChatError("no_messages")
    if problem := turns_problem(messages):
        raise ChatError(problem)
    if messages[-1]["role"] not in ("user", "tool"):
        raise ChatError("role_order")
    ids = encoder.prompt_ids(messages, tools=tools(record))
    if len(ids) > limits.context:
        raise ChatError("too_long")
    return EncodedRow(Row.of(ids, [False] * len(ids)), 0)


def without_answer(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str | None]:
    """Return what stands before the last answer, and that answer; None where the row ends with a question."""
    if messages and messages[-1]["role"] == "assistant":
        return messages[:-1], str(messages[-1]["content"] or "")
    return messages, None


def encode_unpaired(encoder: ChatEncoder, limits: Limits, record: Mapping[str, Any]) -> EncodedRow:
    """Encode a row of OWN_CONVERSATION for its `label`: only its last answer is learnt. Raises ChatError."""
    messages = turns(record)
    if record.get("label") is None:
        raise ChatError("no_label")
    if problem := conversation_problem(messages):
        raise ChatError(problem)
    if messages[-1]["role"] != "assistant":
        raise ChatError("no_last_answer")
    encoded = encoder.encode(messages, len(messages) - 1, tools(record))
    if len(encoded.ids) > limits.context:
        raise ChatError("too_long")
    # a branch like that of a chosen answer: such rows are never cut, and their prompts can be told from the answers
    branch = np.zeros(len(encoded.ids), np.uint8)
    branch[encoded.target.index(True) :] = 1
    row = Row(np.asarray(encoded.ids), np.asarray(encoded.target), branch)
    return EncodedRow(row, sum(turn.bytes for turn in encoded.turns), desirable=record["label"])


ENCODERS = {
    "conversations": encode_conversation,
    "preferences": encode_preference,
    "unpaired": encode_unpaired,
    "prompts": encode_prompt,
}


class AnswerRows(Protocol):
    """Encoded rows of equally many answers each."""

    @property
    def answers(self) -> int: ...
    @property
    def ids(self) -> pa.ChunkedArray: ...
    def __len__(self) -> int: ...
    def __getitem__(self, k: int, /) -> Row: ...
    def digest(self) -> str: ...


class Rows:
    """A finished directory of encoded rows; `sets` chooses those of some sets of a mix, by default all.

    Raises InputError for a set without rows, with the nearest right name.
    """

    def __init__(self, path: Path, sets: Sequence[str] = ()):
        self.path, self.sets = path, tuple(sets)
        index = pq.read_table(path / "index.parquet")
        if sets:
            known = index["set"].unique().to_pylist()
            if missing := next((name for name in sets if name not in known), None):
                raise InputError(f"no rows are of the set {missing!r} of `sets`: {nearest(missing, known)}")
            index = index.filter(pc.is_in(index["set"], pa.array(sets)))
        self.counts = Counts.model_validate_json((path / "counts.json").read_bytes())
        self.ids: pa.ChunkedArray = index["id"]
        self.sources: pa.ChunkedArray = index["source"]
        self.groups: pa.ChunkedArray = index["group"]
        columns = ("begin", "tokens", "targets", "bytes", "bytes_rejected", "margin")
        self.begins, self.lengths, self.targets, self.bytes, self.bytes_rejected, self.margins = (
            index[name].to_numpy() for name in columns
        )
        self.desirable: pa.ChunkedArray = index["desirable"]
        self.keys = row_keys(self.ids)
        names = self.sources.dictionary_encode().combine_chunks()
        labels = [str(name) for name in names.dictionary.to_pylist()]
        source = names.indices.fill_null(len(labels)).to_numpy(zero_copy_only=False)
        self.strata = Strata.by_source_and_length(source.astype(np.int64), [*labels, ""], self.targets)
        self._flat = {name: np.memmap(path / _file(name), dtype=kind, mode="r") for name, kind in FLAT.items()}

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, k: int) -> Row:
        span = slice(int(self.begins[k]), int(self.begins[k] + self.lengths[k]))
        tokens, target, branch = (self._flat[name][span] for name in FLAT)
        return Row(tokens.astype(np.int64), target.astype(bool), np.array(branch))

    @property
    def answers(self) -> int:
        """Answers per row: two of a preference, else one."""
        return max(1, int(self[0].branch[-1]))

    def encoded(self, role: str, stage: str = "") -> list[EncodedSet]:
        """Return what became of the rows, by set and source, for the role that they have in a stage of a run."""
        by = ["set", "source"]
        chosen = pl.col("set").is_in(self.sets) if self.sets else pl.lit(True)
        kept = pl.read_parquet(self.path / "index.parquet").filter(chosen).group_by(by)
        sums = kept.agg(pl.len().alias("kept"), pl.col("targets").sum().alias("tokens"), pl.col("bytes").sum())
        reasons = pl.read_parquet(self.path / "dropped.parquet").filter(chosen).group_by(*by, "reason").len()
        lost: dict[tuple[str, str], dict[str, int]] = {}
        for set_, source, reason, number in reasons.sort(*by, "reason").iter_rows():
            lost.setdefault((set_, source), {})[reason] = number
        found = {(set_, source): numbers for set_, source, *numbers in sums.iter_rows()}
        out = []
        for set_, source in sorted(found.keys() | lost.keys()):
            rows, tokens, size = found.get((set_, source), (0, 0, 0))
            refused = lost.get((set_, source), {})
            most = max(refused, key=refused.__getitem__, default="")  # EncodedSet.commonest
            out.append(
                EncodedSet(
                    role=role, stage=stage, set=set_, source=source, rows=rows + sum(refused.values()), kept=rows,
                    tokens=tokens, bytes=size, refused=refused, mend=mend(most),
                )
            )  # fmt: skip
        return out

    def digest(self) -> str:
        """Return a hash of all tokens, masks and ids in order."""
        digest = blake3()
        for k in range(len(self)):
            row = self[k]
            digest.update(f"{self.ids[k].as_py()}\0{len(row.ids)}\0".encode())
            for part in (row.ids, row.target, row.branch):
                digest.update(part.tobytes())
        return digest.hexdigest()[:32]


def row_keys(ids: pa.ChunkedArray) -> np.ndarray:
    """Return 64 bits of blake3 per id, uint64, which determine the order of training."""
    keys = (blake3(str(i).encode()).digest(length=8) for batch in ids.chunks for i in batch.to_pylist())
    return np.fromiter((int.from_bytes(key, "little") for key in keys), np.uint64, len(ids))


def encoded_rows(
    kind: str, files: Sequence[Path], encoder: Any, limits: Limits, cache: Path, content: str, encode: Any = None
) -> Rows:
    """Return the encoded rows of Parquet files, from the cache if possible.

    `encode` (encoder, limits, record) is by default that of the kind. `content` identifies the input (the key of its
    artifact); with the encoder's key and the limits it determines the directory in `cache`. Raises InputError if all
    rows are dropped.
    """
    name = blake3(f"{ENCODING}\0{kind}\0{content}\0{encoder.key}\0{tuple(limits)}".encode()).hexdigest()[:16]
    folder = cache / f"{kind}-{name}"
    if not (folder / "counts.json").exists():
        write_rows(kind, files, partial(encode or ENCODERS[kind], encoder, limits), folder)
    counts = Counts.model_validate_json((folder / "counts.json").read_bytes())
    if not counts.kept:
        reasons = ", ".join(f"{reason}: {n}" for reason, n in counts.dropped.items()) or "the input is empty"
        most = max(counts.dropped, key=counts.dropped.__getitem__, default="")
        advice = f"; {mend(most)}" if mend(most) else ""
        raise InputError(f"none of {counts.seen} {kind} can be used for training ({reasons}){advice}")
    return Rows(folder)


def write_rows(kind: str, files: Sequence[Path], encode: Encode, folder: Path) -> Counts:
    """Encode the rows of Parquet files into a new directory, which is renamed into place when complete."""
    building = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    with ExitStack() as stack:
        flats = {name: stack.enter_context(open(building / _file(name), "wb")) for name in FLAT}
        index = stack.enter_context(pq.ParquetWriter(building / "index.parquet", INDEX, **PARQUET))
        dropped = stack.enter_context(pq.ParquetWriter(building / "dropped.parquet", DROPPED, **PARQUET))
        counts = _write_batches(files, encode, flats, index, dropped)
    write_text(building / "counts.json", counts.check(f"encode {kind}").model_dump_json())
    try:
        building.rename(folder)
    except OSError:  # another run has created the same directory
        shutil.rmtree(building)
    else:
        journal.record_all(sorted(folder.iterdir()))
    return counts


def _write_batches(
    files: Sequence[Path], encode: Encode, flats: Mapping[str, Any], index: pq.ParquetWriter, dropped: pq.ParquetWriter
) -> Counts:
    counts, reasons, begin, truncated = Counts(), Counter[str](), 0, 0
    seen_keys: set[bytes] = set()
    refused: dict[bytes, tuple[str, str]] = {}  # long rows: they take seconds, and mixes hold `max_epochs` copies
    for records in _batches(files):
        lines, drops = [], []
        for record in records:
            key = blake3(str(record["id"]).encode()).digest(length=8)
            try:
                if key in seen_keys:  # ids key the scores and the order of training
                    raise ChatError("duplicate_id")
                if refused and (before := refused.get(_content(record))):
                    raise ChatError(*before)
                encoded = encode(record)
            except ChatError as error:
                if key not in seen_keys and (content := _content(record)):
                    refused[content] = error.reason, error.detail
                detail = printable(error.detail) or None
                drops.append({**_named(record), "reason": error.reason, "detail": detail})
                continue
            seen_keys.add(key)
            truncated += encoded.truncated
            for name, values in zip(FLAT, encoded.row, strict=True):
                flats[name].write(values.astype(FLAT[name]).tobytes())
            lines.append(_line(record, encoded, begin))
            begin += len(encoded.row.ids)
        index.write_table(pa.Table.from_pylist(lines, INDEX))
        dropped.write_table(pa.Table.from_pylist(drops, DROPPED))
        reasons.update(drop["reason"] for drop in drops)
        counts.seen += len(records)
        counts.kept += len(lines)
        counts.tokens += sum(line["targets"] for line in lines)
        counts.bytes += sum(line["bytes"] for line in lines)
    counts.dropped = dict(sorted(reasons.items()))
    counts.notes = {"truncated": truncated, "tokens_with_prompts": begin}
    return counts


def _content(record: Mapping[str, Any]) -> bytes:
    """Return a hash of all that is encoded of a long row, b"" for a short one."""
    said = {name: value for name, value in record.items() if name not in ("id", "set", "source", "lineage")}
    lists = (said.get(name) or () for name in ("messages", "prompt", "chosen", "rejected"))
    if sum(len(turn["content"]) for turns_ in lists for turn in turns_) < LONG:
        return b""
    return blake3(orjson.dumps(said, default=str, option=orjson.OPT_SORT_KEYS)).digest(length=16)


def _line(record: Mapping[str, Any], encoded: EncodedRow, begin: int) -> dict[str, Any]:
    return {
        **_named(record),
        "group": record.get("group") or record["id"],
        "begin": begin,
        "tokens": len(encoded.row.ids),
        "targets": int(encoded.row.target.sum()),
        "bytes": encoded.bytes,
        "bytes_rejected": encoded.bytes_rejected,
        "margin": encoded.margin,
        "desirable": encoded.desirable,
    }


def _named(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": record["id"], "set": record.get("set") or "", "source": record["source"]}


def _batches(files: Sequence[Path]) -> Iterator[list[dict[str, Any]]]:
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(BATCH):
                    yield batch.to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{path} cannot be read as Parquet ({error}); recreate it") from error


def _file(name: str) -> str:
    return f"{name}.u4" if name == "tokens" else f"{name}.u1"
