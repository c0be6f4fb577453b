"""How many steps a run has: as given, by epochs, or measured from the minutes there are; and whether it kept to them."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import final

from textvae.config import ObjectiveSettings, TrainingSettings
from textvae.data.batches import BucketedBatches
from textvae.data.corpora import Prepared
from textvae.model.text_model import LatentTextModel
from textvae.training.adam import optimizer_for
from textvae.training.checkpoint import random_state, set_random_state
from textvae.training.engine import launch
from textvae.training.feed import Feed
from textvae.training.hooks import Hook, RunEnd
from textvae.training.monitor import glance
from textvae.training.objective import leaves_idle
from textvae.training.step import step_for
from textvae.training.trainer import EVALUATIONS, LossOfBatch

DEFAULT_STEPS = 3_000
MEASURED_SHARE = 0.04
"""Share of the minutes spent on measuring throughput, at most `MEASURED_SECONDS`."""

MEASURED_SECONDS = 10.0
WARM_UP_STEPS = 3
WARM_UP_SHARE = {"cpu": 0.0, "cuda": 0.5}
"""Share of that time, by device, whose steps do not count: on a GPU the first ones of each width are launched kernel by kernel."""


LOOKING_SHARE = 0.15
"""Largest share of the minutes spent on looking at valid; a short run on long lines looks less often."""


OFF = 0.25
"""Share of the minutes asked for by which a run may be shorter or longer without a word."""


@final
class MinutesWatch(Hook):
    """Tells other hooks of a run whose minutes were planned by a pace that it did not keep."""

    def __init__(self, minutes: float, out: Path, hooks: Hook) -> None:
        self._minutes, self._out, self._hooks = minutes, out, hooks
        self._steps = 0

    def on_start(self, steps: int, done: int) -> None:
        """Remember the plan."""
        self._steps = steps

    def on_end(self, end: RunEnd) -> None:
        """Compare, where it was not stopped early."""
        took = end.seconds / 60
        if end.steps < self._steps or self._minutes < 1 or abs(took / self._minutes - 1) <= OFF:
            return
        then, remedy = ("slower", f"; --start-from {self._out} trains on") if took < self._minutes else ("faster", "")
        told = f"it trained for {took:.1f} minutes, not {self._minutes:g}: its steps were planned by its first seconds"
        self._hooks.on_warning(f"{told}, when it was {then}{remedy}")


def planned(model: LatentTextModel, data: Prepared, objective: ObjectiveSettings, settings: TrainingSettings) -> TrainingSettings:
    """The settings with the steps of the whole run fixed, so that schedules and resume are functions of steps only.

    Minutes are turned into steps by a few seconds of trial on a copy of the model; how often valid is looked at
    is then fixed as well, where it was not given.
    """
    if settings.epochs is not None:
        batches = BucketedBatches(data.training_table, settings.batch, settings.seed, model.max_tokens)
        return replace(settings, epochs=None, steps=max(1, round(settings.epochs * batches.batches_per_epoch(0))))
    if settings.minutes is None:
        return replace(settings, steps=settings.steps or DEFAULT_STEPS)
    steps, every = _steps_in(settings.minutes * 60, model, data, objective, settings)
    return replace(settings, minutes=None, steps=steps, evaluate_every=every)


def _steps_in(
    seconds: float, model: LatentTextModel, data: Prepared, objective: ObjectiveSettings, settings: TrainingSettings
) -> tuple[int, int]:
    """Steps that fit in `seconds` and the steps between looks at valid; leaves the model and the random state as they were."""
    before = random_state()
    trial = copy.deepcopy(model)
    optimizer = optimizer_for(trial, settings)
    engine = launch(settings, LossOfBatch(trial, objective), optimizer, leaves_idle(objective, model))
    started = time.perf_counter()  # not counted: a kernel that is compiled at its first use
    step = step_for(settings, engine, optimizer)
    batches = BucketedBatches(data.training_table, settings.batch, settings.seed, model.max_tokens, rank=engine.rank, world=engine.world)
    window = min(MEASURED_SECONDS, MEASURED_SHARE * seconds)
    warm_up = WARM_UP_SHARE[engine.device.type] * window
    taken, warm, began = 0, 0, time.perf_counter()
    feed = Feed(batches, engine.device)
    for batch in chain.from_iterable(feed.iterate(0) for _ in count()):  # a small corpus is read again and again
        means = step.take(batch, objective.beta, settings.learning_rate)
        taken += 1
        if not warm and taken >= WARM_UP_STEPS and time.perf_counter() - began >= warm_up:
            means.tolist()  # waits for the device
            warm, began = taken, time.perf_counter()
        if engine.agreed(0 < warm < taken and time.perf_counter() - began > window - warm_up):
            break
    means.tolist()
    step_seconds = (time.perf_counter() - began) / (taken - warm)
    began = time.perf_counter()
    glance(trial, data.tables["valid"], objective)
    look_seconds = time.perf_counter() - began
    set_random_state(before)
    left = seconds - (time.perf_counter() - started)
    if settings.evaluate_every is not None:
        every = settings.evaluate_every
        steps = left / (step_seconds + look_seconds / every)
    else:
        looks = max(1, min(EVALUATIONS, int(LOOKING_SHARE * left / look_seconds)))
        steps = (left - looks * look_seconds) / step_seconds
        every = max(1, int(steps) // looks)
    fixed: tuple[int, int] = engine.agreed((max(1, int(steps)), every))
    return fixed
