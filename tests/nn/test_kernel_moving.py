"""What moves weights, by the kernel, beside torch: the gradient's norm, Adam and averages, over many arrays of any size."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from textvae.nn.kernel import moving
from textvae.nn.kernel.compiling import SWITCH

from .conftest import needs_kernel, threads

pytestmark = needs_kernel
sizes = st.lists(st.sampled_from([0, 1, 7, 64, 5000]), min_size=1, max_size=5)


def arrays(sizes: list[int], scale: float = 1.0) -> list[Tensor]:
    return [scale * torch.randn(size) for size in sizes]


@given(sizes=sizes, norm=st.sampled_from([1e-3, 1.0, 1e6]), count=st.sampled_from([1, 2]))
@settings(max_examples=40)
def test_a_gradient_is_shortened_as_torch_does(sizes: list[int], norm: float, count: int) -> None:
    ours = arrays(sizes)
    holders = [nn.Parameter(torch.zeros_like(gradient)) for gradient in ours]
    for holder, gradient in zip(holders, ours, strict=True):
        holder.grad = gradient.clone()
    nn.utils.clip_grad_norm_(holders, norm)
    with threads(count):
        moving.shorten(ours, norm)
    for mine, holder in zip(ours, holders, strict=True):
        assert holder.grad is not None
        torch.testing.assert_close(mine, holder.grad, rtol=1e-5, atol=1e-9)


@given(sizes=sizes, decay=st.sampled_from([0.0, 0.1]), decoupled=st.booleans(), count=st.sampled_from([1, 2]))
@settings(max_examples=40)
def test_adam_is_torchs(sizes: list[int], decay: float, decoupled: bool, count: int) -> None:
    weights = arrays(sizes)
    holders = [nn.Parameter(weight.clone()) for weight in weights]
    other = (torch.optim.AdamW if decoupled else torch.optim.Adam)(holders, lr=0.01, weight_decay=decay)
    means, squares, steps = arrays(sizes, 0.0), arrays(sizes, 0.0), [torch.zeros(()) for _ in sizes]
    for turn in range(3):
        gradients = arrays(sizes, 10.0**turn)
        for holder, gradient in zip(holders, gradients, strict=True):
            holder.grad = gradient.clone()
        other.step()
        with threads(count):
            moving.adam(weights, gradients, means, squares, steps, 0.01, (0.9, 0.999), 1e-8, decay, decoupled)
    assert all(float(step) == 3 for step in steps)
    for mine, holder in zip(weights, holders, strict=True):
        torch.testing.assert_close(mine, holder.detach(), rtol=1e-5, atol=1e-6)


@given(sizes=sizes, part=st.floats(0, 1), count=st.sampled_from([1, 2]))
@settings(max_examples=40)
def test_averages_approach_as_torch_interpolates(sizes: list[int], part: float, count: int) -> None:
    averages, values = arrays(sizes), arrays(sizes)
    expected = [average.lerp(value, part) for average, value in zip(averages, values, strict=True)]
    with threads(count):
        moving.approach(averages, values, part)
    for mine, its in zip(averages, expected, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-6)


def test_numbers_that_are_not_stay_visible() -> None:
    gradients = [torch.ones(3), torch.tensor([float("nan")])]
    moving.shorten(gradients, 1.0)
    assert all(gradient.isnan().all() for gradient in gradients)


def test_what_is_not_fp32_without_gaps_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [torch.zeros(2, 3)]
    assert moving.moves(plain, copy.deepcopy(plain))
    assert not moving.moves(plain, [torch.zeros(3, 2).t()])
    assert not moving.moves([torch.zeros(2, dtype=torch.float64)])
    assert not moving.moves([])
    monkeypatch.setenv(SWITCH, "off")
    assert not moving.moves(plain)


def test_what_lies_elsewhere_asks_for_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on a GPU compiles none."""
    monkeypatch.setattr(moving, "kernel", lambda: pytest.fail("asked for"))
    assert not moving.moves([torch.zeros(2, device="meta")])
