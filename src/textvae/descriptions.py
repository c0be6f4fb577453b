"""What every setting is: its dotted name, type, default and the docstring that follows it in the source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, final, get_type_hints

from textvae.architectures import architectures


@final
@dataclass(frozen=True, kw_only=True)
class Described:
    """One setting of a settings dataclass."""

    name: str
    """Dotted from the root: `training.batch`, `model.latent.channels`."""

    type: Any
    """The field's type, resolved: `int`, `float | None`, `tuple[int, ...]`, a `Literal`."""

    default: Any
    help: str
    """The field's docstring on one line; empty where there is none."""


@final
@dataclass(frozen=True, kw_only=True)
class ModelSetting:
    """One setting of the model, in every architecture that has it."""

    described: tuple[Described, ...]
    """As each architecture describes it, in the order of `architectures`; they usually differ in the default only."""

    architectures: tuple[str, ...]

    @property
    def help(self) -> str:
        """The help text of the first architecture that has one."""
        return next((one.help for one in self.described if one.help), "")


@cache
def field_types(cls: type) -> Mapping[str, Any]:
    """The type of every field of a settings dataclass, resolved: each is compiled from its text, so once a class."""
    return MappingProxyType(get_type_hints(cls))


@cache
def describe(cls: type, prefix: str) -> tuple[Described, ...]:
    """Describe every setting of a settings dataclass, nested ones in turn, in the order of its source."""
    described: list[Described] = []
    hints = field_types(cls)
    defaults = cls()
    for field in fields(cls):
        name, hint = f"{prefix}.{field.name}", hints[field.name]
        if is_dataclass(hint):
            default = getattr(defaults, field.name)
            kind: type = type(default)
            inner = {one.name: one for one in describe(kind, name)}
            described += [
                Described(name=key, type=one.type, default=_at(default, key.removeprefix(f"{name}.")), help=one.help)
                for key, one in inner.items()
            ]
        else:
            help_text = _docstrings(cls).get(field.name, "")
            described.append(Described(name=name, type=hint, default=getattr(defaults, field.name), help=help_text))
    return tuple(described)


def model_fields() -> dict[str, ModelSetting]:
    """Every `model.*` setting of any registered architecture, by dotted name, with the architectures that have it."""
    seen: dict[str, dict[str, Described]] = {}
    for architecture in architectures().values():
        for one in describe(architecture.settings, "model"):
            seen.setdefault(one.name, {})[architecture.name] = one
    return {name: ModelSetting(described=tuple(by.values()), architectures=tuple(by)) for name, by in seen.items()}


def _at(settings: Any, path: str) -> Any:
    """Return the value at a dotted path of nested settings."""
    for name in path.split("."):
        settings = getattr(settings, name)
    return settings


@cache
def _docstrings(cls: type) -> dict[str, str]:
    """Return the string literal that follows each field in the source of a class, on one line."""
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except OSError:  # a class typed at a prompt, or an installation without sources: settings work, without help
        return {}
    assert isinstance(definition, ast.ClassDef)
    texts = {}
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant) and isinstance(following.value.value, str):
            texts[statement.target.id] = " ".join(following.value.value.split())
    return texts
