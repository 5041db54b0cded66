"""Personal data: e-mail and IP addresses, telephone and card numbers, keys and tokens, replaced or a reason to drop."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import polars as pl
import pyarrow as pa
from pydantic import field_validator

from windtunnel.pipelines.features.personal_data import KINDS, count, replace
from windtunnel.pipelines.filters._rule import Example, Reason, Rule

Kind = Literal["keys", "emails", "ips", "cards", "phones"]


class Pii(Rule):
    """Replace personal data by stand-ins, or drop documents that hold more than `max_found` pieces of it.

    The stand-ins for addresses are those of datatrove's PIIFormatter (documentation names, hosts that did not answer),
    used in turn within a document; `stand_ins` puts others in their place. IP addresses count if they are public (all
    of them without `public_ips`), card numbers if their check digit is right, and a long random string as a key where a
    name such as `api_key` stands before it.
    Columns: `pii_emails`, `pii_ips`, `pii_phones`, `pii_cards`, `pii_keys`.
    """

    primary: ClassVar[str | None] = "action"
    action: Literal["replace", "drop"] = "replace"
    kinds: tuple[Kind, ...] = KINDS
    max_found: int = 0
    public_ips: bool = True
    stand_ins: dict[Kind, tuple[str, ...]] = {}  # noqa: RUF012 (pydantic copies it)

    keeps: ClassVar[tuple[Example, ...]] = (
        Example("Write to ada@lovelace.org or call."),
        Example("Version 1.2.3 of host 192.168.0.1, order 1234 5678 9012 3456.", params={"action": "drop"}),
    )
    drops: ClassVar[tuple[Example, ...]] = (
        Example("Write to ada@lovelace.org.", "emails", params={"action": "drop"}),
        Example("It came from 8.8.4.4.", "ips", params={"action": "drop"}),
        Example("Call +44 20 7946 0958 now.", "phones", params={"action": "drop"}),
        Example("Card 4111 1111 1111 1111.", "cards", params={"action": "drop"}),
        Example("Key: AKIA" + "IOSFODNN7EXAMPLE", "keys", params={"action": "drop"}),
        Example("api_key = '" + "0123456789abcdef" * 2 + "'", "keys", params={"action": "drop"}),
        Example("It came from 10.0.0.1.", "ips", params={"action": "drop", "public_ips": False}),
    )

    @property
    def edits(self) -> bool:
        return self.action == "replace"

    @field_validator("stand_ins", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return {kind: (v,) if isinstance(v, str) else v for kind, v in dict(value).items()}

    def measure_config(self) -> dict[str, Any]:
        return {"public_ips": self.public_ips}

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        return count(batch.column("text"), self.public_ips)

    def reasons(self) -> list[Reason]:
        if self.edits:
            return []
        counts = {kind: pl.col(f"pii_{kind}") for kind in self.kinds}
        return [Reason(kind, value > self.max_found, value, self.max_found, "above") for kind, value in counts.items()]

    def edit(self, batch: pa.RecordBatch) -> tuple[pa.Array, dict[str, Any]]:
        return replace(batch.column("text"), self.kinds, self.public_ips, {**self.stand_ins})
