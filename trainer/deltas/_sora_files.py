"""SoRA as a LoRA adapter in peft's format: the gates folded into A."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windtunnel.schemas.artifact import writing
from windtunnel.trainer.modules.gated_low_rank import GatedLowRank


def save_as_lora(gated: Mapping[str, GatedLowRank], rank: int, alpha: float, model: Any, out: Path) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors` for the modules by name."""
    from peft import LoraConfig
    from safetensors.torch import save_file

    tensors = {}
    for name, module in gated.items():
        place = f"base_model.model.{name}"
        folded = module.down * module.gate[:, None]
        tensors[f"{place}.lora_A.weight"] = folded.detach().cpu().contiguous()
        tensors[f"{place}.lora_B.weight"] = module.up.detach().cpu().contiguous()
    scale: Any = alpha
    targets = sorted({name.rpartition(".")[2] for name in gated})
    config: Any = LoraConfig(r=rank, lora_alpha=scale, target_modules=targets)
    config.target_modules = sorted(config.target_modules)  # a set would be written in an order of its own every time
    out.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(out))
    with writing(out / "adapter_model.safetensors") as partial:
        save_file(tensors, partial, {"format": "pt"})
