"""The architectures: one small file a family, each a frozen dataclass of settings and a decorated `build`.

Every module of this folder is imported and registers what it decorates: adding a file adds a model to the
command line, presets, checkpoints and the contract tests; deleting one takes only that model away.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from textvae.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from textvae.model.text_model import LatentTextModel

Build = Callable[[Any, int, int], "LatentTextModel"]
"""From settings, vocabulary V and T_max to a model."""


@final
@dataclass(frozen=True)
class Architecture:
    """One registered family: its name, its settings' dataclass and how it is built."""

    name: str
    summary: str
    settings: type
    build: Build
    latents: tuple[str, ...]
    """Latent shapes it comes in: "dense", "map"; none for a language model."""


_registry: dict[str, Architecture] = {}


def architecture(name: str, settings: type, summary: str, latents: tuple[str, ...] = ("dense", "map")) -> Callable[[Build], Build]:
    """Register the decorated `build(settings, vocabulary, max_tokens)` under a name."""

    def register(build: Build) -> Build:
        _registry[name] = Architecture(name, summary, settings, build, latents)
        return build

    return register


def architectures() -> Mapping[str, Architecture]:
    """Every architecture by name, in alphabetical order."""
    _import_files(tuple(__path__))
    return MappingProxyType(dict(sorted(_registry.items())))


@cache
def _import_files(folders: tuple[str, ...]) -> None:
    """Import every module of some folders, which registers what it decorates; a folder is read once a process."""
    for module in pkgutil.iter_modules(folders):
        importlib.import_module(f"{__name__}.{module.name}")


def find_architecture(name: str) -> Architecture:
    """The architecture of a name; raises `ConfigError` with the nearest name where there is none."""
    known = architectures()
    if name not in known:
        raise ConfigError(f"model.architecture is {name!r}: there is none of that name.{did_you_mean(name, known)}")
    return known[name]
