"""The command line that trains a run: how its flags and values are spelled, for all that tell how to train something again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textvae.errors import UserError
from textvae.layering import dotted
from textvae.settings import RunSettings, resolve, to_dict


def command_of(corpus: str | None, preset: str | None, leaves: Mapping[str, Any], *, config: Path | None = None, out: str = "RUN") -> str:
    """What a person types to train a run.

    Args:
        corpus: as `textvae train` takes it; None where the preset or the config file names it.
        preset: its name, or an architecture's.
        leaves: settings by dotted name, laid over the rest.
        config: a file of settings, laid over the preset.
        out: the run's folder.
    """
    words = ["textvae", "train", *([corpus] if corpus is not None else [])]
    words += ["--preset", preset] if preset is not None else []
    words += ["--config", str(config)] if config is not None else []
    for name, value in leaves.items():
        flag = f"--{name.replace('_', '-')}"
        words += [f"{flag}={value}"] if isinstance(value, bool) else [flag, str(typed(value))]
    return shlex.join([*words, "--out", out])


def command_for(settings: RunSettings, folder: Path, out: str = "RUN") -> str:
    """What a person types to train a run of some settings: its preset, and as flags what differs; where flags cannot say it, by the
    `config.json` of the run in a folder.
    """
    mine = dotted(to_dict(settings))
    preset, corpus = mine.pop("preset"), mine.pop("corpus.path")
    try:
        below = dotted(to_dict(resolve(preset)))
    except UserError:  # a preset of another version
        preset, below = settings.architecture, dotted(to_dict(resolve(settings.architecture)))
    changed = {name: value for name, value in mine.items() if below.get(name) != value}
    budget = ("training.steps", "training.epochs", "training.minutes")  # a flag of one takes the place of the others
    if any(value is None and name not in budget for name, value in changed.items()):
        return command_of(corpus, None, {}, config=folder / "config.json", out=out)
    return command_of(corpus, preset, {name: value for name, value in changed.items() if value is not None}, out=out)


def typed(value: Any) -> Any:
    """A setting's value as the command line has it: `16,8,8` for a list of several numbers, others as they are."""
    if not isinstance(value, tuple | list):
        return value
    return ",".join(map(str, value)) if len(value) != 1 else value[0]
