"""Devices and precision through Lightning Fabric, imported only when something is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from textvae.config import TrainingSettings
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


def launch(settings: TrainingSettings) -> Fabric:
    """A launched Fabric for the settings."""
    import warnings

    from lightning_fabric import Fabric

    device = chosen_device(settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = Fabric(accelerator=device, devices=settings.devices, precision=chosen_precision(settings, device))  # type: ignore[arg-type]
        fabric.launch()
    return fabric
