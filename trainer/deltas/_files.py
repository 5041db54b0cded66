"""Adapters in peft's format, with nothing in them that depends on where they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from windtunnel.schemas.errors import InputError


def save_adapter(model: Any, out: Path) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, for `PeftModel.from_pretrained` and vLLM."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = None
        config.revision = None
        for name, value in list(vars(config).items()):
            if isinstance(value, set):  # would be written in an order of its own in every process
                setattr(config, name, sorted(value))
    model.save_pretrained(str(out), safe_serialization=True)
    (out / "README.md").unlink(missing_ok=True)  # peft's card names the base's path


def load_adapter(model: Any, path: Path) -> Any:
    """Put the adapter of a directory in peft's format onto its base, to be run, not trained."""
    from peft import PeftModel

    if not (path / "adapter_model.safetensors").is_file():
        raise InputError(f"{path} holds no adapter_model.safetensors; other formats can run code and are not read")
    return PeftModel.from_pretrained(model, str(path), local_files_only=True)
