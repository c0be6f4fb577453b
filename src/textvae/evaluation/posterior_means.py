"""What reconstructing from posterior means costs: no sample is drawn."""

from __future__ import annotations

import numpy as np
import torch

from textvae.data.batches import in_order
from textvae.data.tokens import TokenTable
from textvae.generation import check_fits, inference
from textvae.model.text_model import LatentTextModel

BATCH = 256
"""Sequences that go through the model at once."""


def terms_at_means(model: LatentTextModel, table: TokenTable) -> tuple[np.ndarray, np.ndarray]:
    """Distortion -log p(x | posterior means) and rate of every sequence, nats, each (N,), in the caller's order.

    Raises:
        ConfigError: a sequence longer than the model's T_max.
    """
    check_fits(model, table)
    distortion, rate = np.zeros(len(table)), np.zeros(len(table))
    with inference(model):
        for rows, batch in in_order(table, BATCH, model.max_tokens):
            tokens = torch.from_numpy(batch).to(model.device)
            steps = model.latents.descend(model.evidence(tokens), temperature=0.0)
            distortion[rows] = model.decoder(model.bottom(steps, len(rows)), tokens)[0].cpu().numpy()
            for step in steps:
                rate[rows] += step.rate.cpu().numpy()
    return distortion, rate
