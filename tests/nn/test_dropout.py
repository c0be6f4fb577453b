"""Dropout: what it keeps, how often, how it scales, and where it is torch's."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from textvae.nn.dropout import Dropout, EluDropout
from textvae.nn.kernel.compiling import SWITCH

from .conftest import with_bf16


@pytest.fixture(autouse=True, params=["kernel", "off"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, request.param)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_elements_are_dropped_with_p_and_the_mean_stays(p: float) -> None:
    torch.manual_seed(0)
    count = 400_003
    y = Dropout(p)(torch.ones(count))
    kept = (y != 0).double().mean().item()
    assert kept == pytest.approx(1 - p, abs=5 * math.sqrt(p * (1 - p) / count))
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)))


def test_elements_are_dropped_independently_of_their_neighbours() -> None:
    torch.manual_seed(0)
    draws = [(Dropout(0.5)(torch.ones(100_000, 8)) != 0).double() for _ in range(2)]
    correlation = torch.corrcoef(torch.cat(draws, 1).T) - torch.eye(16)  # of places beside each other, and of two calls
    assert correlation.abs().max() < 0.02


def test_the_gradient_is_of_what_was_kept() -> None:
    x = torch.randn(7, 5, 3).transpose(0, 2).requires_grad_()
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, y)


def test_it_does_nothing_outside_of_training_or_without_a_probability() -> None:
    x = torch.randn(5, 4)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros_like(x))


def test_a_seed_gives_the_same_mask_and_other_types_are_torchs() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        torch.manual_seed(1)
        first = Dropout(0.3)(torch.ones(50, dtype=dtype))
        torch.manual_seed(1)
        second = Dropout(0.3)(torch.ones(50, dtype=dtype))
        assert torch.equal(first, second) and first.dtype == dtype


def test_nearly_everything_is_dropped_where_that_is_asked() -> None:
    assert not Dropout(1 - 1e-12)(torch.ones(1000)).any()


def test_gradients_have_gradients() -> None:
    x = torch.randn(6, requires_grad=True)
    (gradient,) = torch.autograd.grad(Dropout(0.5)(x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    torch.testing.assert_close(second * x, gradient)


def test_a_profiler_that_records_shapes_may_watch() -> None:
    torch.manual_seed(0)
    with torch.autograd.profiler.profile(record_shapes=True):
        for _ in range(8):  # seeds of either sign
            assert Dropout(0.5)(torch.ones(5)).shape == (5,)


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(3, 5, 7), (64,), (1,)])
def test_in_bf16_it_is_that_of_the_same_numbers_in_fp32_but_for_rounding(
    p: float, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_bf16(True, monkeypatch)
    x, weights = (2 * torch.randn(shape)).bfloat16(), torch.randn(shape).bfloat16()
    for layer, whole in ((Dropout(p), torch.clone), (EluDropout(p), F.elu)):
        given, exact = x.clone().requires_grad_(), x.float().requires_grad_()
        y = layer(given)
        theirs = whole(exact) * ((y != 0) | (x == 0)) / (1 - p)
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(y.float(), theirs, rtol=1e-2, atol=1e-3)
        (ours,), (gradient,) = (torch.autograd.grad((z.float() * weights.float()).sum(), at) for z, at in ((y, given), (theirs, exact)))
        torch.testing.assert_close(ours.float(), gradient, rtol=2e-2, atol=1e-2)  # ELU's slope is 1 and what it gave, rounded


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(3, 5, 7), (64,), (1,)])
def test_an_elu_before_it_is_torchs(p: float, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = (2 * torch.randn(shape)).requires_grad_()
    weights = torch.randn(shape)
    y = EluDropout(p)(x)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    exact = x.detach().double().requires_grad_()
    kept = (y != 0) / (1 - p)
    theirs = F.elu(exact) * kept
    (their_gradient,) = torch.autograd.grad((theirs * weights).sum(), exact)
    torch.testing.assert_close(y.double(), theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), their_gradient, rtol=1e-5, atol=1e-6)
    assert p or bool((y != 0).all())


def test_an_elu_and_what_it_drops_in_training_and_out_of_it() -> None:
    torch.manual_seed(0)
    x = torch.randn(200_000)
    layer = EluDropout(0.25)
    assert (layer(x) != 0).double().mean().item() == pytest.approx(0.75, abs=0.005)
    assert torch.equal(layer.eval()(x), F.elu(x))
    assert torch.equal(EluDropout(1.0)(x), torch.zeros_like(x))
    extremes = torch.tensor([-1e30, -200.0, -1e-6, 0.0, 1e30, torch.inf, -torch.inf, torch.nan])
    torch.testing.assert_close(EluDropout(0.0)(extremes), F.elu(extremes), equal_nan=True)


def test_an_elu_is_exact_near_zero_too() -> None:
    x = -torch.logspace(-12, 2, 500).requires_grad_()
    y = EluDropout(0.0)(x)
    torch.testing.assert_close(y.double(), torch.expm1(x.double()), rtol=1e-6, atol=0)
    torch.testing.assert_close(EluDropout(0.0)(torch.zeros(40)), torch.zeros(40), rtol=0, atol=0)


def test_where_nothing_is_dropped_nothing_is_drawn() -> None:
    before = torch.get_rng_state()
    EluDropout(0.0)(torch.ones(5))
    assert torch.equal(torch.get_rng_state(), before)
