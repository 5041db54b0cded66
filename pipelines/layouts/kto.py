"""Single answers with a label, good or bad, as KTO reads them (Ethayarajh et al. 2024)."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.pipelines.layouts._layout import Chat, Example, Record, Refused
from windtunnel.pipelines.layouts._turns import LABEL, verdict
from windtunnel.pipelines.layouts.completion import Completion


class Kto(Completion):
    """Columns `prompt`, `completion` and `label` (true: desirable). SFT learns from desirable answers only."""

    rank: ClassVar[int] = 20
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"prompt": "Why?", "completion": "So.", "label": True}, (("user", "Why?"), ("assistant", "So."))),
        Example({"prompt": "Why?", "completion": "So.", "label": float("nan")}, refused="label_not_boolean"),
    )

    def fits(self, columns: Any) -> bool:
        return self._label in columns and super().fits(columns)

    def row(self, record: Record) -> Chat:
        label = verdict(record.get(self._label))
        if label is None:
            raise Refused("label_not_boolean", f"field {self._label!r}: {str(record.get(self._label))[:40]!r}")
        return super().row(record)._replace(label=label)

    @property
    def _label(self) -> str:
        return self.label or LABEL
