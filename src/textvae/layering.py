"""Settings in layers: nested dicts from presets, files and flags, merged so that the later one wins."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from textvae.architectures import Architecture, architectures
from textvae.descriptions import model_fields
from textvae.errors import ConfigError

BUDGETS = ("steps", "epochs", "minutes")
"""The three ways to say how long to train; a layer that names one replaces what earlier layers said."""


SETTINGS = ("preset", "corpus", "model", "objective", "training")
"""What a layer holds."""


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested dicts, the later one winning; none of them is changed.

    Two things are replaced rather than merged, so that a later layer never has to undo an earlier one:

    - a layer that names one of `training.steps`, `epochs` and `minutes` takes the others' place;
    - a layer that names another `model.architecture` keeps of the earlier `model` only what fits the new one: settings
      it has as well, a `latent.shape` it comes in, and `latent.channels` where both have one rung or both have several.
    """
    result: dict[str, Any] = {}
    for layer in layers:
        result = _merged(_made_room(result, layer), layer)
    return result


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both tables in one, `above` winning, tables merged in turn."""
    result = {key: _merged(value, {}) if isinstance(value, Mapping) else value for key, value in below.items()}
    for key, value in above.items():
        if isinstance(value, Mapping):
            inner = result.get(key)
            result[key] = _merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def _made_room(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` without what `above` replaces: another budget, another architecture's settings."""
    result = dict(below)
    training = above.get("training")
    if isinstance(training, Mapping) and any(training.get(name) is not None for name in BUDGETS):
        result["training"] = {key: value for key, value in _table(below, "training").items() if key not in BUDGETS}
    after = _table(above, "model").get("architecture")
    if isinstance(after, str) and after in architectures() and after != _table(below, "model").get("architecture"):
        result["model"] = _fitting(_table(below, "model"), after)
    return result


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the table of a key, empty where there is none."""
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def _fitting(model: Mapping[str, Any], after: str) -> dict[str, Any]:
    """Return what a `model` table says that another architecture can use, and what none can, for `from_dict` to refuse."""
    foreign = {name for name, setting in model_fields().items() if after not in setting.architectures}
    known = architectures()
    latent = _table(model, "latent")
    if any(latent.get("shape") in other.latents for other in known.values()) and latent.get("shape") not in known[after].latents:
        foreign.add("model.latent.shape")
    before = model.get("architecture")
    if isinstance(before, str) and before in known and _several_rungs(known[before]) != _several_rungs(known[after]):
        foreign.add("model.latent.channels")
    return _without(model, foreign, "model")


def _without(table: Mapping[str, Any], dotted: Set[str], path: str) -> dict[str, Any]:
    """Return a table without the settings of some dotted names, and without the tables that this empties."""
    result = {}
    for key, value in table.items():
        name = f"{path}.{key}"
        kept = _without(value, dotted, name) if isinstance(value, Mapping) else value
        if name not in dotted and not (kept == {} and value):
            result[key] = kept
    return result


def _several_rungs(architecture: Architecture) -> bool:
    """Whether an architecture is a ladder: its own default has the channels of more than one rung."""
    latent = getattr(architecture.settings(), "latent", None)
    return latent is not None and len(latent.channels) > 1


def dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested tables by dotted name: `{"a": {"b": 1}}` as `{"a.b": 1}`."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves.update(dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return leaves


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of leaves by dotted name, the inverse of `dotted`."""
    tree: dict[str, Any] = {}
    for name, value in leaves.items():
        *path, last = name.split(".")
        table = tree
        for key in path:
            table = table.setdefault(key, {})
        table[last] = value
    return tree


def load_config_file(path: Path) -> dict[str, Any]:
    """Read the nested dict of a `.toml` or `.json` file; of a run's `config.json`, the settings it was trained with.

    Raises `ConfigError` where the file is missing or does not parse.
    """
    suffix = path.suffix.lower()
    if suffix not in (".toml", ".json"):
        raise ConfigError(f"{path}: a config file ends in .toml or .json")
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = tomllib.loads(text) if suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: the config file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the config file is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except tomllib.TOMLDecodeError as error:
        message = " ".join(str(error).split()).replace("(at ", "(")
        raise ConfigError(f"{path}: not valid TOML: {message[:1].lower()}{message[1:]}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a config file holds tables (corpus, model, objective, training), not a {type(data).__name__}")
    if "schema" in data:  # a run's config.json, which says more of the run than its settings
        return {key: data[key] for key in SETTINGS if key in data}
    return data
