"""The loss against arithmetic by hand: beta, free bits a channel and a rung, the auxiliary term."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from textvae.architectures import find_architecture
from textvae.config import ObjectiveSettings
from textvae.errors import ConfigError
from textvae.model.latents import RungStep
from textvae.model.text_model import Terms
from textvae.nn.gaussian import Gaussian
from textvae.nn.priors import MixturePrior
from textvae.parts import LatentSettings
from textvae.shapes import MapShape
from textvae.training.objective import batch_means, charged_rate, check_objective, loss_of


def step_with_rates(rates: list[list[list[float]]]) -> RungStep:
    """A rung whose rate map (B, S, Z) is as given: KL[N(m, 1) || N(0, 1)] = m^2 / 2."""
    mean = torch.sqrt(2 * torch.tensor(rates))
    zero = torch.zeros_like(mean)
    return RungStep(Gaussian(mean, zero), Gaussian(mean, zero), Gaussian(zero, zero), mean)


LOW = step_with_rates([[[1.0, 0.0], [2.0, 0.0]], [[3.0, 0.2], [0.0, 0.2]]])  # channel means 3.0 and 0.2; rung mean 3.2
HIGH = step_with_rates([[[0.5]], [[0.1]]])  # mean 0.3
DISTORTION = torch.tensor([10.0, 14.0])


def terms(auxiliary: Tensor | None = None) -> Terms:
    return Terms(DISTORTION, [LOW, HIGH], None if auxiliary is None else lambda: auxiliary)


def loss(beta: float = 1.0, auxiliary: Tensor | None = None, **settings: float | str) -> float:
    return loss_of(terms(auxiliary), beta, ObjectiveSettings(**settings)).item()


def test_without_free_bits_it_is_distortion_plus_beta_rate() -> None:
    assert loss(1.0) == pytest.approx(12 + 3.2 + 0.3)
    assert loss(0.25) == pytest.approx(12 + 0.25 * 3.5)
    assert loss(0.0) == pytest.approx(12)
    assert loss(1.0) == pytest.approx(-terms().elbo.mean().item())


def test_free_bits_a_channel() -> None:
    # Rung 1: max(3.0, 0.5) + max(0.2, 0.5); rung 2: max(0.3, 0.5).
    assert loss(1.0, free_bits=0.5) == pytest.approx(12 + 3.5 + 0.5)
    assert loss(2.0, free_bits=0.5) == pytest.approx(12 + 2 * 4.0)


def test_free_bits_a_rung() -> None:
    assert loss(1.0, free_bits=1.0, free_bits_per="rung") == pytest.approx(12 + 3.2 + 1.0)


def test_what_is_free_has_no_gradient() -> None:
    mean = torch.tensor([[[2.0, 0.1]]], requires_grad=True)
    zero = torch.zeros(1, 1, 2)
    step = RungStep(Gaussian(mean, zero), Gaussian(mean, zero), Gaussian(zero, zero), mean)
    charged_rate(step, ObjectiveSettings(free_bits=0.5)).backward()
    assert mean.grad is not None
    assert mean.grad.flatten().tolist() == [2.0, 0.0]


def test_free_bits_hold_up_the_batch_mean_not_every_line() -> None:
    # Lines of 0 and 1 nats average 0.5, above 0.4: nothing is free.
    step = step_with_rates([[[0.0]], [[1.0]]])
    assert charged_rate(step, ObjectiveSettings(free_bits=0.4)).item() == pytest.approx(0.5)


def test_a_mixture_has_free_bits_a_rung() -> None:
    prior = MixturePrior(MapShape(1, 2), 3)
    q = Gaussian(torch.zeros(4, 1, 2), torch.zeros(4, 1, 2))
    step = RungStep(q, q, prior(), q.sample())
    settings = ObjectiveSettings(free_bits=50.0, free_bits_per="rung")
    assert charged_rate(step, settings).item() == 50.0
    assert charged_rate(step, ObjectiveSettings()).item() == pytest.approx(step.log_ratio.mean().item())


def test_the_auxiliary_term_is_in_the_loss_and_never_in_the_elbo() -> None:
    auxiliary = torch.tensor([4.0, 6.0])
    assert loss(1.0, auxiliary, alpha=0.2) == pytest.approx(15.5 + 0.2 * 5)
    assert loss(1.0, auxiliary, alpha=0.0) == pytest.approx(15.5)
    assert torch.equal(terms(auxiliary).elbo, terms().elbo)
    torch.testing.assert_close(terms().elbo, torch.tensor([-13.5, -17.5]))


def test_batch_means_are_the_terms_unweighted() -> None:
    torch.testing.assert_close(batch_means(terms()), torch.tensor([12.0, 3.2, 0.3]))
    assert not batch_means(terms()).requires_grad


def test_an_auxiliary_head_without_weight_is_never_computed() -> None:
    def refuse() -> Tensor:
        raise AssertionError("computed for nothing")

    seen = Terms(DISTORTION, [LOW, HIGH], refuse)
    assert loss_of(seen, 1.0, ObjectiveSettings()).item() == pytest.approx(15.5)
    with pytest.raises(AssertionError):
        loss_of(seen, 1.0, ObjectiveSettings(alpha=0.1))


@pytest.mark.parametrize("name", ["rnn", "cnn", "hybrid", "ladder", "lm"])
def test_at_beta_one_the_loss_of_a_model_is_minus_its_elbo(name: str) -> None:
    family = find_architecture(name)
    model = family.build(family.settings(), 6, 9).eval()
    seen = model(torch.tensor([[2, 3, 4, 0], [5, 0, 0, 0]]))
    torch.testing.assert_close(loss_of(seen, 1.0, ObjectiveSettings()), -seen.elbo.mean())


def test_free_bits_a_channel_are_refused_with_a_mixture() -> None:
    mixture = LatentSettings(prior="mixture")
    with pytest.raises(ConfigError, match=r"objective\.free_bits_per is 'channel', but a mixture .* set objective\.free_bits_per to rung"):
        check_objective(ObjectiveSettings(free_bits=0.1), mixture, False)
    check_objective(ObjectiveSettings(free_bits=0.1, free_bits_per="rung"), mixture, False)
    check_objective(ObjectiveSettings(), mixture, False)
    check_objective(ObjectiveSettings(free_bits=0.1), LatentSettings(), False)
    check_objective(ObjectiveSettings(free_bits=0.1), None, False)


def test_alpha_is_refused_without_an_auxiliary_head() -> None:
    with pytest.raises(ConfigError, match="no auxiliary head: set it to 0, or choose hybrid"):
        check_objective(ObjectiveSettings(alpha=0.2), LatentSettings(), False)
    check_objective(ObjectiveSettings(alpha=0.2), LatentSettings(), True)
