"""Hidden states of mixture-of-experts models, with their load-balancing loss and the evenness of the load."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from windtunnel.trainer.modules.heads import body, hidden_states

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Routed(NamedTuple):
    """Hidden states and routing statistics; `balance` and `metrics` are empty for a model without experts."""

    hidden: torch.Tensor
    balance: torch.Tensor | None  # added to the loss per token
    metrics: dict[str, torch.Tensor]


def routed_hidden_states(model: PreTrainedModel, ids: torch.Tensor, **more: torch.Tensor) -> Routed:
    """Return the last hidden states of ids [rows, positions], the balancing loss and the load of the experts.

    `more` is as for `hidden_states`. `expert_load` is the entropy of the experts' shares of tokens divided by its
    maximum; 1 is a uniform load.
    """
    experts = getattr(model.config, "num_local_experts", None)
    if not experts:
        return Routed(hidden_states(model, ids, **more), None, {})
    import torch
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    chosen = model.config.num_experts_per_tok
    out = body(model)(input_ids=ids, use_cache=False, output_router_logits=True, **more)
    balance = load_balancing_loss_func(out.router_logits, experts, chosen)
    with torch.no_grad():
        counts = sum(torch.bincount(g.topk(chosen, -1).indices.flatten(), minlength=experts) for g in out.router_logits)
        shares = counts / counts.sum()  # type: ignore[union-attr]
        evenness = torch.special.entr(shares).sum() / math.log(experts)
    return Routed(out.last_hidden_state, balance * model.config.router_aux_loss_coef, {"expert_load": evenness})
