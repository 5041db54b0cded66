"""Mixtures of experts: hidden states with the load-balancing loss, and how the tokens are spread over the experts.

The balance is taken over each row by itself, as in DeepSeek-V3 (arXiv 2412.19437, section 2.1.2), and averaged over the
rows. A step's loss is then the same however its rows are divided into micro-batches; over a whole batch, the product of
two means is not. On one row it is transformers' `load_balancing_loss_func` (Switch Transformer, arXiv 2101.03961).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from windtunnel.trainer.modules.heads import body, body_output, hidden_states

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ROUTER = "TopKRouter"  # how transformers' classes of routers end; they return (logits, weights, chosen experts)
EXPERTS = "experts.parquet"  # of a stage: layer, expert, and its share of the held-out tokens
DEAD = 0.01  # of an even share: an expert that gets less is dead


class Routed(NamedTuple):
    """Hidden states and routing statistics; `balance` and `metrics` are empty for a model without experts."""

    hidden: torch.Tensor
    balance: torch.Tensor | None  # added to the loss per token
    metrics: dict[str, torch.Tensor]


def experts_of(model: Any) -> int | None:
    """Return the number of experts of a layer, None for a model without."""
    return getattr(model.config, "num_local_experts", None)


def routed_hidden_states(model: PreTrainedModel, ids: torch.Tensor, **more: torch.Tensor) -> Routed:
    """Return the last hidden states of ids [rows, positions], the balancing loss and the load of the experts.

    `more` is as for `hidden_states`. `expert_load` is the entropy of the experts' shares of tokens divided by its
    maximum; 1 is a uniform load.
    """
    experts = experts_of(model)
    if not experts:
        return Routed(hidden_states(model, ids, **more), None, {})
    import torch

    chosen, rows = model.config.num_experts_per_tok, len(ids)
    out = body_output(model, ids, output_router_logits=True, **more)
    logits = torch.stack([layer.view(rows, -1, experts)[:, -ids.shape[1] :] for layer in out.router_logits])
    chances = logits.float().softmax(-1)  # [layers, rows, positions, experts]
    taken = torch.zeros_like(chances).scatter_(-1, chances.topk(chosen, -1).indices, 1.0)
    counts, meant = taken.mean((0, 2)), chances.mean((0, 2))  # [rows, experts]
    balance = experts * (counts * meant).sum(-1).mean()
    with torch.no_grad():
        shares = counts.mean(0) / chosen
        evenness = torch.special.entr(shares).sum() / math.log(experts)
    return Routed(out.last_hidden_state, balance * model.config.router_aux_loss_coef, {"expert_load": evenness})


class ExpertLoads:
    """Counts the tokens that each expert of each layer gets, within a `with` block; see `seen`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.routers = [m for m in body(model).modules() if type(m).__name__.endswith(ROUTER)]
        self.seen: torch.Tensor | None = None  # mask [rows, positions] of the next batch's tokens that count; None: all
        self._counts: Any = [0] * len(self.routers)
        self._experts = experts_of(model) or 0
        self._hooks: list[Any] = []

    def __enter__(self) -> Self:
        for layer, router in enumerate(self.routers):
            self._hooks.append(router.register_forward_hook(lambda *given, k=layer: self._count(k, given[-1])))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _count(self, layer: int, output: Any) -> None:
        import torch

        chosen = output[-1]
        if self.seen is not None:
            chosen = chosen.view(len(self.seen), -1, chosen.shape[-1])[:, -self.seen.shape[1] :][self.seen]
        self._counts[layer] = self._counts[layer] + torch.bincount(chosen.flatten(), minlength=self._experts)

    def rows(self) -> list[dict[str, Any]]:
        """Return layer, expert, and the expert's share of the layer's tokens (1 / experts if the load is even)."""
        return [
            {"layer": layer, "expert": expert, "share": count / sum(counts)}
            for layer, counts in enumerate(each.tolist() for each in self._counts if not isinstance(each, int))
            for expert, count in enumerate(counts)
        ]


def dead_experts(rows: list[dict[str, Any]]) -> str | None:
    """Return which experts of `ExpertLoads.rows` get less than DEAD of an even share, in words; None if none does."""
    by_layer: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_layer.setdefault(row["layer"], []).append(row)
    found = {
        layer: [str(row["expert"]) for row in each if row["share"] < DEAD / len(each)]
        for layer, each in by_layer.items()
    }
    told = "; ".join(f"layer {layer}: {', '.join(experts)}" for layer, experts in found.items() if experts)
    dead = sum(map(len, found.values()))
    return f"{dead} of {len(rows)} experts get under {DEAD:.0%} of an even share of tokens ({told})" if dead else None
