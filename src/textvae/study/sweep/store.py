"""The trials of a sweep, in the journal file of an Optuna study that several processes and machines share.

A trial counts once it is over: complete, pruned, or failed for a reason. One that its process left, killed or interrupted, has
no reason and does not count; the next process that asks for a trial tries the same settings again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from textvae.errors import ConfigError, RunError
from textvae.layering import dotted
from textvae.settings import RunSettings, to_dict
from textvae.study.commands import typed
from textvae.study.sweep.space import Goal, Space, as_data, holds, imported_optuna, rounded
from textvae.study.sweep.trial import Outcome, Trial
from textvae.study.sweep.workers import Workers

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

STUDY = "textvae"
"""The name of the one study in a journal."""

ASKED = "asked"
"""The name in a journal of how its sweep was asked for."""

ATTEMPTS = 2
"""Times that settings are tried whose process was killed: perhaps they took its memory."""

STARTUP_TRIALS = 5
"""Complete trials before one is pruned."""


@contextmanager
def opened(path: Path, goal: Goal, base: RunSettings, space: Space, seed: int, asked: Mapping[str, Any] | None = None) -> Iterator[Store]:
    """The trials of a journal file, new or as earlier processes left them; this process is one of the sweep's in the block.

    A new one keeps `asked`, plain data for `asked_of`.

    Raises:
        ConfigError: the file is none of a sweep, or one of another goal, other settings or another space.
    """
    optuna = imported_optuna()
    path = path.absolute()
    _make_file(path)
    with Workers(path) as workers:
        with workers.alone():
            storage = _read(optuna, path)
            study = _study(optuna, storage, path, goal, base, space, asked)
        yield Store(study, workers, space, seed)


def asked_of(path: Path) -> dict[str, Any] | None:
    """What a journal file keeps of how its sweep was asked for; None where there is no such file, or nothing in it.

    Raises `ConfigError` for a file that is none of a sweep, and for one that keeps nothing of that.
    """
    optuna, path = imported_optuna(), path.absolute()
    if not (path.exists() and path.stat().st_size):
        return None
    with Workers(path).alone():  # not between the lines of a process that begins it
        storage = _read(optuna, path)
        if not storage.get_all_studies():
            return None
        asked: dict[str, Any] | None = _loaded(optuna, storage, path).user_attrs.get(ASKED)
    if asked is None:
        raise ConfigError(f"{path} keeps nothing of how its sweep was asked for, as those of an earlier textvae: give the whole command")
    return asked


@final
class Store:
    """The trials of one sweep, as this process takes and ends them."""

    def __init__(self, study: optuna.Study, workers: Workers, space: Space, seed: int) -> None:
        self._study, self._workers, self._space, self._seed = study, workers, space, seed

    def take(self, trials: int) -> optuna.Trial | None:
        """The next trial, with all its settings chosen; None where so many are over or under way in some process."""
        from optuna.samplers import TPESampler

        with self._workers.alone():
            self._retry_abandoned()
            taken = [trial for trial in self.trials() if trial.state != "left"]
            if len(taken) >= trials:
                return None
            # A trial's random numbers are its own: processes with one seed try different things, and a resumed sweep the same.
            # Settings that were given up count too, or they would be the next to be suggested again.
            (seed,) = np.random.SeedSequence([self._seed, len(taken) + self._given_up()]).generate_state(1)
            self._study.sampler = TPESampler(seed=int(seed))
            trial = self._study.ask(dict(self._space))
            trial.set_user_attr("worker", self._workers.name)
            return trial

    def settings(self, trial: optuna.Trial | FrozenTrial) -> dict[str, Any]:
        """What a trial suggests, by dotted name, as the command line has it."""
        return {name: rounded(self._space[name], param) for name, param in trial.params.items()}

    def complete(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """Keep what a trial came to."""
        trial.set_user_attr("outcome", asdict(outcome))
        single = len(self._study.directions) == 1
        self._study.tell(trial, -outcome.elbo if single else [outcome.distortion, outcome.rate], skip_if_finished=True)

    def prune(self, trial: optuna.Trial) -> None:
        """Keep that a trial fell behind."""
        self._end(trial, "PRUNED")

    def fail(self, trial: optuna.Trial, reason: str) -> None:
        """Keep that a trial failed, and why."""
        trial.set_user_attr("reason", " ".join(reason.split()))
        self._end(trial, "FAIL")

    def leave(self, trial: optuna.Trial) -> None:
        """Put back a trial that was interrupted: its settings are the next to be tried."""
        self._end(trial, "FAIL")
        self._study.enqueue_trial(trial.params, {"attempt": trial.user_attrs.get("attempt", 1)})

    def trials(self) -> list[Trial]:
        """All trials that were begun, in order."""
        from optuna.trial import TrialState

        found = self._study.get_trials(deepcopy=False)
        return [self._trial(one) for one in found if one.state != TrialState.WAITING]

    def _trial(self, one: FrozenTrial) -> Trial:
        reason, outcome = one.user_attrs.get("reason"), one.user_attrs.get("outcome")
        names: dict[str, Any] = {"RUNNING": "running", "COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed" if reason else "left"}
        return Trial(
            number=one.number,
            state=names[one.state.name],
            settings=self.settings(one),
            outcome=Outcome(**outcome) if outcome and one.state.name == "COMPLETE" else None,
            reason=reason,
            seconds=one.duration.total_seconds() if one.duration else None,
        )

    def _end(self, trial: optuna.Trial | int, state: str) -> None:
        from optuna.trial import TrialState

        self._study.tell(trial, state=TrialState[state], skip_if_finished=True)

    def _given_up(self) -> int:
        """How many trials killed their process as often as they may."""
        from optuna.trial import TrialState

        failed = self._study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return sum("reason" not in one.user_attrs and one.user_attrs.get("attempt", 1) >= ATTEMPTS for one in failed)

    def _retry_abandoned(self) -> None:
        """Put back the trials of processes that are no more."""
        from optuna.trial import TrialState

        for one in self._study.get_trials(states=(TrialState.RUNNING,)):
            if self._workers.alive(one.user_attrs.get("worker", "none")):
                continue
            self._end(one.number, "FAIL")
            attempt = one.user_attrs.get("attempt", 1)
            if attempt < ATTEMPTS:
                self._study.enqueue_trial(one.params, {"attempt": attempt + 1})


# ── the file ──


def _make_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise ConfigError(f"{path}: a sweep cannot be kept there ({error.strerror}): give another file as --storage") from None


def _read(optuna: Any, path: Path) -> optuna.storages.JournalStorage:
    """The journal of a file, which is left as it is where it is none."""
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    try:
        with path.open("rb") as file:
            first = file.readline()
        if first and "op_code" not in json.loads(first):
            raise ValueError("no operation in its first line")
        lock = JournalFileOpenLock(str(path))
        _mend(path, lock)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except (OSError, ValueError, LookupError, TypeError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is no sweep, or a damaged one ({reason}): give another file as --storage") from error


def _mend(path: Path, lock: Any) -> None:
    """Drop what a crash or a full disk left of a last line: what is added to it would be unreadable."""
    lock.acquire()
    try:
        with path.open("rb+") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _study(
    optuna: Any, storage: Any, path: Path, goal: Goal, base: RunSettings, space: Space, asked: Mapping[str, Any] | None
) -> optuna.Study:
    """The journal's study: a new one starts with the base itself, where the space holds it; another sweep's is refused."""
    says = json.loads(json.dumps({"goal": goal, "settings": to_dict(base), "space": as_data(space)}))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_min_trials=STARTUP_TRIALS)
    if not storage.get_all_studies():
        directions = ["minimize"] if goal == "elbo" else ["minimize", "minimize"]
        study = optuna.create_study(storage=storage, study_name=STUDY, directions=directions, pruner=pruner)
        study.set_user_attr(ASKED, asked)
        study.set_user_attr("sweep", says)
        values = dotted(to_dict(base))
        if all(holds(one, values[name]) for name, one in space.items()):
            study.enqueue_trial({name: typed(values[name]) for name in space})
        return study
    study = _loaded(optuna, storage, path, pruner)
    before = study.user_attrs.get("sweep")
    if before is None:
        raise RunError(f"{path} holds a sweep that was stopped as it began: remove the file")
    _require_same(path, before, says, from_file=study.user_attrs.get(ASKED) == asked)
    return study


def _loaded(optuna: Any, storage: Any, path: Path, pruner: Any = None) -> optuna.Study:
    try:
        return optuna.load_study(storage=storage, study_name=STUDY, pruner=pruner)
    except KeyError:
        raise ConfigError(f"{path} holds an Optuna study that is none of textvae's: give another file as --storage") from None


def _require_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any], from_file: bool) -> None:
    """Refuse to mix trials that could not be compared, by the first thing that differs.

    `from_file` says that it was asked for as before: then a file that it names, or a preset, is another one now.
    """
    hint = "Put back the file that says so" if from_file else "Give --storage and --trials alone to go on with it"
    old, new = dotted(before), dotted(now)
    for name in dict.fromkeys([*new, *old]):
        if old.get(name) != new.get(name):
            what, _, rest = name.partition(".")
            label = {"goal": "goal", "settings": rest, "space": f"space, {rest}"}[what]
            raise ConfigError(
                f"{path} holds a sweep of another {label}: {_shown(old, name)} there, {_shown(new, name)} here. "
                f"{hint}, or give another file as --storage"
            )


def _shown(leaves: Mapping[str, Any], name: str) -> str:
    return json.dumps(leaves[name], ensure_ascii=False) if name in leaves else "nothing"
