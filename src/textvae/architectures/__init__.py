"""The architectures: one small file a family, each a frozen dataclass of settings and a decorated `build`.

Every module of this folder, and of the folders that TEXTVAE_ARCHITECTURES names, is imported and registers what it decorates: adding a
file adds a model to the command line, presets, checkpoints and the contract tests; deleting one takes only that model away. What a
script decorates is a model in that script.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from textvae.config import require
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

    priors: tuple[str, ...]
    """Priors it comes with, as `latent.prior` names them; "normal" alone where it has one of its own."""


FOLDERS = "TEXTVAE_ARCHITECTURES"
"""The environment variable that names more folders of such files, parted as in PATH."""

# Modules of these folders are this package's own: so a model of theirs unpickles in another process too.
__path__ += [folder for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]

_registry: dict[str, Architecture] = {}


def architecture(
    name: str,
    settings: type,
    summary: str,
    latents: tuple[str, ...] = ("dense", "map"),
    priors: tuple[str, ...] = ("normal", "mixture"),
) -> Callable[[Build], Build]:
    """Register the decorated `build(settings, vocabulary, max_tokens)` under a name.

    Building raises `ConfigError` for a `latent.shape` or a `latent.prior` that is not among these, and for a model that does not fit.

    Raises:
        ConfigError: a name that is no word, or that another file has; settings that have no default.
    """
    require(
        re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) is not None, f"the architecture {name!r}: name it by small letters, digits and hyphens"
    )
    try:
        settings()
    except TypeError as error:
        raise ConfigError(f"the architecture {name!r}: each of its settings needs a default, that of its preset ({error})") from None

    def register(build: Build) -> Build:
        @wraps(build)
        def checked(chosen: Any, vocabulary: int, max_tokens: int) -> LatentTextModel:
            latent = getattr(chosen, "latent", None)
            for setting, known in (("shape", latents), ("prior", priors)) if latent else ():
                value = getattr(latent, setting)
                require(value in known, f"model.latent.{setting} is {value!r}: {name} comes with {' or '.join(known)} only; set it to that")
            model = build(chosen, vocabulary, max_tokens)
            steps = getattr(model, "max_tokens", None)
            require(steps is not None, f"{name}: its build returns a {type(model).__name__}, and has to return a LatentTextModel")
            require(
                steps == max_tokens, f"{name}: its expander makes {steps} steps, expected {max_tokens} (max_tokens): end it with Repeat"
            )
            return model

        there = _registry.get(name)
        if there is not None and (other := _file_of(there.build)) != (file := _file_of(build)):
            raise ConfigError(f"two files register the architecture {name!r}, {other} and {file}: give one of them another name")
        _registry[name] = Architecture(name, summary, settings, checked, latents, priors)
        return checked

    return register


def _file_of(build: Build) -> str:
    """The file that a `build` is written in."""
    return inspect.unwrap(build).__code__.co_filename


def architectures() -> Mapping[str, Architecture]:
    """Every architecture by name, in alphabetical order.

    Raises:
        ConfigError: a folder of `TEXTVAE_ARCHITECTURES` that is none, or a file there that cannot be imported.
    """
    _import_own()
    _import_more(os.environ.get(FOLDERS, ""))
    return MappingProxyType(dict(sorted(_registry.items())))


@cache
def _import_own() -> None:
    """Import every module of this folder, which registers what it decorates: once a process."""
    for module in pkgutil.iter_modules([os.path.dirname(__file__)]):
        importlib.import_module(f"{__name__}.{module.name}")


@cache
def _import_more(folders: str) -> None:
    """Import the files of the user's own folders, as modules of this one."""
    for folder in filter(None, folders.split(os.pathsep)):
        require(os.path.isdir(folder), f"{FOLDERS} names {folder}, which is no folder: correct it")
        if folder not in __path__:  # it was named after this package was imported
            __path__.append(folder)
        for module in pkgutil.iter_modules([folder]):
            path = os.path.join(folder, module.name)
            try:
                found = importlib.import_module(f"{__name__}.{module.name}").__file__
            except ConfigError:
                raise
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
                raise ConfigError(f"{FOLDERS}: {path}.py cannot be imported ({told}): correct it") from error
            if found is None or not os.path.samefile(os.path.dirname(found), path if module.ispkg else folder):
                raise ConfigError(f"{FOLDERS}: {path}.py has the name of {found}, which stands before it: give it another name")


def find_architecture(name: str) -> Architecture:
    """The architecture of a name; raises `ConfigError` with the nearest name where there is none."""
    known = architectures()
    if name not in known:
        raise ConfigError(f"model.architecture is {name!r}: there is none of that name.{did_you_mean(name, known)}")
    return known[name]
