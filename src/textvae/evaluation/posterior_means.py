"""What reconstructing from posterior means costs: no sample is decoded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from textvae.data.batches import in_order
from textvae.data.tokens import TokenTable
from textvae.model.inference import check_fits, inference, lines_at_once
from textvae.model.latents import RungStep
from textvae.model.text_model import LatentTextModel

RATE_SAMPLES = 64
"""Samples of a posterior that a rate without a closed form is averaged over."""


def terms_at_means(model: LatentTextModel, table: TokenTable) -> tuple[np.ndarray, np.ndarray]:
    """Distortion -log p(x | posterior means) and rate of every sequence, nats, each (N,), in the caller's order.

    The rate is KL[q || p] with every rung's parent at its mean: in closed form, but for a mixture prior, where it is
    a mean of log q - log p over `RATE_SAMPLES` samples. Their noise is the same for every sequence and in every call,
    so that equal sequences have equal rates.

    Raises:
        ConfigError: a sequence longer than the model's T_max.
    """
    check_fits(model, table)
    distortion, rate = np.zeros(len(table)), np.zeros(len(table))
    with inference(model):
        for rows, batch in in_order(table, lines_at_once(model), model.max_tokens):
            tokens = torch.from_numpy(batch).to(model.device)
            steps = model.latents.descend(model.evidence(tokens), temperature=0.0)
            distortion[rows] = model.decoder(model.bottom(steps, len(rows)), tokens).cpu().numpy()
            for step in steps:
                rate[rows] += (_sampled_rate(step) if step.rate_map is None else step.rate).cpu().numpy()
    return distortion, rate


def _sampled_rate(step: RungStep) -> Tensor:
    """KL[posterior || prior] of one rung by Monte Carlo, nats, (B,)."""
    mean, device = step.posterior.mean, step.posterior.mean.device  # (B, S, Z)
    deviation = torch.exp(0.5 * step.posterior.log_variance)
    half = torch.randn(RATE_SAMPLES // 2, *mean.shape[1:], generator=torch.Generator(device).manual_seed(0), device=device)
    noise = torch.cat([half, -half])  # (K, S, Z), in opposite pairs: what is linear in it cancels
    samples = (mean + deviation * one for one in noise)  # one at a time: a mixture's density takes as much memory as it has components
    return torch.stack([replace(step, sample=z).log_ratio for z in samples]).mean(0)  # (K, B) -> (B,)
