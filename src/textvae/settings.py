"""All settings of one run: from nested dicts to checked dataclasses and back, in layers preset < file < flags."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, final, get_args, get_origin

from textvae.architectures import architectures, find_architecture
from textvae.config import CorpusSettings, ObjectiveSettings, TrainingSettings
from textvae.descriptions import field_types, model_fields
from textvae.errors import ConfigError, did_you_mean
from textvae.layering import SETTINGS, layered, load_config_file
from textvae.presets import load_preset


@final
@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything a run is trained with; `model` is the settings dataclass of the named architecture."""

    corpus: CorpusSettings
    architecture: str
    model: Any
    objective: ObjectiveSettings
    training: TrainingSettings
    preset: str | None = None


def resolve(
    preset: str | None = None,
    config_file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    below: Mapping[str, Any] | None = None,
) -> RunSettings:
    """Settings of a preset, over which a file is laid, over which flags are laid.

    The preset is the one named, else the one the file names (`preset = "..."`; so a run's `config.json` serves as a file), else
    that of the architecture which flags or file name, else `default`; or, with `below`, whole settings that lie under all others, none.
    Raises `ConfigError` with every problem at once.
    """
    file = load_config_file(config_file) if config_file else {}
    flags = flags or {}
    name = preset or file.get("preset") or _named_architecture(flags) or _named_architecture(file)
    if name is None and below is None:
        name = "default"
    if not isinstance(name, str | None):
        raise ConfigError(f"{config_file}: preset is {name!r}: expected a name")
    under = layered(below or {}, {**load_preset(name), "preset": name} if name else {}, {**file, "preset": name} if name else file)
    if config_file:
        try:
            from_dict(under)
        except ConfigError as error:
            raise ConfigError(f"{config_file}: {error}") from None
    return from_dict(layered(under, flags))


def _named_architecture(layer: Mapping[str, Any]) -> str | None:
    """The architecture a layer names, where there is one of that name; `from_dict` tells of any other."""
    model = layer.get("model")
    name = model.get("architecture") if isinstance(model, Mapping) else None
    return name if isinstance(name, str) and name in architectures() else None


def to_dict(settings: RunSettings) -> dict[str, Any]:
    """Settings as nested plain data; JSON makes lists of the tuples, which `from_dict` takes as well."""
    return {
        "preset": settings.preset,
        "corpus": asdict(settings.corpus),
        "model": {"architecture": settings.architecture, **asdict(settings.model)},
        "objective": asdict(settings.objective),
        "training": asdict(settings.training),
    }


def from_dict(data: Mapping[str, Any]) -> RunSettings:
    """Checked settings of nested plain data (from TOML, JSON or flags); what is left out has its default.

    Raises `ConfigError` with every problem in one line: unknown keys, wrong types, values out of range.
    """
    problems: list[str] = []
    problems += [f"unknown setting {key}.{did_you_mean(key, SETTINGS)}" for key in data if key not in SETTINGS]
    corpus = _built(CorpusSettings(), data.get("corpus", {}), "corpus", problems)
    architecture, model = _model(data.get("model", {}), problems)
    objective = _built(ObjectiveSettings(), data.get("objective", {}), "objective", problems)
    training = _built(TrainingSettings(), data.get("training", {}), "training", problems)
    preset = _coerced(data.get("preset"), str | None, "preset", problems)
    if problems:
        raise ConfigError("; ".join(problems))
    return RunSettings(corpus=corpus, architecture=architecture, model=model, objective=objective, training=training, preset=preset)


def _model(table: Any, problems: list[str]) -> tuple[str, Any]:
    """Return the architecture's name and its settings; None for settings that cannot be told."""
    if not isinstance(table, Mapping):
        problems.append(_unexpected("model", table, "a table"))
        return "", None
    rest = dict(table)
    name = rest.pop("architecture", None)
    if not isinstance(name, str):
        problems.append(f"model.architecture is {name!r}: expected one of {', '.join(architectures())}")
        return "", None
    try:
        found = find_architecture(name)
    except ConfigError as error:
        problems.append(str(error))
        return name, None
    return name, _built(found.settings(), rest, "model", problems)


def _built(base: Any, table: Any, path: str, problems: list[str]) -> Any:
    """Return a settings dataclass with a table laid over it, or None after adding what is wrong with it to the problems.

    The base matters: a ladder's `latent` has three rungs, and stays so where only its prior is given.
    """
    if not isinstance(table, Mapping):
        problems.append(_unexpected(path, table, "a table"))
        return None
    before = len(problems)
    kind: type = type(base)
    hints = field_types(kind)
    names = [field.name for field in fields(base)]
    problems += [f"unknown setting {path}.{key}.{_hint(path, str(key), names)}" for key in table if key not in names]
    values = {}
    for name in (name for name in names if name in table):
        if is_dataclass(hints[name]):
            values[name] = _built(getattr(base, name), table[name], f"{path}.{name}", problems)
        else:
            values[name] = _coerced(table[name], hints[name], f"{path}.{name}", problems)
    if len(problems) > before:
        return None
    try:
        return replace(base, **values)
    except ConfigError as error:  # it begins with the field's name
        problems.append(f"{path}.{error}")
        return None


def _hint(path: str, key: str, known: list[str]) -> str:
    """Say what an unknown key may have meant: a setting of other architectures, or the nearest known one."""
    others = {name for full, setting in model_fields().items() if f"{full}.".startswith(f"{path}.{key}.") for name in setting.architectures}
    return f" Only {', '.join(sorted(others))} have it" if others else did_you_mean(key, known)


def _coerced(value: Any, hint: Any, path: str, problems: list[str]) -> Any:
    """Return a plain value as the type a field is annotated with, or None after adding what is wrong to the problems."""
    try:
        return _typed(value, hint)
    except (TypeError, ValueError, OverflowError):
        problems.append(_unexpected(path, value, _expected(hint)) + _nearest(value, hint))
        return None


def _typed(value: Any, hint: Any) -> Any:
    """Return a plain value as a type; raises `TypeError`, `ValueError` or `OverflowError` where it is not one."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _first(value, arguments)
    if origin is Literal:
        if value not in arguments:
            raise ValueError
        return value
    if origin is tuple:
        # A lone number is a tuple of one: a plain VAE's channels read better as 32 than as [32].
        entries = value if isinstance(value, list | tuple) else [value]
        return tuple(_typed(entry, arguments[0]) for entry in entries)
    return _PLAIN[hint](value)


def _first(value: Any, hints: tuple[Any, ...]) -> Any:
    """Return a plain value as the first of several types that takes it."""
    for hint in hints:
        try:
            return _typed(value, hint)
        except (TypeError, ValueError, OverflowError):
            continue
    raise TypeError


def _whole(value: Any) -> int:
    """Return a whole number, which may be written 1e3."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError
    return int(value)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str | os.PathLike):
        raise TypeError
    return os.fspath(value)


def _none(value: Any) -> None:
    if value is not None:
        raise TypeError


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


_PLAIN: Mapping[type, Callable[[Any], Any]] = {int: _whole, float: _finite, str: _text, bool: _truth, NoneType: _none}
_WORDS: Mapping[type, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "none"}


def _expected(hint: Any) -> str:
    """Return a type in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_expected(argument) for argument in arguments)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        return f"a list, each entry {_expected(arguments[0])}"
    return _WORDS[hint]


def _unexpected(path: str, value: Any, expected: str) -> str:
    return f"{path} is {value!r}: expected {expected}"


def _nearest(value: Any, hint: Any) -> str:
    """Return the nearest of a literal's choices, where the value is a text."""
    if get_origin(hint) is not Literal or not isinstance(value, str):
        return ""
    near = did_you_mean(value, get_args(hint))
    return f".{near}" if "Did you mean" in near else ""
