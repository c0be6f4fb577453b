"""How many steps a run has: as given, by epochs, or measured from the minutes there are."""

from __future__ import annotations

import copy
import time
from itertools import chain, count

import torch

from textvae.config import ObjectiveSettings, TrainingSettings
from textvae.data.batches import BucketedBatches
from textvae.data.corpora import Prepared
from textvae.model.text_model import LatentTextModel
from textvae.training.checkpoint import random_state, set_random_state
from textvae.training.engine import launch
from textvae.training.monitor import glance
from textvae.training.objective import leaves_idle
from textvae.training.trainer import EVALUATIONS, LossOfBatch, optimizer_for

DEFAULT_STEPS = 3_000
MEASURED_SHARE = 0.04
"""Share of the minutes spent on measuring throughput, at most `MEASURED_SECONDS`."""

MEASURED_SECONDS = 10.0
WARM_UP_STEPS = 3


def steps_of(model: LatentTextModel, data: Prepared, objective: ObjectiveSettings, settings: TrainingSettings) -> int:
    """Steps of the whole run; minutes are turned into steps by a few seconds of trial on a copy of the model."""
    if settings.steps is not None:
        return settings.steps
    if settings.epochs is not None:
        batches = BucketedBatches(data.training_table, settings.batch, settings.seed, model.max_tokens)
        return max(1, round(settings.epochs * batches.batches_per_epoch(0)))
    if settings.minutes is not None:
        return _steps_in(settings.minutes * 60, model, data, objective, settings)
    return DEFAULT_STEPS


def _steps_in(seconds: float, model: LatentTextModel, data: Prepared, objective: ObjectiveSettings, settings: TrainingSettings) -> int:
    """Steps that fit in `seconds`, evaluations included; leaves the model and the random state as they were."""
    started = time.perf_counter()
    before = random_state()
    fabric = launch(settings, leaves_idle(objective, model))
    trial = copy.deepcopy(model)
    optimizer = optimizer_for(trial, settings)
    module, engine = fabric.setup(LossOfBatch(trial, objective), optimizer)
    batches = BucketedBatches(
        data.training_table, settings.batch, settings.seed, model.max_tokens, rank=fabric.global_rank, world=fabric.world_size
    )
    window = min(MEASURED_SECONDS, MEASURED_SHARE * seconds)
    taken, began = 0, started
    for batch in chain.from_iterable(batches.iterate(0) for _ in count()):  # a small corpus is read again and again
        loss, _ = module(torch.from_numpy(batch).to(fabric.device), objective.beta)
        fabric.backward(loss)
        engine.step()
        optimizer.zero_grad(set_to_none=True)
        taken += 1
        if taken == WARM_UP_STEPS:
            loss.item()  # waits for the device
            began = time.perf_counter()
        if fabric.broadcast(taken > WARM_UP_STEPS and time.perf_counter() - began > window):
            break
    loss.item()
    step_seconds = (time.perf_counter() - began) / (taken - WARM_UP_STEPS)
    began = time.perf_counter()
    glance(trial, data.tables["valid"], objective)
    look_seconds = time.perf_counter() - began
    set_random_state(before)
    left = seconds - (time.perf_counter() - started)
    if settings.evaluate_every is None:
        steps = (left - EVALUATIONS * look_seconds) / step_seconds
    else:
        steps = left / (step_seconds + look_seconds / settings.evaluate_every)
    return int(fabric.broadcast(max(1, int(steps))))
