"""Sequence layers: (B, S, C) to (B, S', C'). Encoders' stacks, expanders and the ladder's up and down layers are chains of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import groupby
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textvae.config import CellName, NormName
from textvae.nn.affine import Affine, applied, convolution, convolution_back, pointwise
from textvae.nn.dropout import Dropout, EluDropout
from textvae.nn.recurrent import Recurrent
from textvae.shapes import MapShape, check_joint


class SequenceLayer(nn.Module, ABC):
    """A map from one feature map to another; `inlet` and `outlet` say between which shapes."""

    def __init__(self, inlet: MapShape, outlet: MapShape) -> None:
        super().__init__()
        self.inlet = inlet
        self.outlet = outlet

    @property
    def affine(self) -> Affine | None:
        """All that the layer does, as data, where that is a linear map or a convolution and what bends it; else None."""
        return None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map (B, S, C) of the inlet to (B, S', C') of the outlet."""


@final
class Chain(SequenceLayer):
    """Layers one after another, their joints checked when built. An empty chain passes its input on.

    Neighbours that are affine are computed together and not called: forward hooks of theirs hear nothing.
    """

    def __init__(self, inlet: MapShape, layers: Sequence[SequenceLayer] = ()) -> None:
        shape = inlet
        for i, layer in enumerate(layers):
            check_joint("the input" if i == 0 else f"layer {i - 1}", shape, f"layer {i} ({type(layer).__name__})", layer.inlet)
            shape = layer.outlet
        super().__init__(inlet, shape)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers in order."""
        layers: list[SequenceLayer] = list(self.layers)  # type: ignore[arg-type]
        for is_affine, run in groupby([(layer, layer.affine) for layer in layers], lambda one: one[1] is not None):
            neighbours = list(run)
            if is_affine:
                x = _shaped(applied(x, [affine for _, affine in neighbours if affine is not None]), neighbours[-1][0].outlet)
                continue
            for layer, _ in neighbours:
                x = layer(x)
        return x


def _shaped(x: Tensor, shape: MapShape) -> Tensor:
    """The numbers of x, of each sequence, as a map of a shape."""
    wanted = shape.positions, shape.channels
    return x if x.shape[1:] == wanted else x.view(-1, *wanted)


@final
class ChannelNorm(nn.Module):
    """Normalisation over channels of (B, S, C): none, batch (momentum 0.1, as the study) or layer."""

    def __init__(self, name: NormName, channels: int) -> None:
        super().__init__()
        self.norm: nn.Module
        if name == "batch":
            self.norm = nn.BatchNorm1d(channels)
        elif name == "layer":
            self.norm = nn.LayerNorm(channels)
        else:
            self.norm = nn.Identity()

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return not isinstance(self.norm, nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, S, C)."""
        if not isinstance(self.norm, nn.BatchNorm1d):
            return self.norm(x)
        flat = x.flatten(0, 1)  # (B * S, C)
        if self.training and flat.shape[0] == 1:
            # One value a channel has no variance: a batch of one is normalised by the running statistics.
            norm = self.norm
            return F.batch_norm(flat, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps).view_as(x)
        return self.norm(flat).view_as(x)


class BentLayer(SequenceLayer, ABC):
    """A linear map or a convolution, then normalisation and ELU."""

    norm: ChannelNorm
    activation: EluDropout

    @abstractmethod
    def mapped(self, after: EluDropout | None) -> Affine:
        """The map as data, with what is to stand right after it."""

    @property
    def affine(self) -> Affine | None:
        """All of it, where nothing is normalised."""
        return None if self.norm.changes else self.mapped(self.activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, S, C) to (B, S', C')."""
        if self.norm.changes:
            return self.activation(self.norm(applied(x, (self.mapped(None),))))
        return applied(x, (self.mapped(self.activation),))


@final
class Pointwise(BentLayer):
    """A linear layer at every position alike, then normalisation and ELU."""

    def __init__(self, inlet: MapShape, channels: int, norm: NormName = "none", dropout: float = 0.0) -> None:
        super().__init__(inlet, MapShape(inlet.positions, channels))
        self.linear = nn.Linear(inlet.channels, channels)
        self.norm = ChannelNorm(norm, channels)
        self.activation = EluDropout(dropout)

    def mapped(self, after: EluDropout | None) -> Affine:
        """(B, S, C) to (B, S, C')."""
        return pointwise(self.linear, self.inlet.positions, after)


@final
class Convolution(BentLayer):
    """A convolution over positions, then normalisation and ELU; S' = ceil(S / stride)."""

    def __init__(
        self, inlet: MapShape, channels: int, kernel: int = 3, stride: int = 1, norm: NormName = "none", dropout: float = 0.0
    ) -> None:
        super().__init__(inlet, MapShape(-(-inlet.positions // stride), channels))
        self.convolution = nn.Conv1d(inlet.channels, channels, kernel, stride, padding=kernel // 2)
        self.norm = ChannelNorm(norm, channels)
        self.activation = EluDropout(dropout)

    def mapped(self, after: EluDropout | None) -> Affine:
        """(B, S, C) to (B, ceil(S / stride), C')."""
        return convolution(self.convolution, self.inlet.positions, self.outlet.positions, after)


@final
class TransposedConvolution(BentLayer):
    """A transposed convolution over positions, then normalisation and ELU; S' is what the layer above needs, at most S * stride."""

    def __init__(
        self, inlet: MapShape, outlet: MapShape, kernel: int = 3, stride: int = 1, norm: NormName = "none", dropout: float = 0.0
    ) -> None:
        super().__init__(inlet, outlet)
        check_joint(
            f"{inlet.positions} positions up to {inlet.positions * stride} by stride {stride}",
            MapShape(min(outlet.positions, inlet.positions * stride), outlet.channels),
            "the transposed convolution's outlet",
            outlet,
        )
        missing = kernel // 2 + outlet.positions - ((inlet.positions - 1) * stride + kernel)
        self.convolution = nn.ConvTranspose1d(inlet.channels, outlet.channels, kernel, stride, output_padding=max(0, missing))
        self.norm = ChannelNorm(norm, outlet.channels)
        self.activation = EluDropout(dropout)

    def mapped(self, after: EluDropout | None) -> Affine:
        """(B, S, C) to (B, S', C')."""
        return convolution_back(self.convolution, self.inlet.positions, self.outlet.positions, after)


@final
class BidirectionalRecurrence(SequenceLayer):
    """One recurrent layer in each direction, their outputs side by side: (B, S, C) to (B, S, 2H)."""

    def __init__(self, inlet: MapShape, hidden: int, cell: CellName = "gru", dropout: float = 0.0) -> None:
        super().__init__(inlet, MapShape(inlet.positions, 2 * hidden))
        self.forwards = Recurrent(cell, inlet.channels, hidden)
        self.backwards = Recurrent(cell, inlet.channels, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Read (B, S, C) both ways."""
        ahead, _ = self.forwards(x, self.forwards.zeros(x))
        back, _ = self.backwards(x.flip(1), self.backwards.zeros(x))
        return self.dropout(torch.cat([ahead, back.flip(1)], dim=-1))  # (B, S, 2H)


@final
class Flatten(SequenceLayer):
    """All positions side by side in one: (B, S, C) to (B, 1, S * C). How a map becomes dense."""

    def __init__(self, inlet: MapShape) -> None:
        super().__init__(inlet, MapShape(1, inlet.positions * inlet.channels))

    def forward(self, x: Tensor) -> Tensor:
        """Flatten (B, S, C)."""
        return x.flatten(1)[:, None]  # (B, 1, S * C)


@final
class Unflatten(SequenceLayer):
    """A linear layer from one position to many, then ELU: (B, 1, Z) to (B, S, C). How a dense latent becomes a map."""

    def __init__(self, inlet: MapShape, outlet: MapShape) -> None:
        check_joint("the latent", inlet, "Unflatten", MapShape(1, inlet.channels))
        super().__init__(inlet, outlet)
        self.linear = nn.Linear(inlet.channels, outlet.positions * outlet.channels)
        self.activation = EluDropout(0.0)

    @property
    def affine(self) -> Affine:
        """(B, 1, Z) to (B, 1, S * C), as numbers (B, S, C)."""
        return pointwise(self.linear, 1, self.activation)

    def forward(self, x: Tensor) -> Tensor:
        """Spread (B, 1, Z) over positions."""
        return _shaped(applied(x, (self.affine,)), self.outlet)  # (B, S, C)


@final
class Repeat(SequenceLayer):
    """Each position repeated so that there are as many as the outlet asks: (B, S, C) to (B, S', C), a view where S = 1."""

    def __init__(self, inlet: MapShape, positions: int) -> None:
        super().__init__(inlet, MapShape(positions, inlet.channels))
        self.times = -(-positions // inlet.positions)

    def forward(self, x: Tensor) -> Tensor:
        """Repeat (B, S, C)."""
        if self.inlet.positions == 1:
            return x.expand(-1, self.outlet.positions, -1)  # (B, S', C)
        return x.repeat_interleave(self.times, dim=1)[:, : self.outlet.positions]  # (B, S', C)
