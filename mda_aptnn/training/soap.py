"""The optimiser: Adam, in axes along which the components of a gradient are not correlated.

N. Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, arXiv:2409.11321 (2024). A
matrix W of weights has a gradient G. The second moments ⟨G Gᵀ⟩ and ⟨Gᵀ G⟩, averaged over steps,
have eigenvectors Q_L and Q_R. Adam's running means of the squares are taken of Q_Lᵀ G Q_R, where
components are nearly independent, and its step is turned back. Each element's weights are a stack
of matrices here, and have axes of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

#: Of the gradient, its square, and its second moments: what a step keeps of the mean before.
BETAS, KEPT = (0.9, 0.99), 0.95
#: Steps between two corrections of the eigenvectors, by one step of orthogonal iteration.
EVERY = 10
#: Sides of a matrix with more rows than this are not turned: their eigenvectors cost more than they
#: bring.
LARGEST = 50


class Soap(torch.optim.Optimizer):
    """Adam in the eigenvectors of a gradient's second moments, with decoupled weight decay.

    The first step only measures the second moments.

    Parameters
    ----------
    params : iterable of Tensor
        Those with two axes or more are stacks of matrices, others are treated as in Adam.
    lr : float
    weight_decay : float
        As in AdamW.
    """

    def __init__(
        self, params: Iterable[torch.Tensor], lr: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            rate, decay = group["lr"], group["weight_decay"]
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                change = self._change(weights.grad, self.state[weights])
                if change is not None:
                    weights.mul_(1 - rate * decay).add_(change, alpha=-rate)

    def _change(self, gradient: torch.Tensor, state: dict[str, Any]) -> torch.Tensor | None:
        """What is taken off the weights, times the learning rate; None in the first step."""
        moments = {
            side: gradient @ gradient.mT if side == "left" else gradient.mT @ gradient
            for side, axis in (("left", -2), ("right", -1))
            if gradient.ndim > 1 and 1 < gradient.shape[axis] <= LARGEST
        }
        if not state:
            state |= {"step": torch.tensor(0.0)}
            state |= {name: torch.zeros_like(gradient) for name in ("mean", "square")}
            for side, moment in moments.items():
                state[side] = moment
                # in the order of memory in which a checkpoint gives them back: the same bits
                state[f"{side}_axes"] = torch.linalg.eigh(moment)[1].contiguous()
            if moments:
                return None
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - BETAS[0])
        turned = _turned(gradient, state)
        state["square"].mul_(BETAS[1]).addcmul_(turned, turned, value=1 - BETAS[1])
        first, second = (1 - beta ** float(state["step"]) for beta in BETAS)
        size = (state["square"] / second).sqrt_().add_(1e-8)
        change = _turned(_turned(state["mean"], state) / first / size, state, back=True)
        for side, moment in moments.items():
            state[side].lerp_(moment, 1 - KEPT)
            if state["step"] % EVERY == 0:
                axes = torch.linalg.qr(state[side] @ state[f"{side}_axes"])[0]
                state[f"{side}_axes"] = axes.contiguous()
        return change


def _turned(matrices: torch.Tensor, state: dict[str, Any], back: bool = False) -> torch.Tensor:
    """Into the axes of a state, or back."""
    for side in ("left", "right"):
        if (axes := state.get(f"{side}_axes")) is not None:
            axes = axes.mT if back else axes
            matrices = axes.mT @ matrices if side == "left" else matrices @ axes
    return matrices
