"""Single answers with a label, good or bad, as KTO reads them (Ethayarajh et al. 2024)."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.pipelines.layouts._layout import Chat, Example, Record, Refused
from windtunnel.pipelines.layouts.completion import Completion

_WORDS = {"true": True, "1": True, "false": False, "0": False}


class Kto(Completion):
    """Columns `prompt`, `completion` and `label` (true: desirable). SFT learns from desirable answers only."""

    rank: ClassVar[int] = 20
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"prompt": "Why?", "completion": "So.", "label": True}, (("user", "Why?"), ("assistant", "So."))),
        Example({"prompt": "Why?", "completion": "So.", "label": float("nan")}, refused="label_not_boolean"),
    )
    label: str = "label"

    def fits(self, columns: Any) -> bool:
        return self.label in columns and super().fits(columns)

    def row(self, record: Record) -> Chat:
        label = _boolean(record.get(self.label))
        if label is None:
            raise Refused("label_not_boolean", f"field {self.label!r}: {str(record.get(self.label))[:40]!r}")
        return super().row(record)._replace(label=label)


def _boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower())
    return bool(value) if value in (0, 1) else None  # NaN equals neither
