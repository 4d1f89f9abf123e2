"""AdaBound, which torch has not: Adam whose per-weight rates are bounded, so that it ends as SGD."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class AdaBound(torch.optim.Optimizer):
    """Adam with every weight's rate clipped to a band that narrows towards `final_lr`.

    Source: Luo et al. 2019, arXiv:1902.09843, algorithm 2 with the bounds of its section 4, and, as in the authors'
    code, with Adam's bias correction and with `final_lr` following the schedule: it is scaled by lr / (first lr).

    Args:
        params: parameters or groups of them.
        lr: the rate of the Adam that it starts as.
        final_lr: the rate of the SGD that it ends as.
        gamma: how fast the band narrows: from (0, infinite) at the first step to a width of 2 final_lr / (gamma t).
        weight_decay: L2, added to the gradient.
        amsbound: divide by the largest average of squares so far.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        final_lr: float = 0.1,
        gamma: float = 1e-3,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsbound: bool = False,
    ) -> None:
        defaults = {"betas": betas, "final_lr": final_lr, "gamma": gamma, "eps": eps, "amsbound": amsbound}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, **defaults})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for steps, parameters in self._by_steps(group).items():
                self._update(group, steps, parameters)
        return loss

    def _by_steps(self, group: dict[str, Any]) -> dict[int, list[Tensor]]:
        """Count a step for every parameter with a gradient; gather those that have made equally many."""
        by_steps: dict[int, list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["step"] = 0
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                if group["amsbound"]:
                    state["max_exp_avg_sq"] = torch.zeros_like(parameter)
            state["step"] += 1
            by_steps[state["step"]].append(parameter)
        return by_steps

    def _update(self, group: dict[str, Any], steps: int, parameters: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        averages = [self.state[parameter]["exp_avg"] for parameter in parameters]
        squares = [self.state[parameter]["exp_avg_sq"] for parameter in parameters]
        torch._foreach_lerp_(averages, gradients, 1.0 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - beta2)
        if group["amsbound"]:
            largest = [self.state[parameter]["max_exp_avg_sq"] for parameter in parameters]
            torch._foreach_maximum_(largest, squares)
            squares = largest
        rates = torch._foreach_sqrt(squares)
        torch._foreach_add_(rates, group["eps"])
        torch._foreach_reciprocal_(rates)
        torch._foreach_mul_(rates, group["lr"] * math.sqrt(1.0 - beta2**steps) / (1.0 - beta1**steps))
        final = group["final_lr"] * group["lr"] / self.defaults["lr"]
        torch._foreach_clamp_min_(rates, final * (1.0 - 1.0 / (group["gamma"] * steps + 1.0)))
        torch._foreach_clamp_max_(rates, final * (1.0 + 1.0 / (group["gamma"] * steps)))
        torch._foreach_mul_(rates, averages)
        torch._foreach_sub_(parameters, rates)
