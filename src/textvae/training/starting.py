"""Starting from another run's weights: to train longer than was planned, or to go over to other lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from textvae.config import require
from textvae.data.tokenizers import Tokenizer
from textvae.errors import ConfigError, RunError
from textvae.hub import located
from textvae.layering import dotted
from textvae.settings import RunSettings, resolve, to_dict
from textvae.training.run_folder import RunConfig, RunFolder

if TYPE_CHECKING:
    from textvae.model.text_model import LatentTextModel


@final
@dataclass(frozen=True)
class StartingRun:
    """The run whose weights another one starts with. Both read the same symbols, and lines of the same length."""

    folder: RunFolder
    config: RunConfig
    tokenizer: Tokenizer

    @classmethod
    def of(cls, settings: RunSettings) -> StartingRun | None:
        """The run that `training.start_from` names, or None where it names none.

        Raises:
            RunError: there is no such run, or it is damaged.
            ConfigError: it reads other tokens or longer or shorter lines than the settings say.
        """
        name = settings.training.start_from
        if name is None:
            return None
        folder = RunFolder(located(name))
        config, tokenizer = folder.load()
        there, here = config.settings.corpus, settings.corpus
        require(
            here.tokenizer == there.tokenizer,
            f"corpus.tokenizer is {here.tokenizer}, but {name}, from which training starts, reads {there.tokenizer}: say the same",
        )
        require(
            here.max_length in (None, config.max_length),
            f"corpus.max_length is {here.max_length}, but {name}, from which training starts, reads lines of up to {config.max_length} "
            "tokens: leave it out",
        )
        return cls(folder, config, tokenizer)

    def give_weights(self, model: LatentTextModel, settings: RunSettings) -> None:
        """Put the run's weights into a new model; raises `ConfigError` with the settings that differ where they do not fit."""
        try:
            self.folder.load_weights(model)
        except RunError:
            differing = self._differing(settings)
            if not differing:
                raise
            raise ConfigError(
                f"the weights of {settings.training.start_from} do not fit this model: {', '.join(differing)}; "
                "leave out --preset and --config to take its settings"
            ) from None

    def _differing(self, settings: RunSettings) -> list[str]:
        """The model's settings that are not the run's, each with both values."""
        here, there = (dotted({"model": to_dict(one)["model"]}) for one in (settings, self.config.settings))
        if here["model.architecture"] != there["model.architecture"]:
            return [_both("model.architecture", here, there)]
        return [_both(name, here, there) for name in here if here[name] != there[name]]


def _both(name: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    return f"{name} is {here[name]} here and {there[name]} there"


def run_settings(preset: str | None = None, config_file: Path | None = None, flags: Mapping[str, Any] | None = None) -> RunSettings:
    """Settings as `resolve` lays them; where neither preset nor file is named, over those of the run that training starts from.

    Raises:
        ConfigError: wrong settings, every problem at once.
        RunError: there is no such run, or it is damaged.
    """
    start_from = ((flags or {}).get("training") or {}).get("start_from")
    if start_from is not None and preset is None and config_file is None:
        folder = RunFolder(located(start_from))
        folder.load()
        config_file = folder.path / "config.json"
    return resolve(preset, config_file, flags)
