"""Stacks of convolutions down to a latent's positions, and their mirror images back up."""

from __future__ import annotations

from textvae.nn.layers import Chain, Convolution, Pointwise, SequenceLayer, TransposedConvolution, Unflatten
from textvae.parts import ConvolutionSettings
from textvae.shapes import MapShape


def convolution_stack(inlet: MapShape, s: ConvolutionSettings) -> Chain:
    """Convolutions of the settings' kernels and strides, one after another."""
    layers: list[SequenceLayer] = []
    shape = inlet
    for kernel, stride in zip(s.kernels, s.strides, strict=True):
        layers.append(Convolution(shape, s.channels, kernel, stride, s.norm, s.dropout))
        shape = layers[-1].outlet
    return Chain(inlet, layers)


def mirrored_stack(latent: MapShape, positions: int, s: ConvolutionSettings) -> Chain:
    """From z back to `positions`, through the positions a `convolution_stack` came by: transposed convolutions in reverse order."""
    passed = [positions]
    for stride in s.strides:
        passed.append(-(-passed[-1] // stride))
    smallest = MapShape(passed.pop(), s.channels)
    first: SequenceLayer = Unflatten(latent, smallest) if latent.positions == 1 else Pointwise(latent, s.channels)
    layers = [first]
    for kernel, stride in zip(reversed(s.kernels), reversed(s.strides), strict=True):
        outlet = MapShape(passed.pop(), s.channels)
        layers.append(TransposedConvolution(layers[-1].outlet, outlet, kernel, stride, s.norm, s.dropout))
    return Chain(latent, layers)
