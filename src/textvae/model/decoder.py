"""The decoder: an expander from z to one context vector a step, and an emitter from contexts to symbols."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from textvae.model.emitters import Emitter, EmitterState
from textvae.model.tokens import distortion_of
from textvae.nn.layers import Chain


@final
class Decoder(nn.Module):
    """p(x | z): expander (z to one vector a step), emitter, and optionally the expander's own auxiliary head (hybrid)."""

    def __init__(self, expander: Chain, emitter: Emitter, auxiliary: nn.Linear | None = None) -> None:
        super().__init__()
        self.expander = expander
        self.emitter = emitter
        self.auxiliary = auxiliary

    @property
    def max_tokens(self) -> int:
        """T_max: steps the expander has a context for."""
        return self.expander.outlet.positions

    def forward(self, z: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Distortion -log p(tokens | z) and the auxiliary head's own, nats, each (B,), for z (B, S, Z) and tokens (B, T)."""
        context = self.expander(z)  # (B, T_max, C)
        distortion = distortion_of(self.emitter(context, z, tokens), tokens)  # (B,)
        if self.auxiliary is None:
            return distortion, None
        return distortion, distortion_of(self.auxiliary(context[:, : tokens.shape[1]]), tokens)

    def start(self, z: Tensor) -> EmitterState:
        """The state before the first symbol, for z (B, S, Z)."""
        return self.emitter.start(self.expander(z), z)

    def step(self, previous: Tensor, state: EmitterState) -> tuple[Tensor, EmitterState]:
        """Logits (B, V) of the next symbol after the symbols (B,), and the state that follows."""
        return self.emitter.step(previous, state)
