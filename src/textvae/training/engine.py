"""Devices, precision and processes: how a loss is computed, how its gradient is followed, and whom it is shared with.

Several processes are those that torchrun started; each computes on its part of every batch, and they share their gradients.
"""

from __future__ import annotations

import atexit
import os
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, final

import torch
from torch import Tensor, distributed, nn

from textvae.config import TrainingSettings, require
from textvae.errors import ConfigError
from textvae.nn.arithmetic import all_bits
from textvae.nn.kernel.compiling import kernel
from textvae.nn.kernel.processor import multiplies_bf16_faster
from textvae.training.adam import Adam


def chosen_device(settings: TrainingSettings) -> str:
    """`cpu` or `cuda`, as the settings or the machine say; raises `ConfigError` for a GPU that is not there."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device is 'cuda', but torch sees no GPU here: set it to cpu or auto, or install a CUDA build of torch")
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device


def chosen_precision(settings: TrainingSettings, device: str) -> str:
    """`bf16-mixed` where it was asked for, or where auto finds a processor that gains by it; else `32-true`.

    Raises:
        ConfigError: bf16 was asked for on a processor on which torch has no recurrent layers in bf16.
    """
    if settings.precision == "bf16-mixed" and device == "cpu" and not computes_bf16():
        raise ConfigError(
            "training.precision is 'bf16-mixed', but torch has no recurrent layers in bf16 on this processor: set it to auto or 32-true"
        )
    if settings.precision != "auto":
        return settings.precision
    if device == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if gains_by_bf16() else "32-true"


def gains_by_bf16() -> bool:
    """Whether this machine's processor multiplies bf16 faster than fp32, by matrix registers (AMX) or by vectors."""
    return torch.cpu._is_amx_tile_supported() or multiplies_bf16_faster()


@cache
def computes_bf16() -> bool:
    """Whether this machine's processor computes recurrent layers in bf16, be it slowly: tried, for torch does not tell."""
    layer = nn.LSTM(1, 1, device="meta").to_empty(device="cpu")  # draws no random numbers
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            layer(torch.zeros(1, 1, 1))
    except RuntimeError:
        return False
    return True


def is_main_process() -> bool:
    """Whether this process writes the run's files: the only one, or the first of those that torchrun started."""
    return _of_torchrun("RANK", 0) == 0


def in_company() -> bool:
    """Whether torchrun started other processes beside this one."""
    return _of_torchrun("WORLD_SIZE", 1) > 1


def _of_torchrun(name: str, otherwise: int) -> int:
    return int(os.environ[name]) if torch.distributed.is_torchelastic_launched() else otherwise


class Engine(ABC):
    """Computes a module's loss and follows its gradient with an optimizer; knows which of how many processes this is."""

    rank: int
    """This process's number; the first, 0, writes the run's files."""

    world: int
    """How many processes there are."""

    def __init__(self, module: nn.Module, optimizer: Adam, device: torch.device, precision: str) -> None:
        self.device = device
        self._module, self._optimizer, self._mixed = module, optimizer, precision == "bf16-mixed"

    def forward(self, *given: Any) -> Any:
        """What the module returns, under autocast where bf16 was asked for."""
        with self._arithmetic():
            return self._module(*given)

    def _arithmetic(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self._mixed else all_bits(self.device)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradient of a loss, the mean over all processes."""
        with nullcontext() if self._mixed else all_bits(self.device):
            loss.backward()

    def clip(self, norm: float) -> None:
        """Shorten the gradient to a norm, without waiting for the device."""
        self._optimizer.shorten(norm)

    def step(self) -> None:
        """Follow the gradient, and forget it."""
        self._optimizer.step()
        self._optimizer.forget()

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
    """This process alone."""

    rank, world = 0, 1

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
    """One of the processes that torchrun started: `torch.distributed`, over gloo or on GPUs over NCCL."""

    def __init__(self, module: nn.Module, optimizer: Adam, device: torch.device, precision: str, idle_parameters: bool) -> None:
        if not distributed.is_initialized():
            on_gpu = device.type == "cuda"
            distributed.init_process_group("nccl" if on_gpu else "gloo", device_id=device if on_gpu else None)
            atexit.register(distributed.destroy_process_group)
        shared = nn.parallel.DistributedDataParallel(module, find_unused_parameters=idle_parameters)
        super().__init__(shared, optimizer, device, precision)
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()

    def agreed(self, said: Any) -> Any:
        """What the first process said."""
        told = [said]
        distributed.broadcast_object_list(told, device=self.device)
        return told[0]

    def gathered(self, row: Tensor) -> Tensor:
        """A row of every process."""
        rows = [torch.empty_like(row, device=self.device) for _ in range(self.world)]
        distributed.all_gather(rows, row.to(self.device))
        return torch.stack(rows).cpu().view(self.world, -1)

    def wait(self) -> None:
        """Wait for all processes."""
        distributed.barrier()


def launch(settings: TrainingSettings, module: nn.Module, optimizer: Adam, idle_parameters: bool = False) -> Engine:
    """The engine that the settings ask for; several processes must be told of parameters that the loss gives no gradient.

    Raises:
        ConfigError: a GPU that is not there, or several devices without the processes of torchrun.
    """
    name, started = chosen_device(settings), _of_torchrun("WORLD_SIZE", 1)
    require(
        settings.devices == started,
        f"training.devices is {settings.devices}, but {started} process{'es' if started > 1 else ''} started: "
        f"run it as torchrun --nproc-per-node {settings.devices} --no-python textvae train ..., or set it to {started}",
    )
    device = _own_gpu() if name == "cuda" else torch.device(name)
    precision = chosen_precision(settings, name)
    if name == "cpu":
        kernel()  # compiled before any step is timed
    module = module.to(device)
    if started > 1:
        return SeveralProcesses(module, optimizer, device, precision, idle_parameters)
    return OneProcess(module, optimizer, device, precision)


def _own_gpu() -> torch.device:
    """This process's GPU, from now on torch's current one: its random numbers and its barriers are those."""
    number, there = _of_torchrun("LOCAL_RANK", 0), torch.cuda.device_count()
    require(number < there, f"process {number} of this machine has no GPU: there are {there}; start at most so many with --nproc-per-node")
    device = torch.device("cuda", number)
    torch.cuda.set_device(device)
    return device
