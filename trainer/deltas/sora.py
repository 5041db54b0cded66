"""SoRA (Ding et al. 2023): LoRA with a gate per rank that a proximal step can set to exactly zero."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.schemas.artifact import writing
from windtunnel.trainer.deltas._delta import Change
from windtunnel.trainer.deltas._sized import SizedDelta

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Sora(SizedDelta):
    """W + (alpha / rank) B diag(g) A, with soft-thresholding of the gates after every optimiser step.

    The proximal operator is sign(g) max(|g| - threshold, 0); the threshold is not multiplied by the learning rate. The
    delta is also saved as a LoRA adapter with the gates folded into A, which vLLM serves.
    """

    change: ClassVar = Change("all linear", "parallel", "gate", "(alpha / rank) B (g * (A x))")
    examples: ClassVar = ({"rank": 4}, {"share": 0.05})

    rank: int = Field(8, ge=1)
    alpha: float | None = Field(None, gt=0)  # None: twice the rank
    threshold: float = Field(3e-4, ge=0)
    ramp_steps: int = Field(0, ge=0)  # steps over which the threshold grows linearly from zero
    targets: list[str] | None = None  # last components of layer names, e.g. q_proj; None: all linear layers

    @property
    def scale(self) -> float:
        return (self.alpha if self.alpha is not None else 2 * self.rank) / self.rank

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with frozen base weights and a gated low-rank update of every target layer."""
        from windtunnel.trainer.modules.bottleneck import beside
        from windtunnel.trainer.modules.gated_low_rank import GatedLowRank
        from windtunnel.trainer.modules.hooked import insert

        model.requires_grad_(False)
        for linear in self._chosen(model).values():
            added = GatedLowRank(linear.in_features, linear.out_features, self.rank, self.scale)
            insert(linear, added.to(linear.weight.device, linear.weight.dtype), beside)
        return model

    def after_step(self, model: PreTrainedModel, step: int) -> None:
        """Apply the proximal step to the gates."""
        share = min(1.0, (step + 1) / self.ramp_steps) if self.ramp_steps else 1.0
        for gated in _gated(model).values():
            gated.shrink(share * self.threshold)

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the plain model with the merged weights."""
        import torch

        from windtunnel.trainer.modules.hooked import remove_inserted

        with torch.no_grad():
            for host, gated in _gated(model, hosts=True).items():
                host.weight.add_(gated.difference())
        remove_inserted(model)
        return model

    def save(self, model: PreTrainedModel, out: Path) -> None:
        """Write the delta into `out`, and into `lora/` the equivalent LoRA adapter in peft's format."""
        from peft import LoraConfig
        from safetensors.torch import save_file

        super().save(model, out)
        tensors, gated = {}, _gated(model)
        for name, module in gated.items():
            folded = {"lora_A": module.down * module.gate[:, None], "lora_B": module.up}
            for part, values in folded.items():
                tensors[f"base_model.model.{name}.{part}.weight"] = values.detach().cpu().contiguous()
        targets = sorted({name.rpartition(".")[2] for name in gated})
        scale: Any = self.rank * self.scale
        config: Any = LoraConfig(r=self.rank, lora_alpha=scale, target_modules=targets)
        config.target_modules = sorted(config.target_modules)  # the iteration order of a set differs between processes
        (out / "lora").mkdir(parents=True, exist_ok=True)
        config.save_pretrained(str(out / "lora"))
        with writing(out / "lora" / "adapter_model.safetensors") as partial:
            save_file(tensors, partial, {"format": "pt"})

    def _chosen(self, model: PreTrainedModel) -> dict[str, Any]:
        from windtunnel.trainer.modules.blocks import linears, require_layers

        layers = linears(model)
        require_layers(self.targets or [], layers, "targets")
        return {n: m for n, m in layers.items() if self.targets is None or n.rpartition(".")[2] in self.targets}


def _gated(model: Any, hosts: bool = False) -> dict[Any, Any]:
    """Return the gated modules by their host's name, or by the host module."""
    from windtunnel.trainer.modules.gated_low_rank import GatedLowRank
    from windtunnel.trainer.modules.hooked import NAME

    named = {n: m for n, m in model.named_modules() if isinstance(getattr(m, NAME, None), GatedLowRank)}
    return {m if hosts else n: getattr(m, NAME) for n, m in named.items()}
