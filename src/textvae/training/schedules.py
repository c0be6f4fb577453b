"""Schedules of beta and of the learning rate: pure functions of the step, so that a resumed run follows the same path."""

from __future__ import annotations

import math

from textvae.config import ObjectiveSettings, TrainingSettings


def beta_at(step: int, steps: int, settings: ObjectiveSettings) -> float:
    """Weight of the rate at a step (0-based) of a run of `steps`.

    constant: beta. linear: 0 to beta over the first `warmup` share of the run (Bowman et al. 2016; the study's
    annealing). sigmoid: the same span along a logistic curve. cyclical: `cycles` ramps, each linear over the
    first `warmup` share of its cycle (Fu et al. 2019).
    """
    if settings.schedule == "constant":
        return settings.beta
    progress = min(step / max(1, steps), 1.0)
    if settings.schedule == "cyclical":
        progress = step * settings.cycles % steps / steps if step < steps else 1.0  # whole numbers: a cycle starts at 0 exactly
    share = min(1.0, progress / settings.warmup) if settings.warmup > 0 else 1.0
    if settings.schedule == "sigmoid":
        # A logistic curve from -6 to 6, stretched so that it starts at 0 and ends at 1 exactly.
        low, high = (1 / (1 + math.exp(6.0)), 1 / (1 + math.exp(-6.0)))
        share = (1 / (1 + math.exp(-12.0 * (share - 0.5))) - low) / (high - low)
    return settings.beta * share


def learning_rate_at(step: int, steps: int, settings: TrainingSettings, halvings: int = 0) -> float:
    """Learning rate at a step (0-based): linear warm-up, then cosine or linear decay to 1% of it, constant, or halved on plateaus."""
    peak = settings.learning_rate
    if step < settings.lr_warmup:
        return peak * (step + 1) / settings.lr_warmup
    if settings.decay == "plateau":
        return peak * 0.5**halvings
    if settings.decay == "constant":
        return peak
    left = 1.0 - min(1.0, (step - settings.lr_warmup) / max(1, steps - settings.lr_warmup))
    shape = left if settings.decay == "linear" else 0.5 * (1 - math.cos(math.pi * left))
    return peak * (0.01 + 0.99 * shape)
