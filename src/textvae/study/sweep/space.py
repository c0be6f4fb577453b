"""What a sweep searches: a range for each of some settings, by dotted name.

The default holds no list per architecture: its rules go by what settings are called, so a new architecture's widths and dropouts
are searched like those of the others.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from textvae.config import CorpusSettings, ObjectiveSettings, TrainingSettings
from textvae.descriptions import describe, model_fields
from textvae.errors import ConfigError, did_you_mean, extra
from textvae.layering import dotted, layered, load_config_file, nested
from textvae.settings import RunSettings, from_dict, to_dict
from textvae.study.commands import typed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEFT_ALONE = {
    "preset": "it is what every trial starts from: give it as --preset",
    "training.seed": "it is the same for every trial: a lucky seed is no better setting",
    "training.devices": "a trial trains in one process: start the sweep several times instead",
}
"""Settings that no space may hold, and why; `corpus.*` is another."""

DIGITS = 4
"""Significant digits of a number that is tried: the command that trains it again is exact, and can be read."""

Goal = Literal["front", "elbo"]
"""front: little distortion and little rate, the Pareto front of both. elbo: the best ELBO; trials that fall behind are pruned."""

Space = Mapping[str, "BaseDistribution"]
"""Optuna's ranges by the dotted names of settings; a list of numbers is the text that the command line has for it."""


def imported_optuna() -> Any:
    """Optuna; raises `PackageError` where it is not installed."""
    with extra("study", "a sweep"):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def holds(one: BaseDistribution, value: Any) -> bool:
    """Whether a range holds a setting's value."""
    attributes, value = _attributes(one), typed(value)
    if "choices" in attributes:
        return value in attributes["choices"]
    if not isinstance(value, int | float) or not attributes["low"] <= value <= attributes["high"]:
        return False
    steps = (value - attributes["low"]) / (attributes["step"] or 1)
    return attributes["step"] is None or math.isclose(steps, round(steps))


def rounded(one: BaseDistribution, param: Any) -> Any:
    """A value of Optuna's as a person would type it."""
    attributes = _attributes(one)
    if not isinstance(param, float) or "choices" in attributes or attributes["step"]:
        return param
    return min(max(float(f"{param:.{DIGITS}g}"), attributes["low"]), attributes["high"])


def told(one: BaseDistribution) -> str:
    """A range in words."""
    attributes = _attributes(one)
    if "choices" in attributes:
        return " | ".join(map(str, attributes["choices"]))
    return f"{attributes['low']:g} to {attributes['high']:g}{' (log)' if attributes['log'] else ''}"


def as_data(space: Space) -> dict[str, Any]:
    """A space as plain data, equal for equal spaces."""
    return {name: _attributes(one) for name, one in space.items()}


def _attributes(one: BaseDistribution) -> dict[str, Any]:
    """`choices`, or `low`, `high`, `log` and `step`."""
    from optuna.distributions import distribution_to_json

    attributes: dict[str, Any] = json.loads(distribution_to_json(one))["attributes"]
    return attributes


def settings_of(base: RunSettings, suggestion: Mapping[str, Any]) -> RunSettings:
    """A trial's settings: the base, over which what it suggests is laid. Raises `ConfigError` for what cannot be."""
    return from_dict(layered(to_dict(base), nested({name: _listed(value) for name, value in suggestion.items()})))


def _listed(value: Any) -> Any:
    """The list of numbers that a text such as `16,8,8` stands for; others as they are."""
    return [int(part) for part in value.split(",")] if re.fullmatch(r"\d+(,\d+)+", str(value)) else value


# ── the default ──

Rule = Callable[[Any, RunSettings], "BaseDistribution | None"]
"""From a setting's value in the base, and all of the base, to its range; None where there is nothing to search."""


def _numbers(low: float, high: float, log: bool = False) -> Rule:
    def rule(value: float, base: RunSettings) -> BaseDistribution | None:
        from optuna.distributions import FloatDistribution

        return None if log and value <= 0 else FloatDistribution(min(low, value), max(high, value), log)

    return rule


def _near(*choices: int) -> Rule:
    return lambda value, base: _categories(sorted({*choices, value}))


def _categories(choices: Iterable[Any]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution

    return CategoricalDistribution([typed(choice) for choice in choices])


def _scaled(value: Any, base: RunSettings) -> BaseDistribution:
    """Half as wide, as wide, twice as wide; of a ladder all rungs alike. An even width stays even: two directions share some."""

    def times(factor: float) -> tuple[int, ...]:
        widths = value if isinstance(value, tuple) else (value,)
        return tuple(max(1, round(width * factor) if width % 2 else 2 * round(width * factor / 2)) for width in widths)

    return _categories(dict.fromkeys(times(factor) for factor in (0.5, 1, 2)))


def _free_bits(value: float, base: RunSettings) -> BaseDistribution | None:
    """From none to twice the base's; where the base has none, to what keeps a latent in use. A mixture has none per channel."""
    per_channel = base.objective.free_bits_per == "channel"
    if per_channel and base.model.latent.prior == "mixture":
        return None
    return _numbers(0.0, 2 * value or (0.5 if per_channel else 4.0))(value, base)


def _word_dropout(value: float, base: RunSettings) -> BaseDistribution | None:
    return _numbers(0.0, 0.5)(value, base) if base.model.decoder.feeding == "teacher" else None


RULES: Mapping[str, Rule] = {
    "training.learning_rate": _numbers(1e-4, 1e-2, log=True),
    "training.batch": _near(32, 64, 128),
    "objective.beta": _numbers(0.25, 1.0, log=True),
    "objective.free_bits": _free_bits,
    "model*.channels": _scaled,
    "model*.hidden": _scaled,
    "model*.embedding": _scaled,
    "model*.reconstruction": _scaled,
    "model*.dropout": _numbers(0.0, 0.5),
    "model*.word_dropout": _word_dropout,
}
"""What is searched where nothing is said: settings by pattern, each around its value in the base, which it always holds."""


def default_space(base: RunSettings, fixed: Collection[str] = ()) -> Space:
    """The ranges of `RULES` over the base's settings, but for those that the user fixed.

    What a model without latent lacks is left out, and so are widths where training starts from another run's weights.
    """
    space: dict[str, BaseDistribution] = {}
    for name, value in dotted(to_dict(base)).items():
        rule = next((rule for pattern, rule in RULES.items() if fnmatchcase(name, pattern)), None)
        idle = name.startswith("objective.") and not hasattr(base.model, "latent")
        shaping = name.startswith("model.") and not name.endswith("dropout")
        held = name in fixed or (shaping and base.training.start_from is not None)  # else the weights would not fit
        found = rule(value, base) if rule and not held and not idle else None
        if found is not None:
            space[name] = found
    return space


# ── from a file ──


def load_space(path: Path, base: RunSettings, fixed: Collection[str] = ()) -> Space:
    """The ranges of a TOML file: `"training.batch" = { choices = [32, 64] }`, `"objective.beta" = { low = 0.1, high = 1, log = true }`.

    The file says all that is searched, unless it has a line `default = true`: then its ranges lie over the default space.
    Raises `ConfigError` where a range is none, or holds what its setting cannot be.
    """
    if path.suffix.lower() != ".toml":
        raise ConfigError(f"{path}: a space is a .toml file")
    data = load_config_file(path)
    try:
        over_default = data.pop("default", False)
        if not isinstance(over_default, bool):
            raise ConfigError(f"default is {over_default!r}: expected true or false")
        space = {name: _range(name, entry, base) for name, entry in _entries(data, _types(base))}
        if not space and not over_default:
            raise ConfigError('it names no setting: write lines such as "training.batch" = { choices = [32, 64] }')
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return {**default_space(base, fixed), **space} if over_default else space


def _entries(table: Mapping[str, Any], known: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and what stands at them, whether the file quotes the names or nests tables."""
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in known and not set(value) & {"low", "high", "log", "step", "choices"}:
            yield from _entries(value, known, f"{name}.")
        else:
            yield name, value


def _range(name: str, entry: Any, base: RunSettings) -> BaseDistribution:
    types = _types(base)
    why = LEFT_ALONE.get(name) or ("it changes what is measured, so trials could not be compared" if name.startswith("corpus.") else "")
    if why:
        raise ConfigError(f"{name} cannot be searched: {why}")
    if name not in types:
        having = model_fields()[name].architectures if name in model_fields() else ()
        hint = f" Only {', '.join(having)} have it" if having else did_you_mean(name, types)
        raise ConfigError(f"unknown setting {name}.{hint}")
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{name} is {entry!r}: expected {{ low = .., high = .. }} or {{ choices = [..] }}; to fix it, give its flag")
    try:
        found = _choices(entry) if "choices" in entry else _ends(entry, whole=float not in _leaf_types(types[name]))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} has {', '.join(f'{key} = {value}' for key, value in entry.items())}: {error}") from None
    for value in entry.get("choices") or (entry["low"], entry["high"]):
        settings_of(base, {name: value})
    return found


def _choices(entry: Mapping[str, Any]) -> BaseDistribution:
    choices = entry["choices"]
    if len(entry) > 1 or not isinstance(choices, list) or not choices:
        raise ValueError("choices are a list of at least one value, and stand alone")
    if len({(type(typed(choice)), typed(choice)) for choice in choices if not isinstance(choice, Mapping)}) < len(choices):
        raise ValueError("every choice must differ from the others, and be a value")
    return _categories(choices)


def _ends(entry: Mapping[str, Any], whole: bool) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    keys = ("low", "high", "log", "step")
    for key in entry:
        if key not in keys:
            raise ValueError(f"unknown {key}.{did_you_mean(key, (*keys, 'choices'))}")
    numbers = [entry.get("low"), entry.get("high"), entry.get("step", 1)]
    if not all(_is_number(number) for number in numbers) or not isinstance(entry.get("log", False), bool):
        raise ValueError("expected low and high as numbers; if need be log = true, or step as a number")
    if whole and any(number != int(number) for number in numbers):
        raise ValueError("it is a whole number, so are its low, high and step")
    return (IntDistribution if whole else FloatDistribution)(**entry)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _types(base: RunSettings) -> dict[str, Any]:
    """The types of all settings that the base has, by dotted name."""
    parts: dict[str, type] = {"corpus": CorpusSettings, "objective": ObjectiveSettings, "training": TrainingSettings}
    parts["model"] = type(base.model)
    described = {one.name: one.type for prefix, cls in parts.items() for one in describe(cls, prefix)}
    return {"model.architecture": str, **described}


def _leaf_types(hint: Any) -> set[Any]:
    """The plain types in a type: int and None of `int | None`."""
    inner = get_args(hint)
    return set().union(*map(_leaf_types, inner)) if inner else {hint}
