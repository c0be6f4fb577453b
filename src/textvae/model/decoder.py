"""The decoder: an expander from z to one context vector a step, and an emitter from contexts to symbols."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from textvae.model.emitters import Emitter
from textvae.model.tokens import distortion_of
from textvae.nn.affine import linear
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

    def forward(self, z: Tensor, tokens: Tensor) -> Tensor:
        """Distortion -log p(tokens | z) in nats, (B,), for z (B, S, Z) and tokens (B, T)."""
        return self.distortion(self.expander(z), z, tokens)

    def distortion(self, context: Tensor, z: Tensor, tokens: Tensor) -> Tensor:
        """Distortion -log p(tokens | z) in nats, (B,), given also the expander's context of z, (B, T_max, C)."""
        return distortion_of(self.emitter(context, z, tokens), tokens)

    def auxiliary_distortion(self, context: Tensor, tokens: Tensor) -> Tensor:
        """-log p(tokens) in nats, (B,), under the auxiliary head, from the expander's context (B, T_max, C). Only where there is one."""
        assert self.auxiliary is not None
        return distortion_of(linear(context[:, : tokens.shape[1]], self.auxiliary), tokens)
