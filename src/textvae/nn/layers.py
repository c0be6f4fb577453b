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

    affine: Affine | None = None
    """All that the layer does, as data, where it is linear or a convolution and what bends it: a chain computes such layers in one call."""

    def __init__(self, inlet: MapShape, outlet: MapShape) -> None:
        super().__init__()
        self.inlet = inlet
        self.outlet = outlet

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map (B, S, C) of the inlet to (B, S', C') of the outlet."""


@final
class Chain(SequenceLayer):
    """Layers one after another, their joints checked when built. An empty chain passes its input on."""

    def __init__(self, inlet: MapShape, layers: Sequence[SequenceLayer] = ()) -> None:
        shape = inlet
        for i, layer in enumerate(layers):
            check_joint("the input" if i == 0 else f"layer {i - 1}", shape, f"layer {i} ({type(layer).__name__})", layer.inlet)
            shape = layer.outlet
        super().__init__(inlet, shape)
        self.layers = nn.ModuleList(layers)
        self._runs = [list(run) for _, run in groupby(layers, lambda layer: layer.affine is None)]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers in order, affine ones together."""
        for run in self._runs:
            affine = [layer.affine for layer in run if layer.affine is not None]
            if affine:
                x = _shaped(applied(x, affine), run[-1].outlet)
                continue
            for layer in run:
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

    def bent_before(self, activation: EluDropout) -> EluDropout | None:
        """What already stands before the normalisation: all that bends where there is none."""
        return None if self.changes else activation

    def all_of(self, before: Affine) -> Affine | None:
        """What stands before the normalisation, if there is none and that is all."""
        return None if self.changes else before

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


@final
class Pointwise(SequenceLayer):
    """A linear layer at every position alike, then normalisation and ELU."""

    def __init__(self, inlet: MapShape, channels: int, norm: NormName = "none", dropout: float = 0.0) -> None:
        super().__init__(inlet, MapShape(inlet.positions, channels))
        self.linear = nn.Linear(inlet.channels, channels)
        self.norm = ChannelNorm(norm, channels)
        self.activation = EluDropout(dropout)
        self._map = pointwise(self.linear, inlet.positions, self.norm.bent_before(self.activation))
        self.affine = self.norm.all_of(self._map)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, S, C) to (B, S, C')."""
        y = applied(x, (self._map,))  # (B, S, C')
        return y if self.affine else self.activation(self.norm(y))


@final
class Convolution(SequenceLayer):
    """A convolution over positions, then normalisation and ELU; S' = ceil(S / stride)."""

    def __init__(
        self, inlet: MapShape, channels: int, kernel: int = 3, stride: int = 1, norm: NormName = "none", dropout: float = 0.0
    ) -> None:
        super().__init__(inlet, MapShape(-(-inlet.positions // stride), channels))
        self.convolution = nn.Conv1d(inlet.channels, channels, kernel, stride, padding=kernel // 2)
        self.norm = ChannelNorm(norm, channels)
        self.activation = EluDropout(dropout)
        self._map = convolution(self.convolution, inlet.positions, self.outlet.positions, self.norm.bent_before(self.activation))
        self.affine = self.norm.all_of(self._map)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, S, C) to (B, ceil(S / stride), C')."""
        y = applied(x, (self._map,))  # (B, S', C')
        return y if self.affine else self.activation(self.norm(y))


@final
class TransposedConvolution(SequenceLayer):
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
        self._map = convolution_back(self.convolution, inlet.positions, outlet.positions, self.norm.bent_before(self.activation))
        self.affine = self.norm.all_of(self._map)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, S, C) to (B, S', C')."""
        y = applied(x, (self._map,))  # (B, S', C')
        return y if self.affine else self.activation(self.norm(y))


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
        self.affine: Affine = pointwise(self.linear, 1, self.activation)

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
