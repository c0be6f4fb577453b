"""What the Python API is given, made sure of: texts, numbers, a corpus, a run, tables of settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

from textvae.config import require
from textvae.errors import ConfigError, did_you_mean

TABLES = ("corpus_settings", "model", "objective", "training")
"""The tables of settings that `train` takes as keywords."""


def listed_texts(texts: Iterable[str]) -> list[str]:
    """Texts as a list. Raises `ConfigError` for one string, and for anything that is no text."""
    if isinstance(texts, str):
        raise ConfigError(f"texts is one string ({texts[:20]!r}): give a list of strings")
    require(isinstance(texts, Iterable) and not isinstance(texts, Mapping), f"texts is a {type(texts).__name__}: give a list of strings")
    listed = list(texts)
    for text in listed:
        require(isinstance(text, str), f"texts hold {text!r:.20}, of type {type(text).__name__}: give a list of strings")
    return listed


def check_whole(least: int, **given: Any) -> None:
    """Raise `ConfigError` for a number that is not whole, or below the least it may be."""
    for name, value in given.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        require(whole and value >= least, f"{name} is {value!r}: must be a whole number, at least {least}")


def check_string(**given: Any) -> None:
    """Raise `ConfigError` for anything but one string."""
    for name, value in given.items():
        require(isinstance(value, str), f"{name} is a {type(value).__name__} ({value!r:.20}): give one string")


def check_measuring(importance_samples: int, seed: int) -> None:
    """Raise `ConfigError` for numbers that nothing can be measured with."""
    check_whole(1, importance_samples=importance_samples)
    check_whole(0, seed=seed)


def named_run(name: str | Path) -> str | Path:
    """The name of a run. Raises `ConfigError` for anything but a name or a path."""
    require(isinstance(name, str | Path), f"a run's name is a {type(name).__name__} ({name!r:.20}): give its folder, or user/model")
    require(name != "", "a run's name is empty: give its folder, or user/model")
    return name


def corpus_name(corpus: str | Path) -> str:
    """The corpus as settings name it. Raises `ConfigError` for anything but a name or a path, a list of texts above all."""
    kind = type(corpus).__name__
    said = f"corpus is a {kind}: write its texts to a file, one a line, and name that file; `score` measures texts as they are"
    require(isinstance(corpus, str | Path), said)
    return str(corpus)


def check_tables(settings: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a keyword that is no table of settings: of another name, or with a lone value."""
    require(isinstance(settings, Mapping), f"settings is {settings!r}: tables by name, such as {{'training': {{'minutes': 10}}}}")
    for name, value in settings.items():
        said = "settings come in tables, such as training={'minutes': 10}"
        table, _, key = name.partition(".")
        require(
            not (key and table in TABLES), f"unknown argument {name}: settings come in tables, this one as {table}={{'{key}': {value!r}}}"
        )
        require(name in TABLES, f"unknown argument {name}: {said}.{did_you_mean(name, TABLES)}")
        require(isinstance(value, Mapping), f"{name} is {value!r}: {said}")
