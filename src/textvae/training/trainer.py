"""The training loop: one readable path from batches to weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from textvae.config import ObjectiveSettings, TrainingSettings
from textvae.data.batches import BucketedBatches
from textvae.data.corpora import Prepared
from textvae.errors import RunError, TrainingError
from textvae.heap import keep_freed_memory
from textvae.model.text_model import LatentTextModel
from textvae.nn.kernel.compiling import kernel
from textvae.settings import RunSettings
from textvae.training.adam import optimizer_for
from textvae.training.averages import WeightAverage
from textvae.training.background import Background
from textvae.training.checkpoint import Checkpoint, Position, State, copied, has_training, load_training, random_state, write_tensors
from textvae.training.collapse_watch import CollapseWatch
from textvae.training.engine import launch
from textvae.training.feed import Feed
from textvae.training.hooks import Hook, Hooks, RunEnd, StepRecord
from textvae.training.interrupt import StopRequest
from textvae.training.memory import memory_told
from textvae.training.metrics import METRICS, MetricsLog
from textvae.training.model_card import CARD
from textvae.training.monitor import Glance, glance, guessing
from textvae.training.objective import batch_means, leaves_idle, loss_of
from textvae.training.schedules import beta_at, learning_rate_at
from textvae.training.step import step_for
from textvae.training.window import REMEMBERED, Window

CHECK_EVERY = REMEMBERED
"""Steps between looks at whether all terms are still numbers (each look waits for the device)."""

AGREE_EVERY = 10
"""Steps between the questions of several processes whether the first one was asked to stop (each question waits for all of them)."""

EVALUATIONS = 20
"""Looks at valid during a run, unless `training.evaluate_every` says otherwise."""


DIVERGED = 2.0
"""Times what guessing costs, beyond which a line's cost is no sign of too few steps: untrained weights cost about once that."""


def looks_every(settings: TrainingSettings, steps: int) -> int:
    """Steps between looks at valid, in a run of so many."""
    return settings.evaluate_every or -(-steps // EVALUATIONS)


PLATEAU = 2
"""Evaluations without a better valid loss before `decay = "plateau"` halves the learning rate."""


@final
class LossOfBatch(nn.Module):
    """Model and objective as one module, so that every wrapper (precision, data parallel) sees one forward pass."""

    def __init__(self, model: LatentTextModel, objective: ObjectiveSettings) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, tokens: Tensor, beta: float | Tensor) -> tuple[Tensor, Tensor]:
        """The loss (scalar) and the batch means of its terms (1 + L,) for tokens (B, T)."""
        terms = self.model(tokens)
        return loss_of(terms, beta, self.objective), batch_means(terms)


@final
class Trainer:
    """Trains a model on a prepared corpus in a run's folder, and can go on where it was stopped.

    With several processes each takes its rows of every batch; the first one writes files and calls hooks.
    """

    def __init__(
        self,
        model: LatentTextModel,
        data: Prepared,
        settings: RunSettings,
        steps: int,
        folder: Path,
        hooks: Sequence[Hook] = (),
    ) -> None:
        keep_freed_memory()
        objective, training = settings.objective, settings.training
        self.model, self.data, self.objective, self.settings = model, data, objective, training
        self.steps, self.folder = steps, folder
        self.every = looks_every(training, steps)
        self.optimizer = optimizer_for(model, training)
        self.engine = launch(training, LossOfBatch(model, objective), self.optimizer, leaves_idle(objective, model))
        self.learning_rate = training.learning_rate  # of the last step
        self.step = step_for(training, self.engine, self.optimizer)
        self.hooks = Hooks(() if self.engine.rank else hooks)
        self.average = WeightAverage(model, training.average) if training.average else None
        batches = BucketedBatches(
            data.training_table,
            training.batch,
            training.seed,
            model.max_tokens,
            rank=self.engine.rank,
            world=self.engine.world,
        )
        self.feed = Feed(batches, self.engine.device)
        self.position = Position()
        self.began = 0.0  # when training would have begun, had it been one sitting
        self.metrics = MetricsLog(folder / METRICS)
        self.window = Window(1 + len(model.latents.shapes), model.device)
        self.collapse = CollapseWatch(settings, self.hooks)
        self.state = State(model, self.optimizer, self.average, self.window)
        self.disk = Background()
        self.unwritten: list[Callable[[], None]] = []  # what the next checkpoint brings with it
        if self.engine.rank:
            # Every process has built the same model; from here on each has noise of its own.
            torch.manual_seed(training.seed + self.engine.rank)

    def resume(self) -> None:
        """Take up the state of the run's last checkpoint; a run that was stopped before its first one starts anew.

        Raises `RunError` where the state is damaged, or missing beside weights or a card that came after it.
        """
        if has_training(self.folder):
            self.position = load_training(self.folder, self.state, self.engine.rank, self.engine.world)
            self._compare_kernels()
        else:
            self._require_no_work()
            self.hooks.on_warning("the run was stopped before its first checkpoint: it begins anew")
        if self.engine.rank == 0:
            best = self.position.best_step
            if best and all(line["step"] != best for line in self.metrics.read()):
                raise RunError(
                    f"{self.metrics.path} has no line of step {best}, whose weights are kept: put the file back, or train a new run"
                )
            self.metrics.cut_after(self.position.step)  # last: until here nothing of the run was changed

    def _require_no_work(self) -> None:
        """Raise `RunError` where a run without a state of training has taken steps: to start anew would write over what it learned."""
        done = [name for name in ("training.json", "environment.json", CARD) if (self.folder / name).exists()]
        history = self.metrics.read()
        if done or len(history) > 1:
            raise RunError(
                f"{self.folder} has no training.safetensors to go on from, and what it learned is not written over: put the file back, "
                f"or train on in another folder with --start-from {self.folder}"
            )

    def fit(self) -> Position:
        """Train to the last step, to early stopping or to the user's Ctrl-C; the run's folder then holds a whole checkpoint.

        Raises:
            TrainingError: a term of the loss was not a number, or memory ran out. The last good checkpoint stays.
            RunError: a checkpoint could not be written; the one before it stays.
        """
        remedy = (
            f"with batches of {self.settings.batch} lines: train a new run with a lower training.batch or corpus.max_length, "
            "or go on with this one by --resume where there is more memory"
        )
        try:
            self.hooks.on_start(self.steps, self.position.step)
            with memory_told(remedy), StopRequest() as stop:
                self._train(stop)
        finally:
            try:
                self._settle()
            finally:
                self.hooks.on_stop()
        return self.position

    def batches(self) -> Iterator[Tensor]:
        """Batches (B, T) from the position on, epoch after epoch; the position counts what was taken."""
        position = self.position
        while True:
            for batch in self.feed.iterate(position.epoch, position.batch):
                position.batch += 1
                yield batch
            position.epoch, position.batch = position.epoch + 1, 0

    def take(self, tokens: Tensor) -> None:
        """One step on a batch of tokens (B, T): the schedules' beta and learning rate, the weights' average, the running means, the hooks.

        Raises:
            TrainingError: a term of the last steps' losses was not a number (looked at every now and then).
        """
        position = self.position
        beta = beta_at(position.step, self.steps, self.objective)
        rate = learning_rate_at(position.step, self.steps, self.settings, position.halvings)
        self.learning_rate = rate
        means = self.step.take(tokens, beta, rate)
        if self.average is not None:
            self.average.update(position.step)
        self.window.add(means)
        position.step += 1
        if position.step % CHECK_EVERY == 0:
            self._check_numbers()
        self.hooks.on_step(StepRecord(position.step, self.steps, position.epoch, beta, rate, self.window))

    def save(self) -> None:
        """Take a checkpoint, every process its part, and begin to write it; `written` waits for it.

        Raises:
            TrainingError: a term of the loss or a weight is not a number; the last checkpoint stays.
            RunError: the checkpoint before it could not be written.
        """
        self._check_numbers()
        largest = torch._foreach_norm([parameter.detach() for parameter in self.model.parameters() if parameter.numel()], math.inf)
        if not torch.stack(largest).isfinite().all():
            raise self._no_number("model's weights")
        self.written()
        self._count_time()
        self.position.kernel = self._kernel()
        random = {name: self.engine.gathered(state) for name, state in random_state().items()}
        if self.engine.rank == 0:
            checkpoint = Checkpoint.of(self.state, self.position, random)
            self.disk.start([*self.unwritten, partial(checkpoint.write, self.folder)])
        self.unwritten = []
        self.engine.wait()

    def written(self) -> None:
        """Wait until the last checkpoint is written whole. Raises `RunError` where it cannot be."""
        if self.disk.wait():
            self.hooks.on_checkpoint(self.folder)

    def _settle(self) -> None:
        """Leave no writing behind: the last checkpoint, and what was measured since, where an error ended the training before the next."""
        try:
            self.disk.settle()
            for write in self.unwritten:
                write()
        except RunError as error:  # beside a greater one
            self.hooks.on_warning(f"what was learned last was not written: {error}")

    def _compare_kernels(self) -> None:
        """Tell when the steps to come are computed otherwise than those that are done."""
        was, now = self.position.kernel, self._kernel()
        if self.position.finished or was is None or now is None or was == now:
            return
        ways = "by the compiled kernel", "by torch alone"
        before, after = ways if was else reversed(ways)
        self.hooks.on_warning(
            f"the steps so far were computed {before}, the next ones are {after} ({kernel().reason}): dropout draws otherwise, "
            "so the weights will not be those of a run without the stop"
        )

    def _kernel(self) -> bool | None:
        return kernel().library is not None if self.engine.device.type == "cpu" else None

    def _train(self, stop: StopRequest) -> None:
        """Step, look and save until training is over or the user asks to stop."""
        position = self.position
        self.began = time.perf_counter() - position.seconds
        self.model.train()
        batches = self.batches()
        if self.settings.start_from is not None and not math.isfinite(position.best_loss):
            self._evaluate()  # the weights it starts with are the ones to beat, and from here on the run stands by itself
            self.save()
        while position.step < self.steps and not position.finished:
            self.take(next(batches))
            if self.disk.is_over:
                self.written()
            if position.step % self.every == 0 or position.step == self.steps:
                self._evaluate()
                self.save()
            if self._stops(stop):
                self.save()
                self.written()
                self.hooks.on_interrupt(position.step)
                return
        self._finish()

    def _check_numbers(self) -> None:
        """Stop where a term is not a number, before anything of it reaches a checkpoint."""
        bad = self.window.first_bad()
        if bad:
            names = ", ".join("distortion" if i == 0 else f"rate of rung {i}" for i in bad)
            raise self._no_number(names)

    def _no_number(self, name: str) -> TrainingError:
        clip = "lower training.clip" if self.settings.clip else "set training.clip, which is off (to 5, say)"
        return TrainingError(
            f"the {name} is no longer a number near step {self.position.step}; the last good checkpoint is kept: "
            f"lower training.learning_rate, or {clip}, and train a new run"
        )

    def _evaluate(self) -> None:
        position = self.position
        self._check_numbers()
        with self._kept_weights():
            seen = self.engine.agreed(glance(self.model, self.data.tables["valid"], self.objective))
            if not math.isfinite(seen.loss):
                raise self._no_number("loss on valid")
            better = seen.loss < position.best_loss
            if better or self.settings.keep == "last":
                position.best_loss, position.best_step = min(seen.loss, position.best_loss), position.step
                if self.engine.rank == 0:
                    weights = copied(self.model.state_dict())
                    self.unwritten.append(partial(write_tensors, self.folder / "weights.safetensors", weights))
        position.stale = 0 if better else position.stale + 1
        if self.settings.decay == "plateau" and position.stale and position.stale % PLATEAU == 0:
            position.halvings += 1
        if self.settings.patience is not None and position.stale >= self.settings.patience:
            position.finished = True
        self._report(seen)

    def _report(self, seen: Glance) -> None:
        """Tell of what was measured, and keep its line for the checkpoint."""
        position = self.position
        self._count_time()
        trained = None if self.window.empty else self.window.read()
        self.window.reset()
        metrics: dict[str, Any] = {
            "step": position.step,
            "epoch": position.epoch,
            "seconds": round(position.seconds, 3),
            "beta": beta_at(position.step, self.steps, self.objective),
            "learning_rate": self.learning_rate,
            "train": trained and {"distortion": trained[0], "rate": sum(trained[1:]), "rate_per_rung": trained[1:]},
            "valid": seen.as_metrics(),
        }
        if self.engine.rank == 0:
            self.unwritten.append(partial(self.metrics.append, metrics))  # after the weights that it measures
        self.hooks.on_evaluation(metrics)
        self.collapse.look(metrics)

    def _count_time(self) -> None:
        """Bring the position's seconds up to now, so that what is written holds all that led to it."""
        self.position.seconds = time.perf_counter() - self.began

    def _kept_weights(self) -> Any:
        """The block in which the model holds the weights that are kept: the averages, where there are any."""
        return self.average.applied() if self.average is not None else nullcontext()

    def _stops(self, stop: StopRequest) -> bool:
        """Whether to stop now; several processes ask each other seldom, for a question makes all of them wait."""
        asking = self.engine.world == 1 or self.position.step % AGREE_EVERY == 0
        return asking and self.engine.agreed(stop.asked)

    def _finish(self) -> None:
        self.position.finished = True
        self.save()
        self.written()
        if self.engine.rank:
            return  # metrics and hooks are the first process's
        position = self.position
        valid = self.metrics.of(position.best_step)["valid"]
        self.hooks.on_end(RunEnd(steps=position.step, seconds=position.seconds, kept_step=position.best_step, valid=valid))
        self._tell_divergence(valid)
        self.collapse.end(valid)

    def _tell_divergence(self, valid: dict[str, Any]) -> None:
        """Of weights that are kept and worse than none: every term was a number, but nothing was learned."""
        blind = guessing(self.data.tables["valid"], self.model.decoder.emitter.vocabulary)
        if valid["elbo"] < -DIVERGED * blind:
            self.hooks.on_warning(
                f"the training has diverged: guessing every symbol has an ELBO of {-blind:.1f} nats on valid, the kept weights "
                f"have {valid['elbo']:.1f}; lower training.learning_rate (it is {self.settings.learning_rate:g}) and train a new run"
            )
