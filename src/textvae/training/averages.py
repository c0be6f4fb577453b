"""An exponential moving average of the weights: steadier than the last step, at the cost of one multiply-add a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn

from textvae.nn.kernel import moving


@final
class WeightAverage:
    """Averages of a module's floating-point parameters and buffers (Polyak and Juditsky 1992, exponential form)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = {name: value for name, value in module.state_dict(keep_vars=True).items() if value.is_floating_point()}
        self.values = {name: value.detach().clone() for name, value in self._live.items()}
        # The tensors that training moves in place: none may be put in another's place.
        self._pairs = list(self.values.values()), [value.detach() for value in self._live.values()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the averages towards the weights after step `step`; early steps count for more, so that the start is forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        if moving.moves(*self._pairs):
            moving.approach(*self._pairs, 1 - decay)
        else:
            torch._foreach_lerp_(*self._pairs, 1 - decay)

    def load(self, values: dict[str, Tensor]) -> None:
        """Take up saved averages."""
        for name, value in values.items():
            self.values[name].copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module holds its averages inside the block, and its own weights again after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self._live.items():
            kept = value.detach().clone()
            value.copy_(self.values[name])
            self.values[name].copy_(kept)
