"""Convolutions as products of windows, beside torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from textvae.nn.convolution import convolve, convolve_transposed

shapes = {"batch": st.integers(1, 3), "positions": st.integers(1, 9), "kernel": st.integers(1, 6), "stride": st.integers(1, 4)}


@given(**shapes)
@settings(max_examples=60, deadline=None)
def test_a_convolution_is_torchs(batch: int, positions: int, kernel: int, stride: int) -> None:
    x = torch.randn(batch, positions, 3, dtype=torch.float64)
    convolution = nn.Conv1d(3, 5, kernel, stride, padding=kernel // 2, dtype=torch.float64)
    outlet = -(-positions // stride)
    ours = convolve(x, convolution, outlet)
    theirs = convolution(x.transpose(1, 2))[..., :outlet].transpose(1, 2)
    torch.testing.assert_close(ours, theirs)
    assert ours.shape == (batch, outlet, 5)


@given(**shapes, shorter=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_transposed_convolution_is_torchs(batch: int, positions: int, kernel: int, stride: int, shorter: int) -> None:
    outlet, crop = max(1, positions * stride - min(shorter, stride - 1)), kernel // 2
    x = torch.randn(batch, positions, 3, dtype=torch.float64)
    whole = (positions - 1) * stride + kernel
    convolution = nn.ConvTranspose1d(3, 5, kernel, stride, dtype=torch.float64)
    theirs = convolution(x.transpose(1, 2))  # (B, C', whole); beyond it stands the bias
    missing = max(0, crop + outlet - whole)
    theirs = torch.cat([theirs, convolution.bias[None, :, None].expand(batch, -1, missing)], 2)
    ours = convolve_transposed(x, convolution, outlet)
    torch.testing.assert_close(ours, theirs[..., crop : crop + outlet].transpose(1, 2))


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_and_their_gradients(stride: int) -> None:
    down = nn.Conv1d(2, 3, 3, stride, padding=1, dtype=torch.float64)
    up = nn.ConvTranspose1d(3, 2, 3, stride, dtype=torch.float64)

    def there_and_back(x: Tensor) -> Tensor:
        return convolve_transposed(torch.tanh(convolve(x, down, -(-5 // stride))), up, 5)

    x = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(there_and_back, x)
    assert torch.autograd.gradgradcheck(there_and_back, x)


def test_elsewhere_torch_does_the_work() -> None:
    down, up = nn.Conv1d(3, 4, 3, 2, padding=1), nn.ConvTranspose1d(4, 3, 3, 2)
    x = torch.randn(2, 5, 3)

    def there_and_back() -> tuple[Tensor, Tensor]:
        y = convolve(x, down, 3)
        return y, convolve_transposed(y, up, 5)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        elsewhere = there_and_back()
    for one, other in zip(there_and_back(), elsewhere, strict=True):
        assert (one.dtype, other.dtype) == (torch.float32, torch.bfloat16)
        torch.testing.assert_close(one, other.float(), rtol=0.05, atol=0.05)


def test_an_empty_batch_has_a_shape() -> None:
    assert convolve(torch.zeros(0, 5, 3), nn.Conv1d(3, 4, 3, padding=1), 5).shape == (0, 5, 4)
