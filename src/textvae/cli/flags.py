"""Settings as flags: `--training.batch 32`, `--model.latent.channels 16,8,8`, one for every setting of every architecture.

Lists of numbers are typed `16,8,8` or `16 8 8`, or the flag is given again for each; after a space-separated list comes the
next flag, so a positional argument stands before it. Underscores may be typed for hyphens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, make_dataclass
from functools import cache, reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from cyclopts import Group, Parameter, Token

from textvae.architectures import architectures
from textvae.config import CorpusSettings, ObjectiveSettings, TrainingSettings
from textvae.descriptions import ModelSetting, describe, model_fields
from textvae.layering import dotted, nested
from textvae.settings import resolve, to_dict

SHORT = {
    "training.steps": "--steps",
    "training.epochs": "--epochs",
    "training.minutes": "--minutes",
    "training.start_from": "--start-from",
    "corpus.column": "--column",
}
"""Settings that have a short flag as well."""

GROUPS = {name: Group(f"{name.title()} settings", sort_key=10 + i) for i, name in enumerate(("training", "objective", "model", "corpus"))}
"""The headings of the help, after a command's own parameters."""


@cache
def flags_dataclass() -> type:
    """Return a dataclass of `corpus`, `model`, `objective` and `training` flags; every field is optional and None unless given.

    It is built from the settings' own fields and docstrings, so a new setting, or a new architecture's file, is a new flag.
    The defaults its help shows are those of the presets.
    """
    leaves: dict[str, Any] = {}
    known = tuple(architectures())
    summary = f"Which model. {'; '.join(f'{one.name}: {one.summary}' for one in architectures().values())}."
    preset = dotted(to_dict(resolve("default")))
    leaves["model.architecture"] = _flag("model.architecture", Literal[known], summary + _default({preset["model.architecture"]}))
    presets = {name: dotted(to_dict(resolve(name))) for name in known}
    for name, setting in model_fields().items():
        hint = reduce(or_, dict.fromkeys(one.type for one in setting.described))
        defaults = {presets[architecture][name] for architecture in setting.architectures}
        leaves[name] = _flag(name, hint, setting.help + _whose(setting) + _default(defaults))
    leaves |= _corpus_leaves()
    for cls, prefix in ((ObjectiveSettings, "objective"), (TrainingSettings, "training")):
        leaves |= {one.name: _flag(one.name, one.type, one.help + _default({preset[one.name]})) for one in describe(cls, prefix)}
    return _dataclass("Flags", nested(leaves))


def corpus_flags_dataclass() -> type:
    """Return a dataclass of the `corpus` flags alone, for a command that only reads lines."""
    return _dataclass("CorpusFlags", nested(_corpus_leaves()))


def _corpus_leaves() -> dict[str, Any]:
    """The annotations of all corpus settings but the path, a command's own positional argument."""
    described = [one for one in describe(CorpusSettings, "corpus") if one.name != "corpus.path"]
    return {one.name: _flag(one.name, one.type, one.help + _default({one.default})) for one in described}


def given(flags: Any) -> dict[str, Any]:
    """Return the nested dict of the flags that were given, as `textvae.settings.resolve` takes it."""
    if flags is None:
        return {}
    values: dict[str, Any] = {}
    for field in fields(flags):
        value = getattr(flags, field.name)
        value = given(value) if is_dataclass(value) else value
        if value is not None and value != {}:
            values[field.name] = value
    return values


def _dataclass(name: str, tree: Mapping[str, Any]) -> type:
    """Return a frozen dataclass of a tree whose leaves are annotations and whose branches are dataclasses in turn."""
    columns = [
        (key, _dataclass(f"{name}{key.title()}", leaf) | None if isinstance(leaf, dict) else leaf, None) for key, leaf in tree.items()
    ]
    # Without a module of its own the class would count as a builtin, and cyclopts looks into none of those.
    return make_dataclass(name, columns, frozen=True, kw_only=True, namespace={"__module__": __name__})


def _flag(name: str, hint: Any, text: str) -> Any:
    """Return the annotation of one optional flag."""
    parameter = Parameter(help=text, alias=SHORT.get(name), group=GROUPS[name.split(".")[0]], negative="")
    if get_origin(hint) is tuple:
        parameter = Parameter.combine(parameter, Parameter(consume_multiple=(1, None), converter=_numbers))
    return Annotated[hint | None, parameter]


def _numbers(hint: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
    """Return the numbers of a list flag, split at commas; raises `ValueError`, which cyclopts tells with the flag's name."""
    kind = get_args(hint)[0]
    parts = [part for token in tokens for part in token.value.replace(",", " ").split()]
    try:
        return tuple(kind(part) for part in parts)
    except ValueError:
        raise ValueError(f'expected numbers such as 16,8,8, got "{",".join(parts)}".') from None


def _default(values: set[Any]) -> str:
    """Return a default as the end of a help text; nothing for None, which the help explains, or where architectures differ."""
    if len(values) > 1 or None in values:
        return ""
    (value,) = values
    return f" [default: {','.join(map(str, value)) if isinstance(value, tuple) else value}]"


def _whose(setting: ModelSetting) -> str:
    """Say which architectures have a setting, in the shorter of two ways; nothing where all have it."""
    without = [name for name in architectures() if name not in setting.architectures]
    if not without:
        return ""
    return f" (Not {', '.join(without)}.)" if len(without) <= 2 else f" (Only {', '.join(setting.architectures)}.)"


if TYPE_CHECKING:
    Flags = Any
    CorpusFlags = Any
else:
    Flags = Annotated[flags_dataclass() | None, Parameter(name="*")]
    CorpusFlags = Annotated[corpus_flags_dataclass() | None, Parameter(name="*")]
"""The annotation of a command's parameter that takes every setting as a flag, `def train(corpus: str, *, flags: Flags = None)`.

`CorpusFlags` takes those of a corpus alone."""
