"""Adapters in peft's format, with nothing in them that depends on where they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_adapter(model: Any, out: Path) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors` into `out`, for `PeftModel.from_pretrained`."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = None
        config.revision = None
    model.save_pretrained(str(out), safe_serialization=True)
    (out / "README.md").unlink(missing_ok=True)  # peft's card names the base's path
