"""The loss: distortion + sum over rungs of beta * rate (with free bits) + alpha * auxiliary, in nats a sequence.

It is what is optimised and never called ELBO: the ELBO has weight 1 everywhere (`Terms.elbo`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from textvae.config import ObjectiveSettings, require
from textvae.model.latents import RungStep
from textvae.model.text_model import LatentTextModel, Terms
from textvae.parts import LatentSettings


def check_objective(settings: ObjectiveSettings, latent: LatentSettings | None, has_auxiliary: bool) -> None:
    """Refuse an objective that the model cannot have; raises `ConfigError`."""
    per_channel = settings.free_bits > 0 and settings.free_bits_per == "channel"
    require(
        not (per_channel and latent is not None and latent.prior == "mixture"),
        "objective.free_bits_per is 'channel', but a mixture prior's rate is of the whole sequence: set objective.free_bits_per to rung",
    )
    require(
        settings.alpha == 0 or has_auxiliary,
        f"objective.alpha is {settings.alpha}, but this architecture has no auxiliary head: set it to 0, or choose hybrid",
    )


def charged_rate(step: RungStep, settings: ObjectiveSettings) -> Tensor:
    """The rate of one rung as the loss charges it: the batch mean in nats a sequence, a scalar, held up at its free bits.

    Free bits (Kingma et al. 2016, section 5): a group's mean rate below lambda costs lambda, so it has no gradient.
    """
    if settings.free_bits == 0:
        return step.rate.mean()
    rate_map = step.rate_map
    if settings.free_bits_per == "rung" or rate_map is None:
        return step.rate.mean().clamp(min=settings.free_bits)
    return rate_map.sum(1).mean(0).clamp(min=settings.free_bits).sum()  # (B, S, Z) -> (Z,) -> ()


def loss_of(terms: Terms, beta: float | Tensor, settings: ObjectiveSettings) -> Tensor:
    """The training loss of a batch, a scalar in nats a sequence."""
    loss = terms.distortion.mean()
    for step in terms.rungs:
        loss = loss + beta * charged_rate(step, settings)
    if terms.auxiliary is not None and settings.alpha > 0:
        loss = loss + settings.alpha * terms.auxiliary().mean()
    return loss


def leaves_idle(settings: ObjectiveSettings, model: LatentTextModel) -> bool:
    """Whether some of the model's parameters have no gradient: an auxiliary head without weight."""
    return settings.alpha == 0 and model.decoder.auxiliary is not None


def batch_means(terms: Terms) -> Tensor:
    """Distortion, then the rate of each rung (bottom first): batch means, (1 + L,), detached and still on the device."""
    return torch.stack([terms.distortion, *terms.rates]).detach().mean(1)
