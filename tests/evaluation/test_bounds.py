"""Bounds against likelihoods that are known: numerical integrals over a one-dimensional z, and the exact `lm`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from textvae.data.tokens import EOS, TokenTable
from textvae.errors import ConfigError
from textvae.evaluation.bounds import measure_bounds
from textvae.model.text_model import LatentTextModel
from textvae.nn.gaussian import Gaussian
from textvae.parts import LadderSettings, LatentSettings, RecurrentDecoderSettings

Tiny = Callable[..., LatentTextModel]
TableOf = Callable[[Sequence[Sequence[int]]], TokenTable]
T_MAX = 5
GRID = torch.linspace(-12, 12, 2401)
CELL = 0.01


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def log_likelihood_on_grid(model: LatentTextModel, tokens: Tensor) -> Tensor:
    """log p(x|z) for every x and grid point, (N, G)."""
    model.eval()
    z = GRID[:, None, None]
    return torch.stack([-model.decoder(z, row.expand(len(GRID), -1)) for row in tokens]).double()


@torch.no_grad()
def log_prior_on_grid(model: LatentTextModel) -> Tensor:
    """log p(z_1) at the grid points, (G,), the rung above integrated out where there is one."""
    top = model.latents.prior
    assert top is not None
    log_top = top().log_prob(GRID[:, None, None]).double()  # (G,)
    if len(model.latents.shapes) == 1:
        return log_top
    below = model.latents.rungs[0].prior_given(GRID[:, None, None])  # one a value of z_2
    table = Gaussian(below.mean.flatten()[:, None], below.log_variance.flatten()[:, None]).log_prob(GRID[None, :])  # (G of z_2, G of z_1)
    return torch.logsumexp(log_top[:, None] + table.double(), 0) + math.log(CELL)


def exact_log_p(model: LatentTextModel, tokens: Tensor) -> np.ndarray:
    joint = log_likelihood_on_grid(model, tokens) + log_prior_on_grid(model)
    return (torch.logsumexp(joint, 1) + math.log(CELL)).numpy()


def one_channel_model(tiny: Tiny, kind: str) -> LatentTextModel:
    if kind == "mixture":
        model = tiny("rnn", latent=LatentSettings(channels=(1,), prior="mixture", components=3))
        model.latents.prior.mean.data.mul_(0.5)  # within reach of the untrained posterior, whose samples must cover it
        return model
    if kind == "ladder":
        ladder = LadderSettings(embedding=4, hidden=(6, 4), reconstruction=6, norm="none")
        return tiny("ladder", 2.0, ladder=ladder, latent=LatentSettings(channels=(1, 1)))
    return tiny("rnn")


@pytest.mark.parametrize("kind", ["normal", "mixture", "ladder"])
def test_the_importance_bound_finds_the_integrated_likelihood(tiny: Tiny, lines: TokenTable, kind: str) -> None:
    model = one_channel_model(tiny, kind)
    exact = exact_log_p(model, torch.from_numpy(lines.take(np.arange(len(lines)))))
    repeats = [measure_bounds(model, lines, 2000, seeded(seed)) for seed in range(4)]
    bounds = np.array([r.importance_bound for r in repeats])
    elbos = np.array([r.elbo for r in repeats])
    assert bounds.mean(0) == pytest.approx(exact, abs=0.05)
    assert (elbos.mean(0) <= exact + 0.02).all()
    assert (exact - elbos.mean(0)).max() > 0.1  # the posterior is not exact: the two bounds are told apart


def test_the_elbo_is_its_own_integral(tiny: Tiny, lines: TokenTable) -> None:
    model = tiny("rnn")
    tokens = torch.from_numpy(lines.take(np.arange(len(lines))))
    likelihood, prior = log_likelihood_on_grid(model, tokens), log_prior_on_grid(model)
    with torch.no_grad():
        posterior = model.evidence(tokens)[0]
        log_q = posterior.log_prob(GRID[None, :, None])[..., 0].double()  # (N, G)
    q = log_q.exp() * CELL
    measured = measure_bounds(model, lines, 20_000, seeded())
    expected_rate = posterior.rate(Gaussian(torch.zeros(1), torch.zeros(1)))[:, 0, 0].numpy()
    assert measured.rates[:, 0] == pytest.approx(expected_rate, abs=0.05)
    assert measured.distortion == pytest.approx(-(q * likelihood).sum(1).numpy(), abs=0.08)
    assert measured.elbo == pytest.approx((q * (likelihood + prior - log_q)).sum(1).numpy(), abs=0.1)


@pytest.mark.parametrize("name", ["rnn", "cnn", "hybrid", "ladder", "ladder-cnn", "ladder-rnn", "lm"])
def test_the_bounds_are_consistent_for_every_family(tiny: Tiny, lines: TokenTable, name: str) -> None:
    model = tiny(name, 1.0)
    found = measure_bounds(model, lines, 7, seeded())
    rungs = len(model.latents.shapes)
    assert found.rates.shape == (len(lines), rungs)
    np.testing.assert_allclose(found.elbo, -(found.distortion + found.rates.sum(1)), rtol=1e-12)
    assert (found.elbo <= found.importance_bound).all()
    if rungs:
        assert (found.elbo < found.importance_bound).all()


def test_one_sample_makes_both_bounds_one(tiny: Tiny, lines: TokenTable) -> None:
    found = measure_bounds(tiny("rnn"), lines, 1, seeded())
    np.testing.assert_allclose(found.elbo, found.importance_bound, rtol=1e-12)


def test_a_language_model_is_exact_whatever_the_samples(tiny: Tiny, lines: TokenTable) -> None:
    model = tiny("lm", decoder=RecurrentDecoderSettings(hidden=8, embedding=4, dropout=0.5))
    found = measure_bounds(model, lines, 50)
    assert found.importance_samples == 1
    assert model.training  # as it was; dropout was off all the same
    model.eval()
    for n in range(len(lines)):
        z = model.latents.empty(1, model.device)
        state, previous, total = model.decoder.emitter.start(model.decoder.expander(z), z), torch.tensor([EOS]), 0.0
        for token in lines.take(np.array([n]))[0]:
            logits, state = model.decoder.emitter.step(previous, state)
            total += logits.log_softmax(-1)[0, token].item()
            previous = torch.tensor([token])
        assert found.elbo[n] == found.importance_bound[n] == pytest.approx(total, abs=1e-4)


def test_a_language_models_strings_and_its_unfinished_ones_have_probability_one(tiny: Tiny, table_of: TableOf) -> None:
    model = tiny("lm", 1.0)
    strings: list[list[int]] = [[]]
    finished = []
    for _ in range(3):  # all strings of at most two symbols
        finished += strings
        strings = [[*s, symbol] for s in strings for symbol in range(1, 6)]
    total = np.exp(measure_bounds(model, table_of(finished), 1).elbo).sum()
    with torch.no_grad():
        model.eval()
        tokens = torch.tensor(strings)  # three symbols and no end: what is left
        z = model.latents.empty(len(tokens), model.device)
        unfinished = torch.exp(-model.decoder(z, tokens)).sum().item()
    assert total + unfinished == pytest.approx(1.0, abs=1e-5)
    assert unfinished > 0.01


def test_memory_limit_changes_nothing_but_the_noise(tiny: Tiny, lines: TokenTable) -> None:
    model = tiny("rnn")
    encoded = []
    model.encoder.register_forward_hook(lambda module, inputs, output: encoded.append(len(output)))
    roomy = measure_bounds(model, lines, 3000, seeded())
    assert sum(encoded) == len(lines)  # the encoder runs once a sequence, not once a sample
    tight = measure_bounds(model, lines, 3000, seeded(), held_tokens=40 * T_MAX)
    np.testing.assert_allclose(roomy.importance_bound, tight.importance_bound, atol=0.1)
    again = measure_bounds(model, lines, 3000, seeded(), held_tokens=40 * T_MAX)
    np.testing.assert_array_equal(tight.importance_bound, again.importance_bound)


def test_results_are_in_the_callers_order(tiny: Tiny, lines: TokenTable) -> None:
    model = tiny("lm")
    order = np.random.default_rng(0).permutation(len(lines))
    np.testing.assert_allclose(measure_bounds(model, lines.select(order), 1).elbo, measure_bounds(model, lines, 1).elbo[order], atol=1e-5)


def test_progress_ends_at_the_total(tiny: Tiny, lines: TokenTable) -> None:
    seen: list[tuple[str, int, int]] = []
    measure_bounds(tiny("rnn"), lines, 2, seeded(), held_tokens=3 * T_MAX, progress=lambda *told: seen.append(told))
    assert seen == [("bounds", 0, 7), ("bounds", 3, 7), ("bounds", 6, 7), ("bounds", 7, 7)]


@pytest.mark.parametrize(
    ("sequences", "samples", "held", "message"),
    [
        ([[2]], 0, None, "importance samples is 0"),
        ([], 1, None, "no sequence"),
        ([[2]], 1, 0, "held tokens is 0"),
        ([[2] * T_MAX], 1, None, "a line has 5 tokens, but the model was built for at most 4"),
    ],
)
def test_nonsense_is_refused(
    tiny: Tiny, table_of: TableOf, sequences: list[list[int]], samples: int, held: int | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        measure_bounds(tiny("rnn"), table_of(sequences), samples, held_tokens=held)


@pytest.mark.parametrize("kind", ["normal", "ladder"])
def test_sampling_errors_are_how_far_other_samples_would_lead(tiny: Tiny, lines: TokenTable, kind: str) -> None:
    model, samples = one_channel_model(tiny, kind), 40
    found = [measure_bounds(model, lines, samples, seeded(seed)) for seed in range(150)]
    for i, name in enumerate(("elbo", "importance_bound")):
        spread = np.std([getattr(one, name) for one in found], axis=0)
        told = np.mean([one.sampling_errors[i] for one in found], axis=0)
        np.testing.assert_allclose(told, spread, rtol=0.25)


def test_few_samples_that_carry_a_bound_do_not_tell_how_far_it_is_open(tiny: Tiny, lines: TokenTable) -> None:
    """One of them is nearly all of the sum where z says much: to first order the error would be told as 1 at the most."""
    model = tiny("rnn", 30.0, latent=LatentSettings(channels=(6,)))
    of_elbo, of_bound = measure_bounds(model, lines, 12, seeded()).sampling_errors
    assert of_elbo.max() > 1 and np.isnan(of_bound[of_elbo.argmax()])
    assert np.isfinite(of_elbo).all() and not (of_bound > 1).any()


def test_one_sample_does_not_tell_its_error_and_nothing_sampled_has_none(tiny: Tiny, lines: TokenTable) -> None:
    assert np.isnan(measure_bounds(tiny("rnn"), lines, 1).sampling_errors).all()
    assert not measure_bounds(tiny("lm"), lines, 1).sampling_errors.any()
