"""Convolutions over positions of (B, S, C), as products of windows: on a CPU short feature maps go 1.1 to 2.2 times as fast so.

A window is `kernel` neighbouring positions side by side. Taking windows and adding them up where they overlap are each other's
transpose, so one is the other's gradient: a convolution is a product after the first, a transposed one a product before the second.
Parameters are those of `nn.Conv1d` and `nn.ConvTranspose1d`, which do the work elsewhere (GPU, autocast, `torch.compile`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolve(x: Tensor, convolution: nn.Conv1d, outlet: int) -> Tensor:
    """x (B, S, C) convolved to (B, outlet, C'), padded by half the kernel with zeros; outlet = ceil(S / stride)."""
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    if not _by_windows(x):
        return convolution(x.transpose(1, 2))[..., :outlet].transpose(1, 2)  # (B, outlet, C')
    cut = _Cut(kernel, stride, kernel // 2, x.shape[1], outlet)
    weight = convolution.weight.transpose(1, 2).flatten(1)  # (C', kernel * C)
    return F.linear(_Windows.apply(x, cut), weight, convolution.bias).view(len(x), outlet, len(weight))  # (B, outlet, C')


def convolve_transposed(x: Tensor, convolution: nn.ConvTranspose1d, outlet: int) -> Tensor:
    """x (B, S, C) back to (B, outlet, C'): the transpose of a convolution that is padded by half the kernel."""
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    if not _by_windows(x):
        crop = kernel // 2
        return convolution(x.transpose(1, 2))[..., crop : crop + outlet].transpose(1, 2)  # (B, outlet, C')
    cut = _Cut(kernel, stride, kernel // 2, outlet, x.shape[1])
    weight = convolution.weight.permute(2, 1, 0).flatten(0, 1)  # (kernel * C', C)
    return _Overlap.apply(F.linear(x.reshape(-1, x.shape[2]), weight), cut) + convolution.bias  # (B, outlet, C')


def _by_windows(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()


@final
@dataclass(frozen=True)
class _Cut:
    """How windows are cut: window i begins at position i * stride - crop."""

    kernel: int
    stride: int
    crop: int
    positions: int
    windows: int

    def taken(self, x: Tensor) -> Tensor:
        """The windows of x (B, S, C), zeros outside of it: (B * windows, kernel * C)."""
        batch, positions, channels = x.shape
        after = (self.windows - 1) * self.stride + self.kernel - self.crop - positions
        padded = F.pad(x, (0, 0, self.crop, max(0, after))).contiguous()  # (B, S'', C)
        windows, width = (batch, self.windows, self.kernel * channels), padded.shape[1] * channels
        return padded.as_strided(windows, (width, self.stride * channels, 1)).reshape(-1, self.kernel * channels)

    def added(self, windows: Tensor) -> Tensor:
        """Windows (B * windows, kernel * C) added up where they stand: (B, S, C)."""
        parts = windows.view(-1, self.windows, self.kernel, windows.shape[1] // self.kernel)  # (B, windows, kernel, C)
        strides = max(self.windows + (self.kernel - 1) // self.stride, -(-(self.crop + self.positions) // self.stride))
        sums = windows.new_zeros(len(parts), strides, self.stride, parts.shape[3])
        for i, first in enumerate(range(0, self.kernel, self.stride)):  # as many positions at once as never meet
            part = parts[:, :, first : first + self.stride]
            sums[:, i : i + self.windows, : part.shape[2]] += part
        return sums.flatten(1, 2)[:, self.crop : self.crop + self.positions]  # (B, S, C)


@final
class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cut: _Cut) -> Tensor:
        ctx.cut = cut
        return cut.taken(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Overlap.apply(gradient, ctx.cut), None


@final
class _Overlap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, windows: Tensor, cut: _Cut) -> Tensor:
        ctx.cut = cut
        return cut.added(windows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Windows.apply(gradient, ctx.cut), None


PARTS = (_Windows.__name__, _Overlap.__name__)
"""What torch's profiler calls the parts of a convolution that are no matrix product."""
