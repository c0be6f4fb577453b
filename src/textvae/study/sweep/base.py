"""What every trial of a sweep starts from: a corpus and settings as `textvae train` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch

from textvae.config import require
from textvae.data.corpora import Prepared
from textvae.layering import dotted, layered, nested
from textvae.settings import RunSettings
from textvae.study.commands import command_of
from textvae.training.session import prepared_model
from textvae.training.starting import run_settings


@final
@dataclass(frozen=True, kw_only=True)
class Base:
    """Preset, over which a file is laid, over which flags are laid; a trial lies over all of them."""

    corpus: str | None = None
    preset: str | None = None
    config: Path | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    """Settings as nested tables."""

    def settings(self) -> RunSettings:
        """The settings; raises `ConfigError` for wrong ones."""
        flags = dict(self.flags)
        if self.corpus is not None:
            flags["corpus"] = {**flags.get("corpus", {}), "path": self.corpus}
        return run_settings(self.preset, self.config, flags)

    @property
    def fixed(self) -> frozenset[str]:
        """Dotted names of the settings that are given as flags."""
        return frozenset(dotted(self.flags))

    def command(self, settings: Mapping[str, Any], out: str) -> str:
        """The command line that trains the base, over which settings by dotted name are laid, into a folder."""
        leaves = dotted(layered(self.flags, nested(settings)))
        return command_of(self.corpus, self.preset, leaves, config=self.config, out=out)


def checked(settings: RunSettings) -> Prepared:
    """The base's corpus, after making sure that a run of these settings could start: a mistake in them is every trial's.

    Raises:
        UserError: what `textvae train` would say of them.
    """
    training = settings.training
    require(training.devices == 1, f"training.devices is {training.devices}: a trial trains in one process; start the sweep several times")
    with torch.random.fork_rng(devices=[]):
        return prepared_model(settings)[0]
