"""Adam with fused steps: by the compiled kernel, or through torch's function of one step, for `torch.optim`'s classes load torch.compile's
machinery first.

That is 1.2 of the 4 seconds from a command to its first training step, for something that is not compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from textvae.config import TrainingSettings
from textvae.nn.kernel import moving

BETAS, EPSILON = (0.9, 0.999), 1e-8
SLOTS = ("exp_avg", "exp_avg_sq", "step")
"""What is kept for each parameter: the means of its gradient and of its square, and the steps taken."""


@final
class Adam:
    """Adam (Kingma and Ba 2015); weight decay decoupled (Loshchilov and Hutter 2019), or as the study in the gradient."""

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.0, decoupled: bool = True) -> None:
        self.parameters = list(parameters)
        self.learning_rate: float | Tensor = learning_rate  # on the device where a step is recorded
        self._weight_decay, self._decoupled = weight_decay, decoupled
        self._slots: dict[int, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Follow the gradient; a parameter without one stays as it is."""
        moved = [(index, parameter) for index, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if not moved:
            return
        for index, parameter in moved:
            if index not in self._slots:
                self._slots[index] = _fresh(parameter)
        slots = [self._slots[index] for index, _ in moved]
        weights: list[Tensor] = [parameter for _, parameter in moved]
        gradients = [parameter.grad for _, parameter in moved if parameter.grad is not None]
        means, squares, steps = ([slot[name] for slot in slots] for name in SLOTS)
        rate = self.learning_rate
        if not isinstance(rate, Tensor) and moving.moves(weights, gradients, means, squares, steps):
            moving.adam(weights, gradients, means, squares, steps, rate, BETAS, EPSILON, self._weight_decay, self._decoupled)
            return
        adam(
            weights,
            gradients,
            means,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=rate,
            weight_decay=self._weight_decay,
            eps=EPSILON,
            maximize=False,
            decoupled_weight_decay=self._decoupled,
        )

    def shorten(self, norm: float) -> None:
        """Scale the gradient so that its norm is at most `norm`, without waiting for the device."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if moving.moves(gradients):
            moving.shorten(gradients, norm)
        else:
            nn.utils.clip_grad_norm_(self.parameters, norm)

    def forget(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """What has been learned about the gradients, as `INDEX.SLOT`, indices in the order of the parameters."""
        return {f"{index}.{name}": value for index, slots in sorted(self._slots.items()) for name, value in slots.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state`.

        Raises:
            KeyError, ValueError: it is not one of these parameters.
        """
        slots: dict[int, dict[str, Tensor]] = {}
        for index in dict.fromkeys(int(name.split(".")[0]) for name in state):
            if index >= len(self.parameters):
                raise ValueError(f"it has a parameter {index}, this run only {len(self.parameters)}")
            parameter = self.parameters[index]
            found = {name: state[f"{index}.{name}"] for name in SLOTS}
            for mean in (found["exp_avg"], found["exp_avg_sq"]):
                if mean.shape != parameter.shape:
                    raise ValueError(f"its parameter {index} is {tuple(mean.shape)}, this run's {tuple(parameter.shape)}")
            slots[index] = {
                name: torch.empty_like(of, memory_format=torch.preserve_format).copy_(found[name]) for name, of in _fresh(parameter).items()
            }
        self._slots = slots


def _fresh(parameter: nn.Parameter) -> dict[str, Tensor]:
    return {
        "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
    }


def optimizer_for(model: nn.Module, settings: TrainingSettings) -> Adam:
    """The optimizer that the settings ask for."""
    return Adam(model.parameters(), settings.learning_rate, settings.weight_decay, settings.optimizer == "adamw")
