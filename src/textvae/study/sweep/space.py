"""What a sweep searches: a range for each of some settings, by dotted name.

The default holds no list per architecture: its rules go by what settings are called, so a new architecture's widths and dropouts
are searched like those of the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, final, get_args

from textvae.config import CorpusSettings, ObjectiveSettings, TrainingSettings
from textvae.descriptions import describe, model_fields
from textvae.errors import ConfigError, did_you_mean
from textvae.layering import dotted, layered, load_config_file, nested
from textvae.settings import RunSettings, from_dict, to_dict

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


@final
@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Numbers between two ends, both included."""

    low: float
    high: float
    log: bool = False
    """Whether orders of magnitude are equally likely, rather than numbers."""

    step: float | None = None
    whole: bool = False

    @property
    def distribution(self) -> BaseDistribution:
        """As Optuna samples it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    @property
    def examples(self) -> tuple[float, ...]:
        """Values that are right if all are."""
        return self.low, self.high

    def param(self, setting: Any) -> float | None:
        """A setting's value as Optuna keeps it; None where it is outside of the range."""
        if isinstance(setting, tuple) and len(setting) == 1:
            (setting,) = setting
        if not isinstance(setting, int | float) or not self.low <= setting <= self.high:
            return None
        steps = (setting - self.low) / (self.step or 1)
        return setting if self.step is None or math.isclose(steps, round(steps)) else None

    def setting(self, param: Any) -> Any:
        """The setting of a value of Optuna's, rounded to what a person would type."""
        if self.whole or self.step is not None:
            return param
        return min(max(float(f"{param:.{DIGITS}g}"), self.low), self.high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


@final
@dataclass(frozen=True, kw_only=True)
class Choices:
    """Some values; Optuna knows a list of numbers as the text that the command line has for it."""

    choices: tuple[Any, ...]

    @property
    def distribution(self) -> BaseDistribution:
        """As Optuna samples it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([typed(choice) for choice in self.choices])

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values that are right if all are."""
        return self.choices

    def param(self, setting: Any) -> Any:
        """A setting's value as Optuna keeps it; None where it is not one of the choices."""
        return next((typed(choice) for choice in self.choices if typed(choice) == typed(setting)), None)

    def setting(self, param: Any) -> Any:
        """The setting of a value of Optuna's."""
        return next(choice for choice in self.choices if typed(choice) == param)

    def __str__(self) -> str:
        return " | ".join(str(typed(choice)) for choice in self.choices)


Range = Numbers | Choices
Space = Mapping[str, Range]
"""Ranges by the dotted names of settings."""


def typed(value: Any) -> Any:
    """A setting's value as the command line has it: `16,8,8` for a list of several numbers, others as they are."""
    if not isinstance(value, tuple | list):
        return value
    return ",".join(map(str, value)) if len(value) != 1 else value[0]


def settings_of(base: RunSettings, suggestion: Mapping[str, Any]) -> RunSettings:
    """A trial's settings: the base, over which what it suggests is laid. Raises `ConfigError` for what cannot be."""
    return from_dict(layered(to_dict(base), nested(suggestion)))


def as_data(space: Space) -> dict[str, Any]:
    """A space as plain data, equal for equal spaces."""
    return {
        name: {"choices": [typed(choice) for choice in one.choices]} if isinstance(one, Choices) else asdict(one)
        for name, one in space.items()
    }


# ── the default ──

Rule = Callable[[Any, RunSettings], Range | None]
"""From a setting's value in the base, and all of the base, to its range; None where there is nothing to search."""


def _numbers(low: float, high: float, log: bool = False) -> Rule:
    def rule(value: Any, base: RunSettings) -> Range | None:
        if log and value <= 0:
            return None
        return Numbers(low=min(low, value), high=max(high, value), log=log)

    return rule


def _near(*choices: int) -> Rule:
    return lambda value, base: Choices(choices=tuple(sorted({*choices, value})))


def _scaled(value: Any, base: RunSettings) -> Range | None:
    """Half as wide, as wide, twice as wide; of a ladder all rungs alike. An even width stays even: two directions share some."""

    def times(factor: float) -> Any:
        scaled = tuple(_width(width * factor, even=width % 2 == 0) for width in (value if isinstance(value, tuple) else (value,)))
        return scaled if isinstance(value, tuple) else scaled[0]

    return Choices(choices=tuple(dict.fromkeys(times(factor) for factor in (0.5, 1, 2))))


def _width(width: float, even: bool) -> int:
    return max(1, 2 * round(width / 2) if even else round(width))


def _free_bits(value: float, base: RunSettings) -> Range | None:
    """From none to twice the base's; where the base has none, to what keeps a latent in use. A mixture has none per channel."""
    per_channel = base.objective.free_bits_per == "channel"
    if per_channel and base.model.latent.prior == "mixture":
        return None
    return Numbers(low=0.0, high=2 * value or (0.5 if per_channel else 4.0))


def _word_dropout(value: float, base: RunSettings) -> Range | None:
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
    """The ranges of `RULES` over the base's settings, but for those that the user fixed; what a model without latent lacks is left out."""
    space: dict[str, Range] = {}
    for name, value in dotted(to_dict(base)).items():
        rule = next((rule for pattern, rule in RULES.items() if fnmatchcase(name, pattern)), None)
        idle = name.startswith("objective.") and not hasattr(base.model, "latent")
        found = rule(value, base) if rule and name not in fixed and not idle else None
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


def _range(name: str, entry: Any, base: RunSettings) -> Range:
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
    found = _choices(name, entry) if "choices" in entry else _ends(name, entry, whole=float not in _leaf_types(types[name]))
    for value in found.examples:
        settings_of(base, {name: value})
    return found


def _choices(name: str, entry: Mapping[str, Any]) -> Choices:
    choices = entry["choices"]
    if len(entry) > 1 or not isinstance(choices, list) or not choices:
        raise ConfigError(f"{name} has {_shown(entry)}: choices are a list of at least one value, and stand alone")
    unlike = len({(type(typed(choice)), typed(choice)) for choice in choices if not isinstance(choice, Mapping)}) < len(choices)
    if unlike:
        raise ConfigError(f"{name} has {_shown(entry)}: every choice must differ from the others, and be a value")
    return Choices(choices=tuple(tuple(choice) if isinstance(choice, list) else choice for choice in choices))


def _ends(name: str, entry: Mapping[str, Any], whole: bool) -> Numbers:
    keys = ("low", "high", "log", "step")
    for key in entry:
        if key not in keys:
            raise ConfigError(f"{name} has an unknown {key}.{did_you_mean(key, (*keys, 'choices'))}")
    numbers = [entry.get("low"), entry.get("high"), entry.get("step", 1)]
    log = entry.get("log", False)
    if not all(_is_number(number) for number in numbers) or not isinstance(log, bool):
        raise ConfigError(f"{name} has {_shown(entry)}: expected low and high as numbers; if need be log = true, or step as a number")
    low, high, step = numbers
    if whole and any(number != int(number) for number in numbers):
        raise ConfigError(f"{name} has {_shown(entry)}: it is a whole number, so are its low, high and step")
    if low > high or step <= 0 or (log and low <= 0) or (log and "step" in entry):
        raise ConfigError(f"{name} has {_shown(entry)}: low is at most high, step above 0; with log, low is above 0 and there is no step")
    return Numbers(low=low, high=high, log=log, step=entry.get("step"), whole=whole)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(entry: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in entry.items())


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
