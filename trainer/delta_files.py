"""Deltas on disk: our own format, and peft's with nothing in it that depends on where it was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.artifact import canonical_json, write_text, writing
from schemas.errors import InputError

if TYPE_CHECKING:
    from trainer.delta import Delta

WEIGHTS, CONFIG = "delta.safetensors", "delta.json"


def save_delta(delta: Delta, model: Any, out: Path) -> None:
    """Write the trained weights and the delta's parameters: `delta.safetensors` and `delta.json`."""
    from safetensors.torch import save_file

    tensors = {name: p.detach().cpu().contiguous() for name, p in delta.trainable(model).items()}
    with writing(out / WEIGHTS) as partial:
        save_file(tensors, partial)
    name = type(delta).__module__.rpartition(".")[2]
    write_text(out / CONFIG, canonical_json({name: delta.model_dump(mode="json")}))


def load_delta(delta: Delta, model: Any, path: Path) -> Any:
    """Put the delta of a directory onto its base. Raises InputError when the weights are not this delta's."""
    import torch
    from safetensors.torch import load_file

    model = delta.apply(model)
    mine, saved = delta.trainable(model), load_file(path / WEIGHTS)
    if {n: p.shape for n, p in mine.items()} != {n: t.shape for n, t in saved.items()}:
        raise InputError(f"{path / WEIGHTS} does not fit: it was made with other parameters or on another base")
    with torch.no_grad():
        for name, parameter in mine.items():
            parameter.copy_(saved[name])
    return model


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
