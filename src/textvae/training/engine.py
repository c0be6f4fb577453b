"""Devices, precision and processes: how a loss is computed, how its gradient is followed, and whom it is shared with.

One process needs torch only. Several share their gradients through Lightning Fabric, whose import takes as long as that of torch.
"""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import Any, final

import torch
from torch import Tensor, nn

from textvae.config import TrainingSettings, require
from textvae.errors import ConfigError


def chosen_device(settings: TrainingSettings) -> str:
    """`cpu` or `cuda`, as the settings or the machine say; raises `ConfigError` for a GPU that is not there."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device is 'cuda', but torch sees no GPU here: set it to cpu or auto, or install a CUDA build of torch")
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device


def chosen_precision(settings: TrainingSettings, device: str) -> str:
    """`bf16-mixed` where it was asked for, or where auto finds a processor with bf16 arithmetic; else `32-true`."""
    if settings.precision != "auto":
        return settings.precision
    if device == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


def is_main_process() -> bool:
    """Whether this process writes the run's files: the only one, or the first of those that torchrun started."""
    return _of_torchrun("RANK", 0) == 0


def _of_torchrun(name: str, otherwise: int) -> int:
    return int(os.environ[name]) if torch.distributed.is_torchelastic_launched() else otherwise


class Engine(ABC):
    """Computes a module's loss and follows its gradient with an optimizer; knows which of how many processes this is."""

    device: torch.device
    rank: int
    """This process's number; the first, 0, writes the run's files."""

    world: int
    """How many processes there are."""

    @abstractmethod
    def forward(self, *given: Any) -> Any:
        """What the module returns, at the engine's precision."""

    @abstractmethod
    def backward(self, loss: Tensor) -> None:
        """Compute the gradient of a loss, the mean over all processes."""

    @abstractmethod
    def clip(self, norm: float) -> None:
        """Shorten the gradient to a norm, without waiting for the device."""

    @abstractmethod
    def step(self) -> None:
        """Follow the gradient, and forget it."""

    @abstractmethod
    def agreed(self, said: Any) -> Any:
        """What the first process said, in all of them."""

    @abstractmethod
    def gathered(self, row: Tensor) -> Tensor:
        """A row of every process on the CPU, (processes, N) for (N,)."""

    @abstractmethod
    def wait(self) -> None:
        """Wait for all processes."""


@final
class OneProcess(Engine):
    """This process on one device, with torch alone."""

    rank, world = 0, 1

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, device: str, precision: str) -> None:
        self.device = torch.device(device)
        self._module, self._optimizer, self._mixed = module.to(self.device), optimizer, precision == "bf16-mixed"

    def forward(self, *given: Any) -> Any:
        """What the module returns, under autocast where bf16 was asked for."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16) if self._mixed else nullcontext():
            return self._module(*given)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradient."""
        loss.backward()

    def clip(self, norm: float) -> None:
        """Shorten the gradient."""
        nn.utils.clip_grad_norm_(self._module.parameters(), norm)

    def step(self) -> None:
        """Follow the gradient, and forget it."""
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def agreed(self, said: Any) -> Any:
        """What was said: there is nobody else."""
        return said

    def gathered(self, row: Tensor) -> Tensor:
        """The row, (1, N)."""
        return row.cpu().view(1, -1)

    def wait(self) -> None:
        """Wait for nobody."""


@final
class SeveralProcesses(Engine):
    """One of the processes that torchrun started, each with its part of every batch."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, device: str, precision: str, idle_parameters: bool) -> None:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy

        started, here = _of_torchrun("WORLD_SIZE", 1), _of_torchrun("LOCAL_WORLD_SIZE", 1)
        strategy = DDPStrategy(find_unused_parameters=idle_parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._fabric = Fabric(
                accelerator=device,
                strategy=strategy,
                devices=here,
                num_nodes=started // here,
                precision=precision,  # type: ignore[arg-type]
            )
            self._fabric.launch()
        self._module, self._optimizer = self._fabric.setup(module, optimizer)
        self.device, self.rank, self.world = self._fabric.device, self._fabric.global_rank, self._fabric.world_size

    def forward(self, *given: Any) -> Any:
        """What the module returns; Fabric sees to the precision."""
        return self._module(*given)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradient."""
        self._fabric.backward(loss)

    def clip(self, norm: float) -> None:
        """Shorten the gradient."""
        self._fabric.clip_gradients(self._module, self._optimizer, max_norm=norm, error_if_nonfinite=False)

    def step(self) -> None:
        """Follow the gradient, and forget it."""
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def agreed(self, said: Any) -> Any:
        """What the first process said."""
        return self._fabric.broadcast(said)

    def gathered(self, row: Tensor) -> Tensor:
        """A row of every process."""
        rows = self._fabric.all_gather(row)
        assert isinstance(rows, Tensor)
        return rows.cpu().view(self.world, -1)

    def wait(self) -> None:
        """Wait for all processes."""
        self._fabric.barrier()


def launch(settings: TrainingSettings, module: nn.Module, optimizer: torch.optim.Optimizer, idle_parameters: bool = False) -> Engine:
    """The engine that the settings ask for; several processes must be told of parameters that the loss gives no gradient.

    Raises:
        ConfigError: a GPU that is not there, or several devices without the processes of torchrun.
    """
    device = chosen_device(settings)
    started = _of_torchrun("WORLD_SIZE", 1)
    require(
        settings.devices == started,
        f"training.devices is {settings.devices}, but {started} process{'es' if started > 1 else ''} started: "
        f"run it as torchrun --nproc-per-node {settings.devices} --no-python textvae train ..., or set it to {started}",
    )
    precision = chosen_precision(settings, device)
    if started > 1:
        return SeveralProcesses(module, optimizer, device, precision, idle_parameters)
    return OneProcess(module, optimizer, device, precision)
