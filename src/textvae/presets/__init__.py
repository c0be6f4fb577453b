"""Presets: settings under a name. `default`, one of each architecture's name, and the rows of the study's tables.

    default             what `textvae train` uses when nothing is said
    rnn, hybrid, ...    default, with that architecture
    study/toy/ROW       the study's sizes and recipe (its Table 1); study/tweets/ROW its Table 2
    best/toy/ROW        ours in the same parameter budget; best/tweets/ROW
    best/messages/ROW   ours on the built-in grammar of messages, as `make demo` trains it

A preset file is TOML: `[shared.corpus]`, `[shared.model]`, `[shared.objective]` and `[shared.training]` lie under every row,
a row is a table of the same four, named as the preset is, with a line `about`.
"""

from __future__ import annotations

import os
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from textvae.architectures import FOLDERS, architectures
from textvae.errors import ConfigError, did_you_mean
from textvae.layering import layered

TABLES = ("study/toy", "study/tweets", "best/toy", "best/tweets", "best/messages")
"""The files whose rows are presets `FILE/ROW`; `default` has a file of its own."""


def preset_names() -> list[str]:
    """Every preset: `default`, the architectures, then the rows of the tables in their order."""
    rows = [f"{table}/{row}" for table in TABLES for row in _file(table) if row != "shared"]
    return ["default", *architectures(), *rows]


def load_preset(name: str) -> dict[str, Any]:
    """Return the nested settings of a preset, as `textvae.settings.from_dict` takes them.

    Raises `ConfigError` with the nearest name where there is none.
    """
    shared, row = _parts(name)
    return {key: table for key, table in layered(shared, row).items() if key != "about"}


def summary(name: str) -> str:
    """Return a preset's line `about`; an architecture's own summary where it is one. Raises `ConfigError` like `load_preset`."""
    shared, row = _parts(name)
    return str(row.get("about") or shared.get("about") or "")


def _parts(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a preset shares with its file, and its own row."""
    if name not in preset_names():
        hint = "" if os.environ.get(FOLDERS) else f" (One of your own: name its folder in {FOLDERS}.)"
        raise ConfigError(f"there is no preset {name!r}.{did_you_mean(name, preset_names())}{hint}")
    if name == "default":
        return _file("default")["shared"], {}
    if "/" in name:
        table, row = name.rsplit("/", 1)
        return _file(table).get("shared", {}), _file(table)[row]
    default = _file("default")
    own = {"about": f"default, as {name}: {architectures()[name].summary}", "model": {"architecture": name}}
    return default["shared"], layered(own, default.get(name, {}))


@cache
def _file(table: str) -> dict[str, Any]:
    """Return a preset file of this package."""
    return tomllib.loads(files(__name__).joinpath(f"{table}.toml").read_text(encoding="utf-8"))
