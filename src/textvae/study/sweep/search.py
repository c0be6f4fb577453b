"""The search: one trial after another, until there are as many as asked for in all processes together."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, final

from textvae.config import require
from textvae.data.corpora import BUILT_IN, SOURCES, load_source
from textvae.errors import ConfigError, CorpusError, RunError, TrainingError
from textvae.settings import RunSettings
from textvae.study.sweep.base import Base, checked
from textvae.study.sweep.progress import SweepProgress
from textvae.study.sweep.space import Goal, Space, default_space, imported_optuna, load_space, settings_of
from textvae.study.sweep.store import Store, asked_of, opened
from textvae.study.sweep.trial import Pruning, Trial, outcome_of

if TYPE_CHECKING:
    import optuna


@final
@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is searched, from where, and for what."""

    base: Base
    storage: Path
    goal: Goal = "front"
    space: Path | None = None
    """A file of ranges; the default space where there is none."""

    runs: Path | None = None
    """The folder that keeps the trials' runs; they are removed where there is none."""

    seed: int = 0
    """Of the search; a trial's own is `training.seed`, the same for all."""

    @classmethod
    def begun(cls, storage: Path) -> Sweep | None:
        """The sweep that a file holds, as it was asked for; None where it holds none.

        Raises `ConfigError` for a file that is none of a sweep, and in another folder than that whose files the sweep names.
        """
        asked = asked_of(storage)
        if asked is None:
            return None
        try:
            base = Base(**{**asked["base"], "config": _path(asked["base"]["config"])})
            folder, goal, seed = asked["folder"], asked["goal"], asked["seed"]
            sweep = cls(base=base, storage=storage, goal=goal, space=_path(asked["space"]), runs=_path(asked["runs"]), seed=seed)
        except (KeyError, TypeError) as error:
            raise ConfigError(f"{storage} keeps how its sweep was asked for in another way ({error}): give the whole command") from None
        if folder != os.getcwd() and any(not path.is_absolute() for path in sweep._files()):
            raise ConfigError(f"{storage} is a sweep that was begun in {folder} and names files there: go to that folder")
        return sweep

    def asked(self) -> dict[str, Any]:
        """How it was asked for, and in which folder, as plain data without where it is kept."""
        data = {name: value for name, value in asdict(self).items() if name != "storage"} | {"folder": os.getcwd()}
        plain: dict[str, Any] = json.loads(json.dumps(data, default=str))  # a path as its text
        return plain

    def _files(self) -> list[Path]:
        """Files and folders it names."""
        corpus = self.base.corpus if self.base.corpus not in BUILT_IN else None
        return [Path(path) for path in (corpus, self.base.config, self.space, self.runs) if path is not None]


@final
@dataclass(frozen=True, kw_only=True)
class Found:
    """A sweep as it stands."""

    sweep: Sweep
    settings: RunSettings
    """Of the base."""

    space: Space
    trials: tuple[Trial, ...]
    wanted: int
    entropy: float | None
    """Of the corpus's source in nats a sequence, where it is known."""


def search(sweep: Sweep, trials: int, progress: SweepProgress | None = None) -> Found:
    """Go on with a sweep until so many of its trials are over, or under way in other processes; 0 only looks.

    A trial that fails, for its settings, its numbers or its memory, is kept with the reason.

    Raises:
        UserError: a mistake in the base, in the space or about the storage; runs of another sweep; a disk that is full.
        KeyboardInterrupt: Ctrl-C; what is over is kept.
    """
    require(trials >= 0, f"trials is {trials}: must be at least 0")
    if trials == 0 and not (sweep.storage.exists() and sweep.storage.stat().st_size):
        raise RunError(f"{sweep.storage}: there is no sweep to look at: check --storage, or begin one with more --trials")
    optuna = imported_optuna()
    settings = sweep.base.settings()
    fixed = sweep.base.fixed
    space = load_space(sweep.space, settings, fixed) if sweep.space else default_space(settings, fixed)
    require(bool(space), "there is nothing to search: every setting of the default space is given as a flag")
    if trials:  # to look at those that are over takes no corpus
        checked(settings)
    source = load_source(settings.corpus.path) if settings.corpus.path in SOURCES else None
    progress = progress or SweepProgress()
    kept = sorted(path.name for path in sweep.runs.glob("trial-*")) if sweep.runs and trials else []  # before others begin more
    with opened(sweep.storage, sweep.goal, settings, space, sweep.seed, sweep.asked()) as store, progress:
        _require_own(sweep, kept, store.trials())
        progress.on_search(space, store.trials(), trials)
        while (trial := store.take(trials)) is not None:
            progress.on_trial(store.trials())
            with _folder(sweep.runs, trial.number) as folder:
                _run(optuna, store, trial, sweep.goal, settings, folder, progress)
            progress.on_result(store.trials(), trial.number)
        found = tuple(store.trials())
    return Found(sweep=sweep, settings=settings, space=space, trials=found, wanted=trials, entropy=source.entropy if source else None)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _run(optuna: Any, store: Store, trial: optuna.Trial, goal: Goal, base: RunSettings, folder: Path, progress: SweepProgress) -> None:
    """Run one trial and keep how it ended; what is no fault of the trial is raised."""
    try:
        settings = settings_of(base, store.settings(trial))
        outcome = outcome_of(settings, folder, [progress, Pruning(trial, settings.objective)] if goal == "elbo" else [progress])
    except optuna.TrialPruned:
        store.prune(trial)
    except (ConfigError, CorpusError, TrainingError) as error:
        store.fail(trial, str(error))
    except (KeyboardInterrupt, RunError, OSError):
        store.leave(trial)
        raise
    except Exception as error:  # a defect of ours: told, and the same settings do not run into it again
        store.fail(trial, f"{type(error).__name__}: {error}")
        raise
    else:
        store.complete(trial, outcome)


def run_of(runs: Path, number: int) -> Path:
    """The folder that keeps a trial's run."""
    return runs / f"trial-{number:03d}"


def _require_own(sweep: Sweep, kept: Sequence[str], trials: Sequence[Trial]) -> None:
    """Refuse a folder with runs of trials that this sweep has not begun: they are another's, and it would come to them."""
    begun = {trial.number for trial in trials}
    for name in kept:
        number = name.removeprefix("trial-")
        if number.isdecimal() and int(number) not in begun:
            raise RunError(f"{sweep.runs}: its {name} is no run of the sweep in {sweep.storage}: give another folder as --runs")


@contextmanager
def _folder(runs: Path | None, number: int) -> Iterator[Path]:
    if runs is not None:
        yield run_of(runs, number)
        return
    with TemporaryDirectory(prefix="textvae-sweep-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "run"
