"""Distortions by the kernel, beside torch's cross-entropy in float64: values, gradients, ends, and symbols that are none."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from textvae.nn.kernel.distortion import distortion

from .conftest import needs_kernel, threads

pytestmark = needs_kernel


def by_torch(logits: Tensor, symbols: Tensor, end: int) -> Tensor:
    ends = (symbols == end).long()
    steps = F.cross_entropy(logits.flatten(0, 1), symbols.flatten(), reduction="none").view(symbols.shape)
    return (steps * ((ends.cumsum(1) - ends) == 0)).sum(1)


@given(
    batch=st.integers(1, 4), steps=st.integers(1, 6), vocabulary=st.sampled_from([1, 2, 15, 16, 17, 83, 130]),
    bf16=st.booleans(), scale=st.sampled_from([1.0, 30.0]), count=st.sampled_from([1, 2]),
)  # fmt: skip
@settings(max_examples=80)
def test_it_is_cross_entropy_up_to_the_end(batch: int, steps: int, vocabulary: int, bf16: bool, scale: float, count: int) -> None:
    logits = (scale * torch.randn(batch, steps, vocabulary)).to(torch.bfloat16 if bf16 else torch.float32).requires_grad_()
    symbols, weights = torch.randint(vocabulary, (batch, steps)), torch.randn(batch)
    exact = logits.detach().double().requires_grad_()
    theirs = by_torch(exact, symbols, 0)
    with threads(count):
        ours = distortion(logits, symbols, 0)
        (mine,) = torch.autograd.grad((ours * weights).sum(), logits)
    (its,) = torch.autograd.grad((theirs * weights.double()).sum(), exact)
    assert ours.dtype == torch.float32 and mine.dtype == logits.dtype
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine.double(), its, rtol=1e-2 if bf16 else 1e-5, atol=1e-5)


def test_what_stands_after_the_end_has_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.full((1, 3, 2), 0.0)
    logits[0, 2] = float("nan")
    logits.requires_grad_()
    nats = distortion(logits, torch.tensor([[1, 0, 1]]), 0)
    assert float(nats.detach()) == pytest.approx(2 * 0.6931472)
    (gradient,) = torch.autograd.grad(nats.sum(), logits)
    assert gradient.tolist() == [[[0.5, -0.5], [-0.5, 0.5], [0.0, 0.0]]]


def test_numbers_that_are_not_stay_visible() -> None:
    logits = torch.zeros(2, 2, 20)
    logits[1, 0, 3] = float("nan")
    nats = distortion(logits, torch.ones(2, 2, dtype=torch.int64), 0)
    assert nats[0].isfinite() and nats[1].isnan()


@pytest.mark.parametrize("wrong", [-1, 5])
def test_a_symbol_without_a_logit_is_told(wrong: int) -> None:
    with pytest.raises(IndexError, match="1 of 2 symbols have no logit: there are 5 a step"):
        distortion(torch.zeros(1, 2, 5), torch.tensor([[1, wrong]]), 0)
