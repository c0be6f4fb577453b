"""Rungs, their hierarchy and the priors: the way up and down, rates against Monte Carlo, draws against densities."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MixtureSameFamily

from textvae.errors import ConfigError
from textvae.model.assembly import single_latent
from textvae.model.latents import LatentHierarchy, Rung, RungStep
from textvae.nn.gaussian import Gaussian
from textvae.nn.layers import Chain, Convolution, Pointwise, TransposedConvolution
from textvae.nn.priors import MixturePrior, StandardNormalPrior
from textvae.parts import LatentSettings
from textvae.shapes import MapShape

LOW = MapShape(2, 4)


def two_rungs() -> LatentHierarchy:
    inlet = MapShape(2, 5)
    up_low, up_high = Chain(inlet, [Pointwise(inlet, 4)]), Chain(LOW, [Convolution(LOW, 3, 3, 2)])
    above = MapShape(1, 2)
    down = Chain(above, [TransposedConvolution(above, LOW, 3, 2)])
    return LatentHierarchy(inlet, [Rung(up_low, 3, down), Rung(up_high, 2)], StandardNormalPrior(above))


def test_a_hierarchy_goes_up_and_down() -> None:
    latents = two_rungs()
    assert latents.shapes == (MapShape(2, 3), MapShape(1, 2))
    assert latents.bottom == MapShape(2, 3)
    evidence = latents.climb(torch.randn(6, 2, 5))
    low, high = latents.descend(evidence)
    assert isinstance(low.prior, Gaussian)
    torch.testing.assert_close(low.prior.mean, latents.rungs[0].prior_given(high.sample).mean)
    assert torch.equal(high.posterior.mean, evidence[1].mean)  # the top has evidence only
    merged = evidence[0].merge(low.prior)
    torch.testing.assert_close(low.posterior.mean, merged.mean)
    assert [z.shape for z in latents.generate(4)] == [(4, 2, 3), (4, 1, 2)]


def test_evidence_below_the_top_starts_almost_silent() -> None:
    low, high = two_rungs().rungs
    assert low.evidence.bias.tolist() == [0] * 3 + [3] * 3
    assert high.evidence.bias.tolist() == [0] * 4
    evidence, prior = Gaussian(torch.zeros(1), torch.full((1,), 3.0)), Gaussian(torch.zeros(1), torch.zeros(1))
    assert evidence.merge(prior).rate(prior).item() < 0.001
    at_zero = Gaussian(torch.zeros(1), torch.zeros(1)).merge(prior).rate(prior).item()
    assert at_zero == pytest.approx(0.5 * (math.log(2) - 0.5))  # about 0.1 nat a dimension: halving a variance
    assert at_zero > 0.09


@pytest.mark.parametrize("rungs", [(True,), (False, False), (True, True)])
def test_only_the_top_rung_stands_without_a_down_layer(rungs: tuple[bool, ...]) -> None:
    shape = MapShape(1, 2)
    with pytest.raises(ConfigError, match="only the top rung stands without a down layer"):
        LatentHierarchy(shape, [Rung(Chain(shape), 2, Chain(shape) if below else None) for below in rungs], StandardNormalPrior(shape))


def test_a_prior_must_fit_the_top_rung() -> None:
    shape = MapShape(1, 2)
    with pytest.raises(ConfigError, match="the top rung makes 1 positions x 2 channels, but its prior takes 1 positions x 4 channels"):
        LatentHierarchy(shape, [Rung(Chain(shape), 2)], StandardNormalPrior(MapShape(1, 4)))


def test_one_rung_takes_one_number_of_channels() -> None:
    with pytest.raises(ConfigError, match="give one number, or choose a ladder"):
        single_latent(MapShape(1, 4), LatentSettings(channels=(2, 3)))


def posterior(count: int) -> Gaussian:
    generator = torch.Generator().manual_seed(5)
    return Gaussian(torch.randn(1, 2, 2, generator=generator), torch.randn(1, 2, 2, generator=generator)).repeat(count)


def spread_mixture(components: int = 4) -> MixturePrior:
    torch.manual_seed(1)
    prior = MixturePrior(MapShape(2, 2), components).requires_grad_(False)
    prior.logits.copy_(torch.randn(components))
    prior.mean.mul_(3)
    prior.log_variance.copy_(0.5 * torch.randn(components, 2, 2))
    return prior


def test_a_mixtures_rate_agrees_with_numerical_monte_carlo() -> None:
    prior, q = spread_mixture(), posterior(50_000)
    step = RungStep(q, q, prior(), q.sample(generator=torch.Generator().manual_seed(0)))
    other = q.sample(generator=torch.Generator().manual_seed(1))
    components = zip(prior.logits.softmax(0), prior.mean, prior.log_variance, strict=True)
    density = sum(w * Gaussian(m, v).log_prob(other).sum((1, 2)).exp() for w, m, v in components)
    by_hand = q.log_prob(other).sum((1, 2)) - density.log()
    error = math.sqrt((step.rate.var().item() + by_hand.var().item()) / len(other))
    assert step.rate.mean().item() == pytest.approx(by_hand.mean().item(), abs=5 * error)
    assert step.rate.mean().item() > 0


def test_a_step_computes_its_rate_once(monkeypatch: pytest.MonkeyPatch) -> None:
    q, calls = posterior(3), []
    rate = Gaussian.rate
    monkeypatch.setattr(Gaussian, "rate", lambda self, prior: calls.append(1) or rate(self, prior))
    step = RungStep(q, q, posterior(1), q.sample())
    assert step.rate_map is step.rate_map and step.rate is step.rate and step.log_ratio is step.log_ratio
    assert len(calls) == 1


def test_responsibilities_sum_to_one_and_find_the_component() -> None:
    prior = spread_mixture()
    prior.mean.mul_(10)
    responsibilities = prior.responsibilities(torch.cat([prior.mean, torch.randn(20, 2, 2)]))
    torch.testing.assert_close(responsibilities.sum(-1), torch.ones(24))
    assert responsibilities[:4].argmax(-1).tolist() == [0, 1, 2, 3]


def test_a_mixture_draws_components_by_their_weights_one_a_sequence() -> None:
    prior, count = spread_mixture(), 20_000
    prior.mean.mul_(10)  # far apart: every draw tells its component
    z = prior.draw(count, generator=torch.Generator().manual_seed(2))
    observed = torch.bincount(prior.responsibilities(z).argmax(-1), minlength=4).double()
    expected = prior.logits.softmax(0).double() * count
    assert ((observed - expected) ** 2 / expected).sum().item() < 21.1  # chi-square with 3 degrees of freedom, p = 0.0001


def test_a_mixtures_draws_follow_its_density() -> None:
    prior = spread_mixture()
    z = prior.draw(40_000, generator=torch.Generator().manual_seed(3))
    mixture = prior()
    assert isinstance(mixture, MixtureSameFamily)
    standard_error = mixture.variance.sqrt() / math.sqrt(len(z))
    assert ((z.mean(0) - mixture.mean).abs() < 5 * standard_error).all()
    torch.testing.assert_close(z.var(0), mixture.variance, rtol=0.05, atol=0)
    # E_p[1 / p] over a box is the box's volume: draws and density agree everywhere, not only in their moments.
    x = z[:, 0, 0]
    marginal = sum(
        w * Gaussian(m[0, 0], v[0, 0]).log_prob(x).exp()
        for w, m, v in zip(prior.logits.softmax(0), prior.mean, prior.log_variance, strict=True)
    )
    middle = float(x.median())
    inside = (x > middle - 1) & (x < middle + 1)
    assert (inside / marginal).mean().item() == pytest.approx(2.0, rel=0.05)


def test_temperature_zero_draws_the_means() -> None:
    prior = spread_mixture()
    z = prior.draw(50, temperature=0)
    assert all(any(torch.equal(row, mean) for mean in prior.mean) for row in z)
    assert not StandardNormalPrior(MapShape(2, 2)).draw(3, temperature=0).any()


def test_heads_hold_the_log_variance_within_what_every_precision_can_say() -> None:
    heads = torch.tensor([[[1.0, -1.0, 99.0, -99.0]]], dtype=torch.bfloat16)
    g = Gaussian.from_heads(heads)
    assert g.mean.tolist() == [[[1, -1]]]
    assert g.log_variance.tolist() == [[[14, -14]]]
    assert g.mean.dtype == g.log_variance.dtype == torch.float32
