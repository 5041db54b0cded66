"""SoRA (Ding et al. 2023): LoRA with a gate per channel that a proximal step drives to exactly zero."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.trainer.deltas._delta import Delta

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Sora(Delta):
    """W + (alpha / rank) B diag(g) A; after every optimiser step the gates are soft-thresholded.

    The threshold is that of the proximal operator itself, not times the learning rate, and the operator is the true
    one, sign(g) max(|g| - threshold, 0). Saved as a LoRA adapter with the gates folded into A, which vLLM serves.
    """

    examples: ClassVar = ({"rank": 4},)

    rank: int = Field(8, ge=1)
    alpha: float | None = Field(None, gt=0)  # None: twice the rank
    threshold: float = Field(3e-4, ge=0)
    ramp_steps: int = Field(0, ge=0)  # the threshold grows from zero over so many steps
    targets: list[str] | None = None  # last parts of layer names, e.g. q_proj; None: every linear layer of the blocks

    @property
    def scale(self) -> float:
        return (self.alpha if self.alpha is not None else 2 * self.rank) / self.rank

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with frozen base and a gated difference at every chosen linear layer."""
        from windtunnel.trainer.modules.bottleneck import beside
        from windtunnel.trainer.modules.gated_low_rank import GatedLowRank
        from windtunnel.trainer.modules.hooked import insert

        model.requires_grad_(False)
        for linear in self._chosen(model).values():
            added = GatedLowRank(linear.in_features, linear.out_features, self.rank, self.scale)
            insert(linear, added.to(linear.weight.device, linear.weight.dtype), beside)
        if hasattr(model, "score"):
            model.score.requires_grad_(True)  # type: ignore[union-attr]
        return model

    def after_step(self, model: PreTrainedModel, step: int) -> None:
        """Shrink the gates."""
        share = min(1.0, (step + 1) / self.ramp_steps) if self.ramp_steps else 1.0
        for gated in _gated(model).values():
            gated.shrink(share * self.threshold)

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the plain model with the differences added to its weights."""
        import torch

        from windtunnel.trainer.modules.hooked import take_out

        with torch.no_grad():
            for host, gated in _gated(model, hosts=True).items():
                host.weight.add_(gated.difference())
        take_out(model)
        return model

    def save(self, model: PreTrainedModel, out: Path) -> None:
        """Write our own files, and beside them the same as a LoRA adapter of peft in `lora/`."""
        from windtunnel.trainer.deltas._sora_files import save_as_lora

        super().save(model, out)
        save_as_lora(_gated(model), self.rank, self.rank * self.scale, model, out / "lora")

    def _chosen(self, model: PreTrainedModel) -> dict[str, Any]:
        from windtunnel.schemas.errors import InputError, nearest
        from windtunnel.trainer.modules.blocks import linears

        found = linears(model)
        known = {name.rpartition(".")[2] for name in found}
        for target in self.targets or []:
            if target not in known:
                raise InputError(f"no linear layer is called {target!r}: {nearest(target, known)}")
        return {n: m for n, m in found.items() if self.targets is None or n.rpartition(".")[2] in self.targets}


def _gated(model: Any, hosts: bool = False) -> dict[Any, Any]:
    """Return the gated modules by their host's name, or by the host itself."""
    from windtunnel.trainer.modules.gated_low_rank import GatedLowRank
    from windtunnel.trainer.modules.hooked import NAME

    found = {n: m for n, m in model.named_modules() if isinstance(getattr(m, NAME, None), GatedLowRank)}
    return {m if hosts else n: getattr(m, NAME) for n, m in found.items()}
