"""Convolutions over positions of maps (B, S, C), and up again: by the compiled kernel on a CPU, else torch's, to the same numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from textvae.nn.kernel import convolving
from textvae.nn.kernel.convolving import Cut
from textvae.nn.kernel.layout import computes


def convolve(x: Tensor, convolution: nn.Conv1d, outlet: int) -> Tensor:
    """x (B, S, C) convolved to (B, outlet, C'), padded by half the kernel with zeros; outlet = ceil(S / stride)."""
    kernel, stride, bias = convolution.kernel_size[0], convolution.stride[0], convolution.bias
    x = _as_multiplied(x)
    if bias is None or convolution.padding != (kernel // 2,) or not _by_kernel(x, convolution):
        return convolution(x.transpose(1, 2))[..., :outlet].transpose(1, 2)  # (B, outlet, C')
    cut = Cut(kernel, stride, kernel // 2, x.shape[1], outlet)
    return convolving.convolve(x, convolution.weight, bias, cut)  # (B, outlet, C')


def convolve_transposed(x: Tensor, convolution: nn.ConvTranspose1d, outlet: int) -> Tensor:
    """x (B, S, C) back to (B, outlet, C'): the transpose of a convolution that is padded by half the kernel; the layer pads nothing."""
    kernel, stride, bias = convolution.kernel_size[0], convolution.stride[0], convolution.bias
    x = _as_multiplied(x)
    if bias is None or convolution.padding != (0,) or not _by_kernel(x, convolution):
        crop = kernel // 2
        return convolution(x.transpose(1, 2))[..., crop : crop + outlet].transpose(1, 2)  # (B, outlet, C')
    return convolving.convolve_transposed(
        x, convolution.weight, bias, Cut(kernel, stride, kernel // 2, outlet, x.shape[1])
    )  # (B, outlet, C')


def _as_multiplied(x: Tensor) -> Tensor:
    """x, in bf16 where autocast has asked for it: what torch would do."""
    asked = x.device.type == "cpu" and x.dtype == torch.float32 and torch.is_autocast_enabled("cpu")
    return x.to(torch.get_autocast_dtype("cpu")) if asked else x


def _by_kernel(x: Tensor, layer: nn.Conv1d | nn.ConvTranspose1d) -> bool:
    """Whether the kernel computes this layer: an ordinary one, of fp32 weights, in fp32 or by autocast in bf16."""
    ordinary = layer.groups == 1 and layer.dilation == (1,) and layer.padding_mode == "zeros" and layer.weight.dtype == torch.float32
    mixed = torch.is_autocast_enabled("cpu")
    return ordinary and computes(x) and x.dtype == (torch.get_autocast_dtype("cpu") if mixed else torch.float32)
