"""Personal data: e-mail and IP addresses, telephone and card numbers, keys and tokens, replaced or a reason to drop."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import polars as pl
import pyarrow as pa

from pipelines.personal_data import KINDS, count, replace
from pipelines.rule import Example, Reason, Rule

Kind = Literal["emails", "ips", "phones", "cards", "keys"]


class Pii(Rule):
    """Replace personal data by stand-ins, or drop documents that hold more than `max_found` pieces of it.

    The stand-ins for addresses are those of datatrove's PIIFormatter (documentation names, hosts that did not answer),
    used in turn within a document. IP addresses count if they are public, card numbers if their check digit is right.
    Columns: `pii_emails`, `pii_ips`, `pii_phones`, `pii_cards`, `pii_keys`.
    """

    primary: ClassVar[str | None] = "action"
    action: Literal["replace", "drop"] = "replace"
    kinds: tuple[Kind, ...] = KINDS
    max_found: int = 0

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
    )

    @property
    def edits(self) -> bool:
        return self.action == "replace"

    def measure(self, batch: pa.RecordBatch) -> pl.DataFrame:
        return count(batch.column("text"))

    def reasons(self) -> list[Reason]:
        if self.edits:
            return []
        found = {kind: pl.col(f"pii_{kind}") for kind in self.kinds}
        return [Reason(kind, value > self.max_found, value, self.max_found, "above") for kind, value in found.items()]

    def edit(self, batch: pa.RecordBatch) -> tuple[pa.Array, dict[str, Any]]:
        return replace(batch.column("text"), self.kinds)
