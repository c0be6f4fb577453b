"""What is scored, as pure functions of the tokens (B, T): every position up to and including the first `EOS`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from textvae.data.tokens import EOS
from textvae.nn.kernel.distortion import distortion
from textvae.nn.kernel.layout import computes


def scored(tokens: Tensor) -> Tensor:
    """True up to and including the first `EOS` of each row, (B, T)."""
    ends = (tokens == EOS).long()
    return (ends.cumsum(1) - ends) == 0


def lengths_of(tokens: Tensor) -> Tensor:
    """Scored positions of each row, (B,)."""
    return scored(tokens).sum(1)


def padded(tokens: Tensor, positions: int) -> Tensor:
    """Tokens (B, T) padded with `EOS` (or cut, where only padding lies beyond) to (B, positions)."""
    return F.pad(tokens, (0, positions - tokens.shape[1]), value=EOS)


def shifted(tokens: Tensor) -> Tensor:
    """What a teacher-forced decoder reads: the boundary symbol, then all tokens but the last, (B, T)."""
    return F.pad(tokens[:, :-1], (1, 0), value=EOS)


def distortion_of(logits: Tensor, tokens: Tensor) -> Tensor:
    """-log p(tokens) under independent steps with logits (B, T, V), summed over scored positions: nats, (B,)."""
    fits = logits.numel() and logits.shape[:2] == tokens.shape and tokens.is_cpu and tokens.dtype == torch.int64
    if fits and computes(logits):
        return distortion(logits, tokens, EOS)
    # Flat, so that the V logits of a step lie side by side: with V in the middle the softmax is 4 to 10 times slower.
    steps = F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten(), reduction="none").view(tokens.shape)  # (B, T)
    return (steps * scored(tokens)).sum(1)  # (B,)
