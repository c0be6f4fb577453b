"""Linear layers, convolutions over positions of maps (B, S, C) and their transposes, with the ELU and dropout that stand after them.

On a CPU the compiled kernel computes them, in one pass; elsewhere torch does, to the same numbers but for what is dropped. torch's modules
hold the parameters and are not called by the kernel's way: their forward hooks hear nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from textvae.nn.dropout import EluDropout
from textvae.nn.kernel import layers
from textvae.nn.kernel.layers import NOTHING, After, Cut
from textvae.nn.kernel.layout import computes


def linear(x: Tensor, layer: nn.Linear, activation: EluDropout | None = None) -> Tensor:
    """x (..., C) by a linear layer, and what stands after it: (..., C')."""
    x = _as_multiplied(x)
    if layer.bias is None or not _by_kernel(x, layer, activation):
        return _after(layer(x), activation)
    return layers.dense(x, layer.weight, layer.bias, _told(activation))


def convolve(x: Tensor, convolution: nn.Conv1d, outlet: int, activation: EluDropout | None = None) -> Tensor:
    """x (B, S, C) convolved to (B, outlet, C'), padded by half the kernel with zeros; outlet = ceil(S / stride)."""
    kernel, stride, bias = convolution.kernel_size[0], convolution.stride[0], convolution.bias
    x = _as_multiplied(x)
    if bias is None or convolution.padding != (kernel // 2,) or not _by_kernel(x, convolution, activation):
        return _after(convolution(x.transpose(1, 2))[..., :outlet].transpose(1, 2), activation)  # (B, outlet, C')
    cut = Cut(kernel, stride, kernel // 2, x.shape[1], outlet)
    return layers.convolve(x, convolution.weight, bias, cut, _told(activation))  # (B, outlet, C')


def convolve_transposed(x: Tensor, convolution: nn.ConvTranspose1d, outlet: int, activation: EluDropout | None = None) -> Tensor:
    """x (B, S, C) back to (B, outlet, C'): the transpose of a convolution that is padded by half the kernel; the layer pads nothing."""
    kernel, stride, bias = convolution.kernel_size[0], convolution.stride[0], convolution.bias
    x, crop = _as_multiplied(x), kernel // 2
    if bias is None or convolution.padding != (0,) or not _by_kernel(x, convolution, activation):
        return _after(convolution(x.transpose(1, 2))[..., crop : crop + outlet].transpose(1, 2), activation)  # (B, outlet, C')
    cut = Cut(kernel, stride, crop, outlet, x.shape[1])
    return layers.convolve_transposed(x, convolution.weight, bias, cut, _told(activation))  # (B, outlet, C')


def _as_multiplied(x: Tensor) -> Tensor:
    """x, in bf16 where autocast has asked for it: what torch would do."""
    asked = x.device.type == "cpu" and x.dtype == torch.float32 and torch.is_autocast_enabled("cpu")
    return x.to(torch.get_autocast_dtype("cpu")) if asked else x


def _by_kernel(x: Tensor, layer: nn.Linear | nn.Conv1d | nn.ConvTranspose1d, activation: EluDropout | None) -> bool:
    """Whether the kernel computes this layer: an ordinary one, of fp32 weights, in fp32 or by autocast in bf16.

    What fits nothing is left to torch, which says so.
    """
    weight, bias, channels = layer.weight, layer.bias, layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    if x.numel() == 0 or x.shape[-1] != channels or (activation is not None and activation.dropout.drops >= 1):
        return False
    if not isinstance(layer, nn.Linear) and (x.dim() != 3 or (layer.groups, layer.dilation, layer.padding_mode) != (1, (1,), "zeros")):
        return False
    mixed = torch.is_autocast_enabled("cpu")
    fits = all(given is not None and given.is_cpu and given.dtype == torch.float32 for given in (weight, bias))
    return fits and x.dtype == (torch.get_autocast_dtype("cpu") if mixed else torch.float32) and computes(x)


def _told(activation: EluDropout | None) -> After:
    return NOTHING if activation is None else After(curved=True, p=activation.dropout.drops)


def _after(y: Tensor, activation: EluDropout | None) -> Tensor:
    return y if activation is None else activation(y)
