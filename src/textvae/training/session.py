"""A training run from settings to a finished folder: start it, or go on with it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path

import torch

from textvae.config import require
from textvae.data.corpora import Prepared, load_corpus, prepare
from textvae.data.corpus import Corpus
from textvae.data.tokenizers import Tokenizer
from textvae.data.tokens import RESERVED
from textvae.errors import RunError
from textvae.model.text_model import LatentTextModel
from textvae.settings import RunSettings
from textvae.storage import alone_in
from textvae.training.budget import MinutesWatch, planned
from textvae.training.checkpoint import has_training
from textvae.training.engine import chosen_device, chosen_precision, in_company, is_main_process
from textvae.training.hooks import Hook, Hooks, RunFacts
from textvae.training.memory import memory_told
from textvae.training.model_card import CARD, write_card
from textvae.training.objective import check_objective
from textvae.training.run_folder import RUN_FILES, RunConfig, RunFolder, fingerprint_of
from textvae.training.starting import StartingRun
from textvae.training.step import check_recording
from textvae.training.trainer import Trainer

TOO_LARGE = "for the model or its first batches: lower the widths under model or training.batch"
"""What helps where memory runs out before the first step."""


def free_folder(settings: RunSettings) -> Path:
    """A folder under `runs` that no run has yet, named after corpus and architecture.

    Raises `ConfigError` where several processes train together: each would look for itself, and they might take different ones.
    """
    require(not in_company(), "out is missing: processes that train together have to be told one folder")
    name = f"{Path(settings.corpus.path).stem or 'run'}-{settings.architecture}"
    tries = (Path("runs") / (name if i == 1 else f"{name}-{i}") for i in count(1))
    return next(path for path in tries if not path.exists())


def start(settings: RunSettings, out: str | Path, hooks: Sequence[Hook] = ()) -> bool:
    """Train a new run in the folder `out`; True if it ran to its end, False if the user stopped it (it can be resumed).

    Raises:
        UserError: anything the user can mend about the corpus, the settings or the folder.
    """
    folder = RunFolder(out)
    if is_main_process():
        folder.claim()
    with _alone_in(folder):
        data, model, config = prepared_model(settings, hooks)
        with memory_told(TOO_LARGE):
            training = planned(model, data, settings.objective, settings.training)
            assert training.steps is not None
            config = replace(config, settings=replace(settings, training=training), steps=training.steps)
            watch = () if settings.training.minutes is None else (MinutesWatch(settings.training.minutes, folder.path, Hooks(hooks)),)
            trainer = Trainer(model, data, config.settings, training.steps, folder.path, (*hooks, *watch))
        if is_main_process():
            folder.save(config, data.tokenizer)
        return _train(folder, config, trainer)


def resume(out: str | Path, hooks: Sequence[Hook] = ()) -> bool:
    """Go on with the run in the folder `out` where its last checkpoint stands, to the same weights as without the stop.

    Raises:
        RunError: no run there, a damaged one, or a corpus that is not the one the run began with.
    """
    folder = RunFolder(out)
    config, tokenizer = folder.load()
    if config.settings.training.start_from and not has_training(folder.path):
        raise RunError(
            f"{folder.path} was stopped before it had taken the weights of {config.settings.training.start_from}: "
            "nothing is lost; remove the folder, and give the command that began it again"
        )
    with _alone_in(folder):
        return _resumed(folder, config, tokenizer, hooks)


def _resumed(folder: RunFolder, config: RunConfig, tokenizer: Tokenizer, hooks: Sequence[Hook]) -> bool:
    corpus = load_corpus(config.settings.corpus, config.settings.training.seed)
    data = _prepared(corpus, config.settings, hooks, tokenizer, config.max_length)
    if fingerprint_of(data.tables["train"]) != config.fingerprint:
        raise RunError(
            f"{folder.path}: the training lines of {config.settings.corpus.path} are not those the run began with: "
            "put the old file back, or train a new run"
        )
    settings = config.settings
    torch.manual_seed(settings.training.seed)
    trainer = Trainer(config.build(), data, settings, config.steps, folder.path, hooks)
    trainer.resume()
    if not trainer.position.finished:
        return _train(folder, config, trainer)
    if is_main_process():
        Hooks(hooks).on_warning(
            f"{folder.path} is done already: there is nothing to go on with; a run that starts from it, in another folder, trains on"
        )
        if not (folder.path / CARD).exists():  # it was killed before that
            _describe(folder, config, trainer)
    return True


def _alone_in(folder: RunFolder) -> AbstractContextManager[None]:
    """The block in which no other process trains in the folder; of several that train together the first one sees to it."""
    return alone_in(folder.path, RUN_FILES) if is_main_process() else nullcontext()


def prepared_model(settings: RunSettings, hooks: Sequence[Hook] = ()) -> tuple[Prepared, LatentTextModel, RunConfig]:
    """The corpus as the settings read it, their new model, and its config but for the steps; seeds torch.

    Raises:
        UserError: anything the user can mend about the corpus or the settings.
    """
    start = StartingRun.named(settings.training.start_from) if settings.training.start_from else None
    if start:
        start.check_reading(settings)
    corpus = load_corpus(settings.corpus, settings.training.seed)
    if start:
        tokenizer, told = start.learning(corpus)
        data = _prepared(replace(corpus, notices=(*corpus.notices, *told)), settings, hooks, tokenizer, start.config.max_length)
    else:
        data = _prepared(corpus, settings, hooks)
    torch.manual_seed(settings.training.seed)
    config = RunConfig(settings, data.tokenizer.vocabulary_size, data.max_length, fingerprint_of(data.tables["train"]), 0)
    with memory_told(TOO_LARGE):
        model = config.build()
        if start:
            start.give_weights(model, settings, data.tokenizer)
        _check(settings, model)
    return data, model, config


def _prepared(
    corpus: Corpus, settings: RunSettings, hooks: Sequence[Hook], tokenizer: Tokenizer | None = None, max_length: int | None = None
) -> Prepared:
    data = prepare(corpus, settings.corpus, tokenizer, max_length)
    if is_main_process():
        for notice in data.notices:
            Hooks(hooks).on_warning(notice)
    return data


def _check(settings: RunSettings, model: LatentTextModel) -> None:
    check_objective(settings.objective, getattr(settings.model, "latent", None), model.decoder.auxiliary is not None)
    require(model.max_tokens >= 2, "every line is empty: there is nothing to learn")
    device = chosen_device(settings.training)
    chosen_precision(settings.training, device)
    check_recording(settings.training, device)


def _facts(config: RunConfig, trainer: Trainer) -> RunFacts:
    data = trainer.data
    return RunFacts(
        corpus=data.corpus.name,
        lines=len(data.lines["train"]),
        different=len(set(data.lines["train"])),
        drawn=data.corpus.source is not None,
        longest=int(data.tables["train"].lengths.max()) - 1,
        tokens=data.tokenizer.kind,
        vocabulary=config.vocabulary_size - RESERVED,
        architecture=config.settings.architecture,
        parameters=trainer.model.parameter_count,
        device=str(trainer.engine.device),
        start_from=config.settings.training.start_from,
    )


def _train(folder: RunFolder, config: RunConfig, trainer: Trainer) -> bool:
    trainer.hooks.on_ready(_facts(config, trainer))
    position = trainer.fit()
    if is_main_process():
        _describe(folder, config, trainer)
    return position.finished


def _describe(folder: RunFolder, config: RunConfig, trainer: Trainer) -> None:
    """Write what it was trained on, and the card of a run that is finished."""
    position = trainer.position
    folder.save_environment(str(trainer.model.device), position.seconds)
    if position.finished:
        write_card(folder.path, config, trainer.model.parameter_count, trainer.metrics.of(position.best_step), position.seconds)
