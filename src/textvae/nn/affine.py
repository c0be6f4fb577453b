"""Linear layers, convolutions over positions of maps (B, S, C) and their transposes, with the ELU and dropout that stand after them.

On a CPU the compiled kernel computes as many as stand one after another in one call; elsewhere torch does, to the same numbers but for
what is dropped. torch's modules hold the parameters and are not called by the kernel's way: their forward hooks hear nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from textvae.nn.dropout import EluDropout
from textvae.nn.kernel.layers import Plan, through
from textvae.nn.kernel.layout import computes


@final
class Affine(NamedTuple):
    """A layer as data."""

    layer: nn.Linear | nn.Conv1d | nn.ConvTranspose1d
    """Holds the parameters."""

    plan: Plan
    """Between which maps it leads, and how."""

    activation: EluDropout | None
    """What stands after it."""

    def parameters(self) -> tuple[Tensor, ...]:
        """Weights and bias, where the kernel computes such a layer of such numbers: an ordinary one, of fp32 on the CPU. Else none."""
        layer, plan = self.layer, self.plan
        shape: tuple[int, ...] = plan.outputs, plan.channels
        if not isinstance(layer, nn.Linear):
            shape = *shape, plan.kernel
            padding = 0 if plan.back else plan.crop
            if (layer.groups, layer.dilation, layer.padding, layer.padding_mode) != (1, (1,), (padding,), "zeros"):
                return ()
        weight, bias = layer.weight, layer.bias
        if bias is None or weight.shape != shape or len(bias) != plan.outlet[1]:
            return ()
        plain = weight.is_cpu and bias.is_cpu and weight.dtype == bias.dtype == torch.float32
        return (weight, bias) if plain else ()

    def by_torch(self, x: Tensor) -> Tensor:
        """x, whose numbers are those of the inlet (B, S, C), to (B, S', C') of the outlet."""
        inlet, layer, plan = self.plan.inlet, self.layer, self.plan
        x = x if x.shape[1:] == inlet else x.reshape(len(x), *inlet)
        if isinstance(layer, nn.Linear):
            y = layer(x)
        else:
            first = plan.crop if plan.back else 0
            y = layer(x.transpose(1, 2))[..., first : first + plan.outlet[0]].transpose(1, 2)  # (B, S', C')
        return y if self.activation is None else self.activation(y)


def pointwise(layer: nn.Linear, positions: int = 1, activation: EluDropout | None = None) -> Affine:
    """A linear layer at each of so many positions."""
    plan = Plan(positions, layer.in_features, positions, layer.out_features, curved=activation is not None)
    return Affine(layer, plan, activation)


def convolution(layer: nn.Conv1d, positions: int, outlet: int, activation: EluDropout | None = None) -> Affine:
    """From so many positions to `outlet` = ceil(positions / stride), padded by half the kernel with zeros."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    plan = Plan(positions, layer.in_channels, outlet, layer.out_channels, kernel, stride, kernel // 2, curved=activation is not None)
    return Affine(layer, plan, activation)


def convolution_back(layer: nn.ConvTranspose1d, positions: int, outlet: int, activation: EluDropout | None = None) -> Affine:
    """The transpose of a `convolution` from `outlet` positions to so many; the layer pads nothing."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    plan = Plan(outlet, layer.out_channels, positions, layer.in_channels, kernel, stride, kernel // 2, True, activation is not None)
    return Affine(layer, plan, activation)


def linear(x: Tensor, layer: nn.Linear, activation: EluDropout | None = None) -> Tensor:
    """x (..., C) by a linear layer, and what stands after it: (..., C')."""
    if x.shape[-1] != layer.in_features:
        return layer(x)  # torch says what does not fit
    return applied(x.reshape(-1, 1, x.shape[-1]), (pointwise(layer, activation=activation),)).view(*x.shape[:-1], layer.out_features)


def applied(x: Tensor, layers: Sequence[Affine]) -> Tensor:
    """x (B, S, C) through layers one after another: (B, S', C') of the last one's outlet.

    Raises:
        RuntimeError: x is no map of the first one's inlet.
    """
    inlet, mixed = layers[0].plan.inlet, x.is_cpu and torch.is_autocast_enabled("cpu")
    if x.shape[1:] != inlet:
        raise RuntimeError(f"maps of {tuple(x.shape[1:])}, positions and channels, come to a layer that reads {inlet}")
    wanted = torch.get_autocast_dtype("cpu") if mixed else torch.float32
    if mixed and x.dtype == torch.float32:
        x = x.to(wanted)  # what torch would do
    dropped = [0.0 if affine.activation is None else affine.activation.dropout.drops for affine in layers]
    if x.dtype == wanted and x.numel() and max(dropped) < 1 and computes(x):
        parameters = [parameter for affine in layers for parameter in affine.parameters()]
        if len(parameters) == 2 * len(layers):
            return through(x, tuple([affine.plan for affine in layers]), parameters, dropped)
    for affine in layers:
        x = affine.by_torch(x)
    return x
