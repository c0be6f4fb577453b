"""Starting from another run's weights: to train longer than was planned, or to go over to other lines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from textvae.config import require
from textvae.data.corpora import lines_to_fit
from textvae.data.corpus import Corpus
from textvae.data.tokenizers import Tokenizer
from textvae.errors import ConfigError, RunError
from textvae.hub import located
from textvae.layering import dotted, load_config_file
from textvae.settings import RunSettings, resolve, to_dict
from textvae.training.run_folder import RunConfig, RunFolder

if TYPE_CHECKING:
    from torch import Tensor

    from textvae.model.text_model import LatentTextModel

READING = ("tokenizer", "vocabulary", "max_length", "long_lines")
"""What of a run's corpus settings stays where another corpus is named; the others say where its own lines come from."""


@final
@dataclass(frozen=True)
class StartingRun:
    """The run whose weights another one starts with. Both read lines of the same length, and the symbols that this one knows."""

    folder: RunFolder
    config: RunConfig
    tokenizer: Tokenizer

    @classmethod
    def named(cls, name: str) -> StartingRun:
        """The run of that name, a folder or on the hub; raises `RunError` where there is none, or it is damaged."""
        with _told():
            folder = RunFolder(located(name))
            return cls(folder, *folder.load())

    def check_reading(self, settings: RunSettings) -> None:
        """Raise `ConfigError` for settings that read other symbols or other lengths than this run."""
        there, here = self.config.settings.corpus, settings.corpus
        for name in ("tokenizer", "vocabulary"):
            ours, theirs = getattr(here, name), getattr(there, name)
            require(ours == theirs, f"corpus.{name} is {ours}, but the run in training.start_from has {theirs}: leave it out")
        require(
            here.max_length in (None, self.config.max_length),
            f"corpus.max_length is {here.max_length}, but the run in training.start_from has {self.config.max_length}: leave it out",
        )

    def learning(self, corpus: Corpus) -> tuple[Tokenizer, tuple[str, ...]]:
        """Its tokenizer and, behind its symbols, those characters of the training lines that it does not know; and a notice of them."""
        lines = lines_to_fit(corpus)
        tokenizer = self.tokenizer.extended(lines)
        new = tokenizer.vocabulary_size - self.tokenizer.vocabulary_size
        if not new:
            return tokenizer, ()
        shown = ", ".join(map(repr, list(self.tokenizer.unknown(lines))[:5])) + (", …" if new > 5 else "")
        return tokenizer, (f"{new} characters that the run in training.start_from does not know are learned from the beginning ({shown})",)

    def give_weights(self, model: LatentTextModel, settings: RunSettings, tokenizer: Tokenizer) -> None:
        """Put the run's weights into a new model, which reads with the tokenizer; its weights of new symbols stay as they were drawn.

        Raises:
            ConfigError: they do not fit it; told with the settings that differ.
            RunError: they are missing or damaged.
        """
        with _told():
            tensors = self.folder.weights()
        symbols = self.tokenizer.vocabulary_size, tokenizer.vocabulary_size
        if symbols[0] < symbols[1]:
            fresh = model.state_dict()
            tensors |= {name: _with_new_rows(each, fresh[name], symbols) for name, each in tensors.items() if name in fresh}
        try:
            model.load_state_dict(tensors)
        except RuntimeError:
            here, there = (dotted({"model": to_dict(one)["model"]}) for one in (settings, self.config.settings))
            differing = [name for name in here if here[name] != there.get(name) and not name.endswith("dropout")]
            if "model.architecture" in differing:
                differing = ["model.architecture"]
            if not differing:
                raise RunError(f"training.start_from: {self.folder.path}/weights.safetensors does not fit its config.json") from None
            told = ", ".join(f"{name} is {here[name]} here and {there.get(name)} there" for name in differing)
            raise ConfigError(
                f"the weights of the run in training.start_from do not fit: {told}; leave that out, or the preset that sets it"
            ) from None


def _with_new_rows(known: Tensor, fresh: Tensor, symbols: tuple[int, int]) -> Tensor:
    """A weight with a row a symbol, of as many symbols as there were, and the rows of new ones behind them; any other as it is."""
    if known.shape[1:] != fresh.shape[1:] or known.shape == fresh.shape or (len(known), len(fresh)) != symbols:
        return known
    import torch  # which takes seconds: not for a mistake in the settings

    return torch.cat([known, fresh[len(known) :].to(known)])


@contextmanager
def _told() -> Iterator[None]:
    """Inside the block a `RunError` says that the setting named the run: it may stand in a file."""
    try:
        yield
    except RunError as error:
        raise RunError(f"training.start_from: {error}") from error


def run_settings(preset: str | None = None, config_file: Path | None = None, flags: Mapping[str, Any] | None = None) -> RunSettings:
    """Settings as `resolve` lays them; where training starts from another run, over that run's.

    Of those its seed is raised by one, so that order, noise and the draws of a source are new ones; how often valid is looked at
    follows from the new number of steps; and where another corpus is named, only how lines are read stays.

    Raises:
        ConfigError: wrong settings, every problem at once.
        RunError: there is no such run, or it is damaged.
    """
    flags = flags or {}
    file = load_config_file(config_file) if config_file else {}
    name = next((found for layer in (flags, file) if (found := _at(layer, "training", "start_from")) is not None), None)
    if not isinstance(name, str | os.PathLike) or not os.fspath(name):
        return resolve(preset, config_file, flags)
    below = to_dict(StartingRun.named(os.fspath(name)).config.settings)
    below["training"] |= {"seed": below["training"]["seed"] + 1, "evaluate_every": None}
    named = _at(flags, "corpus", "path") or _at(file, "corpus", "path")
    if named and not _same_corpus(str(named), below["corpus"]["path"]):
        below["corpus"] = {key: below["corpus"][key] for key in READING}
    return resolve(preset, config_file, flags, below)


def _same_corpus(one: str, other: str) -> bool:
    return one == other or (os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other))


def _at(layer: Mapping[str, Any], table: str, key: str) -> Any:
    """A setting of a layer, or None where it has no such table."""
    inner = layer.get(table)
    return inner.get(key) if isinstance(inner, Mapping) else None
