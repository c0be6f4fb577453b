"""A training step, from a batch to moved weights: launched kernel by kernel, or on a GPU recorded once a shape and replayed.

A small model's step is hundreds of short kernels. Batches have few widths, so few recordings (CUDA graphs) serve nearly all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from textvae.config import TrainingSettings, require
from textvae.errors import TrainingError
from textvae.nn.recording import CudaRecorder, Recorder, RecordingError, Recordings
from textvae.training.adam import Adam
from textvae.training.engine import Engine

EAGER_FIRST = 3
"""Steps of a shape before it is recorded: the optimizer makes its slots outside of a recording."""

MOST = 40
"""Shapes whose recordings are kept: more than a corpus has widths, each full and cut short by an epoch's end."""


class Step(ABC):
    """Follows the gradient of a batch's loss."""

    @abstractmethod
    def take(self, tokens: Tensor, beta: float, learning_rate: float) -> Tensor:
        """Move the weights once for tokens (B, T); returns the means of the loss's terms, (1 + L,), still on the device.

        They hold until the next step.
        """


@final
class EagerStep(Step):
    """Every operation launched as it comes."""

    def __init__(self, engine: Engine, optimizer: Adam, clip: float) -> None:
        self._engine, self._optimizer, self._clip = engine, optimizer, clip

    def take(self, tokens: Tensor, beta: float | Tensor, learning_rate: float | Tensor) -> Tensor:
        """Loss, gradient, clipping, optimizer; beta and the learning rate may lie on the device."""
        self._optimizer.learning_rate = learning_rate
        loss, means = self._engine.forward(tokens, beta)
        self._engine.backward(loss)
        if self._clip:
            self._engine.clip(self._clip)
        self._engine.step()
        kept: Tensor = means
        return kept


@final
class RecordedStep(Step):
    """A step that is recorded once a batch's shape, after a few that are not. What changes from step to step is read from the device."""

    def __init__(self, eager: EagerStep, recorder: Recorder, device: torch.device) -> None:
        self._eager = eager
        self._beta, self._learning_rate = torch.zeros((), device=device), torch.zeros((), device=device)
        self._recordings = Recordings(recorder, EAGER_FIRST, MOST)

    def take(self, tokens: Tensor, beta: float, learning_rate: float) -> Tensor:
        """Replay the shape's recording; eager while there is none."""
        self._beta.fill_(beta)
        self._learning_rate.fill_(learning_rate)
        try:
            return self._recordings.run(tokens.shape, self._taken, tokens)
        except RecordingError as error:
            raise TrainingError(
                f"this model's step cannot be recorded ({error}): train a new run with --training.graphs=false, or let no part of it "
                "wait for the GPU"
            ) from error

    def _taken(self, tokens: Tensor) -> Tensor:
        return self._eager.take(tokens, self._beta, self._learning_rate)


def check_recording(settings: TrainingSettings, device: str) -> None:
    """Raise `ConfigError` where steps are to be recorded and the device, `cpu` or `cuda`, cannot."""
    require(
        not settings.graphs or device == "cuda",
        "training.graphs records steps of a GPU, and this run is on the CPU: resume it where there is one, or train a new run without it",
    )


def step_for(settings: TrainingSettings, engine: Engine, optimizer: Adam) -> Step:
    """The step that the settings ask for; raises `ConfigError` for recordings without a GPU or of several processes."""
    eager = EagerStep(engine, optimizer, settings.clip)
    if settings.graphs is None:
        recorded = engine.device.type == "cuda" and engine.world == 1
    else:
        recorded = settings.graphs
        check_recording(settings, engine.device.type)
        require(
            not recorded or engine.world == 1,
            f"training.graphs records the steps of one process, and there are {engine.world}: leave it out",
        )
    return RecordedStep(eager, CudaRecorder(engine.device), engine.device) if recorded else eager
