"""The command line that trains a run: how its flags and values are spelled, for all that tell how to train something again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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


def typed(value: Any) -> Any:
    """A setting's value as the command line has it: `16,8,8` for a list of several numbers, others as they are."""
    if not isinstance(value, tuple | list):
        return value
    return ",".join(map(str, value)) if len(value) != 1 else value[0]
