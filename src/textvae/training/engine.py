"""Devices and precision through Lightning Fabric, imported only when something is trained."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from textvae.config import TrainingSettings, require
from textvae.errors import ConfigError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


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


def launch(settings: TrainingSettings, idle_parameters: bool = False) -> Fabric:
    """A launched Fabric for the settings; data parallel must be told of parameters that the loss gives no gradient.

    Raises:
        ConfigError: a GPU that is not there, or several devices without the processes of torchrun.
    """
    import warnings

    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    device = chosen_device(settings)
    started, started_here = _of_torchrun("WORLD_SIZE", 1), _of_torchrun("LOCAL_WORLD_SIZE", 1)
    require(
        settings.devices == started,
        f"training.devices is {settings.devices}, but {started} process{'es' if started > 1 else ''} started: "
        f"run it as torchrun --nproc-per-node {settings.devices} --no-python textvae train ..., or set it to {started}",
    )
    strategy = DDPStrategy(find_unused_parameters=idle_parameters) if started > 1 else "auto"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = Fabric(
            accelerator=device,
            strategy=strategy,
            devices=started_here,
            num_nodes=started // started_here,
            precision=chosen_precision(settings, device),  # type: ignore[arg-type]
        )
        fabric.launch()
    return fabric
