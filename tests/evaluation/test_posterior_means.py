"""Distortion and rate at posterior means: closed forms, and a mixture's rate against Monte Carlo of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from textvae.data.tokens import TokenTable
from textvae.evaluation.posterior_means import RATE_SAMPLES, terms_at_means
from textvae.model.text_model import LatentTextModel
from textvae.parts import LatentSettings

Tiny = Callable[..., LatentTextModel]


def with_mixture(tiny: Tiny) -> LatentTextModel:
    return tiny("rnn", latent=LatentSettings(channels=(24,), prior="mixture", components=4))


def test_the_rate_under_a_mixture_is_a_kl_divergence(tiny: Tiny, lines: TokenTable) -> None:
    model = with_mixture(tiny).eval()
    _, rate = terms_at_means(model, lines)
    count = 50_000
    with torch.no_grad():
        (posterior,) = model.evidence(torch.from_numpy(lines.take(np.arange(len(lines)))))
        repeated = posterior.repeat(count)
        z = repeated.sample(generator=torch.Generator().manual_seed(5))
        log_ratio = (repeated.log_prob(z).sum((1, 2)) - model.latents.prior().log_prob(z)).double().view(len(lines), count)
        at_mean = posterior.log_prob(posterior.mean).sum((1, 2)) - model.latents.prior().log_prob(posterior.mean)
    error = log_ratio.std(1) * math.sqrt(1 / count + 1 / RATE_SAMPLES)
    assert ((torch.from_numpy(rate) - log_ratio.mean(1)).abs() < 4 * error).all()
    assert ((at_mean - log_ratio.mean(1)).abs() > 4 * error).any()  # what the mean alone gives is told apart


def test_equal_sequences_cost_the_same(tiny: Tiny, lines: TokenTable) -> None:
    model, twice = with_mixture(tiny), lines.select(np.array([0, 1, 2, 0]))
    distortion, rate = terms_at_means(model, twice)
    assert rate[0] == pytest.approx(rate[3], abs=1e-6) and distortion[0] == pytest.approx(distortion[3], abs=1e-5)
    assert np.array_equal(rate, terms_at_means(model, twice)[1])
    alone = terms_at_means(model, lines.select(np.array([2])))
    assert rate[2] == pytest.approx(alone[1][0], abs=1e-5)


@pytest.mark.parametrize("name", ["rnn", "hybrid", "ladder", "lm"])
def test_rungs_with_a_closed_form_draw_nothing(tiny: Tiny, lines: TokenTable, name: str) -> None:
    model = tiny(name).eval()
    distortion, rate = terms_at_means(model, lines)
    with torch.no_grad():
        tokens = torch.from_numpy(lines.take(np.arange(len(lines)), model.max_tokens))
        steps = model.latents.descend(model.evidence(tokens), temperature=0)
        by_hand = sum((step.posterior.rate(step.prior).sum((1, 2)) for step in steps), torch.zeros(len(lines)))
        expected = model.decoder(model.bottom(steps, len(lines)), tokens)
    assert rate == pytest.approx(by_hand.numpy(), abs=1e-4)
    assert distortion == pytest.approx(expected.numpy(), abs=1e-4)
