"""What every trial of a sweep starts from: a corpus and settings as `textvae train` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch

from textvae.config import require
from textvae.data.corpora import Prepared, load_corpus, prepare
from textvae.layering import dotted
from textvae.settings import RunSettings, resolve
from textvae.study.commands import command_of
from textvae.training.objective import check_objective
from textvae.training.run_folder import RunConfig


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
        return resolve(self.preset, self.config, flags)

    @property
    def fixed(self) -> frozenset[str]:
        """Dotted names of the settings that are given as flags."""
        return frozenset(dotted(self.flags))

    def command(self, settings: Mapping[str, Any], out: str) -> str:
        """The command line that trains the base, over which settings by dotted name are laid, into a folder."""
        return command_of(self.corpus, self.preset, {**dotted(self.flags), **settings}, config=self.config, out=out)


def checked(settings: RunSettings) -> Prepared:
    """The base's corpus, after making sure that a run of these settings could start: a mistake in them is every trial's.

    Raises:
        UserError: what `textvae train` would say of them.
    """
    training = settings.training
    require(training.devices == 1, f"training.devices is {training.devices}: a trial trains in one process; start the sweep several times")
    data = prepare(load_corpus(settings.corpus, training.seed), settings.corpus)
    with torch.random.fork_rng(devices=[]):
        model = RunConfig(settings, data.tokenizer.vocabulary_size, data.max_length, "", 0).build()
    check_objective(settings.objective, getattr(settings.model, "latent", None), model.decoder.auxiliary is not None)
    return data
