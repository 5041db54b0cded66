"""Documents, conversations and preferences, and the Arrow schemas in which they are stored.

Every record is a row of a Parquet file with one of these schemas. `datasets.load_dataset("parquet", ...)`, polars,
DuckDB and TRL read them without conversion.
"""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
from blake3 import blake3
from pydantic import BaseModel, ConfigDict

COPY = "~"  # in a mix, between the id of a row and the number of its copy
ID_HEX_DIGITS = 32  # 128 bits: the collision probability among 10^12 documents is about 10^-15

DOCUMENT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("lang", pa.string()),
        pa.field("meta", pa.string()),  # a JSON object with source-specific fields
    ]
)

MESSAGE = pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])
MESSAGES = pa.list_(MESSAGE)

CONVERSATION = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("messages", MESSAGES, nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("lineage", pa.string()),  # JSON: parents, operation, models, prompt versions, seeds, licence
    ]
)

PREFERENCE = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("prompt", MESSAGES, nullable=False),
        pa.field("chosen", MESSAGES, nullable=False),
        pa.field("rejected", MESSAGES, nullable=False),
        pa.field("rating_chosen", pa.float64()),
        pa.field("rating_rejected", pa.float64()),
        pa.field("judge", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("lineage", pa.string()),
    ]
)

# Rows that users bring: what else their turns have (schemas.turns), and of single answers whether they are desirable.
EXTRAS = pa.field("extras", pa.large_string())
OWN_CONVERSATION = pa.schema([*CONVERSATION, pa.field("label", pa.bool_()), EXTRAS])
OWN_PREFERENCE = pa.schema([*PREFERENCE, EXTRAS])

CHOICE = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("prompt", pa.large_string(), nullable=False),  # empty for minimal pairs
        pa.field("options", pa.list_(pa.large_string()), nullable=False),  # including any leading space
        pa.field("answer", pa.int64(), nullable=False),  # index of the correct option
    ]
)

UNREADABLE = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("where", pa.string(), nullable=False),  # file name and line, row or record number
        pa.field("error", pa.string(), nullable=False),  # a short reason code, e.g. "invalid_json"
        pa.field("detail", pa.string()),
        pa.field("rows", pa.int64(), nullable=False),  # records that this one stands for, such as those of a row group
    ]
)

DECISION = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("reason", pa.string()),  # null: kept; otherwise the rule that dropped it
        pa.field("step", pa.string()),  # the step that dropped it
    ]
)


def document_id(source: str, text: str) -> str:
    """Return a document's id: blake3 of source and text, 32 hexadecimal digits."""
    return blake3(source.encode() + b"\x00" + text.encode("utf-8", "surrogatepass")).hexdigest()[:ID_HEX_DIGITS]


class Record(BaseModel):
    """A frozen record that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Record):
    """One document of a corpus."""

    id: str
    text: str
    source: str
    url: str | None = None
    lang: str | None = None
    meta: str | None = None


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class Conversation(Record):
    """A conversation in the common message format."""

    id: str
    messages: list[Message]
    source: str
    lineage: str | None = None


class Preference(Record):
    """A chosen and a rejected answer to one prompt, as message lists (TRL's format)."""

    id: str
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    rating_chosen: float | None = None
    rating_rejected: float | None = None
    judge: str | None = None
    source: str
    lineage: str | None = None
