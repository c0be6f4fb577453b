"""Densities, rates and the ladder's merge against torch.distributions, numerical products and Monte Carlo."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from textvae.architectures import find_architecture
from textvae.model.latents import RungStep
from textvae.nn.gaussian import Gaussian
from textvae.nn.priors import MixturePrior, StandardNormalPrior
from textvae.parts import LadderSettings, LatentSettings
from textvae.shapes import MapShape

means = st.floats(-5, 5)
log_variances = st.floats(-6, 6)


def scalar(mean: float, log_variance: float) -> Gaussian:
    return Gaussian(torch.tensor([[[mean]]], dtype=torch.float64), torch.tensor([[[log_variance]]], dtype=torch.float64))


def as_normal(g: Gaussian) -> Normal:
    return Normal(g.mean, torch.exp(0.5 * g.log_variance))


@settings(deadline=None)
@given(means, log_variances, means, log_variances)
def test_rate_is_the_kl_divergence(m: float, v: float, prior_m: float, prior_v: float) -> None:
    q, p = scalar(m, v), scalar(prior_m, prior_v)
    torch.testing.assert_close(q.rate(p), kl_divergence(as_normal(q), as_normal(p)), rtol=1e-9, atol=1e-12)
    assert q.rate(p).item() >= 0
    assert q.rate(q).item() == 0


@settings(deadline=None)
@given(means, log_variances, means)
def test_log_prob_is_the_normal_density(m: float, v: float, z: float) -> None:
    q, at = scalar(m, v), torch.tensor([[[z]]], dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(at), as_normal(q).log_prob(at))


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 3), st.floats(-2, 2), st.floats(-3, 3), st.floats(-2, 2))
def test_merge_is_the_normalised_product_of_the_densities(m: float, v: float, prior_m: float, prior_v: float) -> None:
    evidence, prior = scalar(m, v), scalar(prior_m, prior_v)
    grid = torch.linspace(-25, 25, 20_001, dtype=torch.float64)[:, None, None]
    product = evidence.log_prob(grid) + prior.log_prob(grid)
    normalised = product - torch.logsumexp(product, 0) - math.log(50 / 20_000)
    here = product > product.max() - 20
    torch.testing.assert_close(evidence.merge(prior).log_prob(grid)[here], normalised[here], rtol=1e-5, atol=1e-5)


def test_merge_by_hand() -> None:
    merged = scalar(4.0, math.log(1.0)).merge(scalar(0.0, math.log(3.0)))
    assert merged.log_variance.exp().item() == pytest.approx(1 / (1 + 1 / 3))  # precisions add: 1 + 1/3
    assert merged.mean.item() == pytest.approx(0.75 * 4.0)  # weighted by precision: 3 to 1


def test_temperature_scales_the_noise() -> None:
    g = Gaussian(torch.full((20_000, 1, 1), 2.0), torch.full((20_000, 1, 1), math.log(9.0)))
    assert torch.equal(g.sample(temperature=0), g.mean)
    assert g.sample(0.5, torch.Generator().manual_seed(0)).std().item() == pytest.approx(1.5, rel=0.02)


def repeated(count: int, seed: int, positions: int = 2, channels: int = 3) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    shape = (1, positions, channels)
    return Gaussian(torch.randn(shape, generator=generator), 0.5 * torch.randn(shape, generator=generator)).repeat(count)


def agrees(samples: torch.Tensor, expected: float) -> None:
    standard_error = samples.double().std().item() / math.sqrt(len(samples))
    assert abs(samples.double().mean().item() - expected) < 5 * standard_error


def test_rate_is_the_mean_log_ratio() -> None:
    q, p = repeated(40_000, 0), repeated(1, 1)
    step = RungStep(q, q, p, q.sample(generator=torch.Generator().manual_seed(2)))
    agrees(step.log_ratio, step.rate[0].item())


def test_a_mixture_of_one_standard_component_has_the_closed_form_rate() -> None:
    shape = MapShape(2, 3)
    mixture = MixturePrior(shape, 1)
    torch.nn.init.zeros_(mixture.mean)
    standard = StandardNormalPrior(shape).closed_form()
    q = repeated(40_000, 3)
    step = RungStep(q, q, mixture(), q.sample(generator=torch.Generator().manual_seed(4)))
    assert step.rate_map is None
    agrees(step.rate.detach(), q.rate(standard)[0].sum().item())


def test_a_mixture_is_the_weighted_sum_of_its_components() -> None:
    torch.manual_seed(0)
    mixture = MixturePrior(MapShape(1, 2), 3)
    torch.nn.init.normal_(mixture.logits)
    torch.nn.init.normal_(mixture.log_variance)
    z = torch.randn(5, 1, 2)
    weights = mixture.logits.softmax(0)
    density = sum(weights[k] * Gaussian(mixture.mean[k], mixture.log_variance[k]).log_prob(z).sum((1, 2)).exp() for k in range(3))
    torch.testing.assert_close(mixture().log_prob(z), torch.log(density), rtol=1e-4, atol=1e-5)


def test_the_ladders_rate_is_the_mean_log_ratio_over_all_rungs() -> None:
    torch.manual_seed(0)
    family = find_architecture("ladder")
    model = family.build(
        family.settings(ladder=LadderSettings(embedding=4, hidden=(6, 5), reconstruction=4), latent=LatentSettings(channels=(3, 2))), 6, 5
    ).eval()
    with torch.no_grad():
        for parameter in model.latents.parameters():
            parameter.mul_(2)
        evidence = [rung.repeat(20_000) for rung in model.evidence(torch.tensor([[2, 3, 4, 0, 0]]))]
        steps = model.latents.descend(evidence, generator=torch.Generator().manual_seed(0))
    difference = sum(step.log_ratio - step.rate for step in steps)
    agrees(difference, 0.0)
