"""Where a training step's time goes: some dozen steps of a run's settings, timed part by part, and nothing kept of them."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from textvae.data.tokens import EOS
from textvae.model.tokens import lengths_of
from textvae.nn.kernel.compiling import SIGNATURES, kernel
from textvae.settings import RunSettings
from textvae.training.engine import chosen_precision
from textvae.training.progress import ProgressLine
from textvae.training.session import prepared_model
from textvae.training.trainer import Trainer

WARM_UP, ROUNDS, TIMED, TRACED = 5, 5, 8, 2
"""Steps before any is timed; then rounds of some that are timed and some that torch's profiler watches, so that a machine that is
slow for a while is slow for both."""

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "mkldnn_linear", "mkldnn_convolution", "thnn_conv2d", "_slow_conv2d_forward",
            "_slow_conv2d_backward", "convolution_backward", "cudnn_convolution", "lstm", "gru", "mkldnn_rnn_layer", "_cudnn_rnn",
            "mkldnn_rnn_layer_backward", "_cudnn_rnn_backward")  # fmt: skip
"""ATen's operations that are matrix products, convolutions and recurrent layers."""


@final
@dataclass(frozen=True)
class StepProfile:
    """A step's time, in milliseconds."""

    parts: dict[str, float]
    """Each part's own time, without that of the parts inside it."""

    kernel: float
    """In the compiled kernel's layers, which multiply: recurrences, convolutions, linear layers, with what stands after them."""

    passes: float
    """In the kernel's passes over numbers that multiply none of them: embedded text, dropout, distortion, clipping, Adam, averages."""

    products: float
    """In matrix products, convolutions and recurrent layers of torch, as its profiler has it."""

    sequences: float
    """To a step."""

    characters: float
    """To a step, padding and end symbols not counted."""

    conditions: str = ""
    """Of what steps, and on what."""

    @property
    def rest(self) -> float:
        """What is neither the kernel's nor torch's products."""
        return max(0.0, self.step - self.kernel - self.passes - self.products)

    @property
    def step(self) -> float:
        """The whole step."""
        return sum(self.parts.values())


@final
class Stopwatch:
    """Own time of named parts that may stand inside each other; on a GPU it waits for the device at every border."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._device = device
        self._inside: list[str] = []
        self._since = 0.0
        self._stopped = False

    def _border(self) -> None:
        """Book the time since the last border on the innermost part."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        if self._inside and not self._stopped:
            self.seconds[self._inside[-1]] += now - self._since
        self._since = now

    @contextmanager
    def within(self, part: str) -> Iterator[None]:
        """The time inside the block is the part's, but for that of parts inside it."""
        self._border()
        self._inside.append(part)
        try:
            yield
        finally:
            self._border()
            self._inside.pop()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Time inside the block is no part's."""
        self._stopped = True
        try:
            yield
        finally:
            self._stopped = False

    def timed(self, owner: Any, name: str, part: str) -> None:
        """From now on each call of the owner's method is the part's time."""
        method: Callable[..., Any] = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            with self.within(part):
                return method(*arguments, **named)

        object.__setattr__(owner, name, call)


def profile_training(settings: RunSettings) -> StepProfile:
    """Train some dozen steps as `settings` say, in a folder that is thrown away, and say where a step's time goes.

    Raises:
        UserError: anything the user can mend about the corpus or the settings.
    """
    steps = WARM_UP + ROUNDS * (TIMED + TRACED)
    training = replace(settings.training, steps=steps, epochs=None, minutes=None, evaluate_every=steps)
    settings = replace(settings, training=replace(training, graphs=False))  # a recorded step has no parts
    with tempfile.TemporaryDirectory() as folder:
        data, model, _ = prepared_model(settings)
        trainer = Trainer(model, data, settings, steps, Path(folder), (ProgressLine(),))
        model.train()
        batches = trainer.batches()
        for batch in islice(batches, WARM_UP):
            trainer.take(batch)
        watch, in_kernel, products = Stopwatch(model.device), _KernelTime(), 0.0
        _attach(watch, trainer)
        sequences = characters = 0
        for _ in range(ROUNDS):
            with watch.stopped():
                products += _products(trainer, list(islice(batches, TRACED)))
            with in_kernel.counted():
                for _ in range(TIMED):
                    with watch.within("batch"):
                        batch = next(batches)
                    with watch.within("rest (schedules, means, progress)"):
                        trainer.take(batch)
                    sequences, characters = sequences + len(batch), characters + _characters(batch)
    timed = ROUNDS * TIMED
    parts = {part: 1e3 * watch.seconds[part] / timed for part in PARTS if watch.seconds[part]}
    layers, passes = (1e3 * seconds / timed for seconds in (in_kernel.layers, in_kernel.passes))
    return StepProfile(parts, layers, passes, products / ROUNDS, sequences / timed, characters / timed, _conditions(settings, model.device))


def _conditions(settings: RunSettings, device: torch.device) -> str:
    """What was timed, in words."""
    precision = chosen_precision(settings.training, device.type)
    told = f"{ROUNDS * TIMED} steps of {settings.architecture}, {settings.training.batch} lines each, {precision} on {device.type}"
    if device.type != "cpu":
        return told
    count = torch.get_num_threads()
    return f"{told}, {count} thread{'s' if count > 1 else ''}; kernel {kernel().reason}"


PASSES = {f"textvae_{name}" for name in ("drop", "drop_backward", "embed", "sum_by_symbol", "distortion", "distortion_backward", "shorten",
                                         "adam", "approach")}  # fmt: skip
"""The kernel's functions that multiply no numbers with weights."""


PARTS = ("batch", "encoder", "latent", "expander", "emitter (recurrence, output)", "loss", "backward", "clipping", "optimizer",
         "weight average", "rest (schedules, means, progress)")  # fmt: skip
"""In the order of a step."""


def _attach(watch: Stopwatch, trainer: Trainer) -> None:
    """Time the parts of every step from now on."""
    model, decoder = trainer.model, trainer.model.decoder
    watch.timed(trainer.engine, "forward", "loss")  # its own time: what is no other part's
    watch.timed(model.encoder, "forward", "encoder")
    watch.timed(model.latents, "climb", "latent")
    watch.timed(model.latents, "descend", "latent")
    watch.timed(decoder.expander, "forward", "expander")
    watch.timed(decoder.emitter, "forward", "emitter (recurrence, output)")
    watch.timed(trainer.engine, "backward", "backward")
    watch.timed(trainer.engine, "clip", "clipping")
    watch.timed(trainer.engine, "step", "optimizer")
    if trainer.average is not None:
        watch.timed(trainer.average, "update", "weight average")


@final
class _KernelTime:
    """Seconds inside the compiled kernel."""

    def __init__(self) -> None:
        self.layers = self.passes = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Inside the block every call of the kernel is counted."""
        library = kernel().library
        functions = {} if library is None else {name: getattr(library, name) for name in SIGNATURES}
        for name, function in functions.items():
            setattr(library, name, self._counting(function, name in PASSES))
        try:
            yield
        finally:
            for name, function in functions.items():
                setattr(library, name, function)

    def _counting(self, function: Callable[..., None], is_pass: bool) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            began = time.perf_counter()
            function(*arguments)
            took = time.perf_counter() - began
            if is_pass:
                self.passes += took
            else:
                self.layers += took

        return call


def _products(trainer: Trainer, batches: list[Tensor]) -> float:
    """Milliseconds a step in torch's matrix products, by torch's own profiler."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it tells on stderr that it starts and stops
    from torch.profiler import ProfilerActivity, profile

    on_gpu = trainer.model.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of devices that are not there
        with profile(activities=activities) as traced:
            for batch in batches:
                trainer.take(batch)
        averages = traced.key_averages()
    names = {f"aten::{name}" for name in PRODUCTS}
    found = [event for event in averages if event.key in names]
    microseconds = sum(event.self_device_time_total if on_gpu else event.self_cpu_time_total for event in found)
    return 1e-3 * microseconds / len(batches)


def _characters(tokens: Tensor) -> int:
    """Symbols of a batch (B, T), ends not counted."""
    return int((lengths_of(tokens) - (tokens == EOS).any(1).long()).sum())


def profile_rows(found: StepProfile) -> list[tuple[str, str]]:
    """The table as people read it: part, then milliseconds and per cent of the step; then what else there is to say."""

    def told(milliseconds: float) -> str:
        return f"{milliseconds:9.3f} ms {100 * milliseconds / found.step:5.1f}%"

    rows = [("timed", found.conditions), ("", "")]
    rows += [(part, told(milliseconds)) for part, milliseconds in found.parts.items()]
    rows += [("a step", told(found.step)), ("", "")]
    if found.kernel:
        rows += [("of it: the compiled kernel's layers (recurrent, convolutions, linear)", told(found.kernel))]
        rows += [("of it: the kernel's passes (embedding, dropout, loss, optimizer)", told(found.passes))]
    rows += [("of it: torch's products and layers", told(found.products))]
    rows += [("of it: all else (Python, dispatch, small operations)", told(found.rest)), ("", "")]
    rate = 1e3 / found.step
    rows += [("sequences a second", f"{found.sequences * rate:9,.0f}"), ("characters a second", f"{found.characters * rate:9,.0f}")]
    return rows
