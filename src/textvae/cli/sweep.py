"""`textvae sweep`. A module of its own, like `textvae train`: it takes a flag for every setting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from textvae.cli.flags import Flags, given
from textvae.cli.output import note, print_json, print_table
from textvae.cli.parameters import Json, Seed
from textvae.errors import RunError
from textvae.study.sweep.space import Goal

if TYPE_CHECKING:
    from textvae.study.sweep.base import Base
    from textvae.study.sweep.search import Found, Sweep

SEED_HELP = "Of the search. A trial's own is --training.seed, the same for all. [default: 0]"


def sweep(
    corpus: str | None = None,
    /,
    *,
    trials: Annotated[int, Parameter(validator=Number(gte=0))],
    storage: Path,
    goal: Goal | None = None,
    space: Path | None = None,
    runs: Path | None = None,
    plot: Path | None = None,
    seed: Annotated[Seed | None, Parameter(help=SEED_HELP)] = None,
    preset: str | None = None,
    config: Path | None = None,
    json: Json = False,
    flags: Flags = None,
) -> None:
    """Search for settings: train a corpus many times and print the best runs on valid, each with the command that trains it again.

    The same command again goes on after Ctrl-C or a kill, and so does --storage with --trials alone: the file keeps the rest. Started
    several times at once, on one machine or on several that share that file, the processes share the trials. Settings given as
    flags are the same for every trial.

    Parameters
    ----------
    corpus
        As for `textvae train`.
    trials
        How many trials in all, those of earlier and of other processes counted; 0 tells what an earlier one has found.
    storage
        The file that keeps the trials (a journal of Optuna's); made where there is none.
    goal
        front: little distortion and little rate, and the Pareto front of both; elbo: the best ELBO, giving up early on trials that
        fall behind once beta has its full weight. [default: front]
    space
        A .toml file of what to search: lines such as "training.learning_rate" = { low = 1e-4, high = 1e-2, log = true } or
        "model.latent.channels" = { choices = [8, 16] }; a first line default = true adds them to the default search.
    runs
        A folder that keeps the trials' runs.
    plot
        A .png, .svg or .pdf file for a picture of distortion against rate.
    preset
        What the trials start from: a preset's name (`textvae presets`), or an architecture's.
    config
        A .toml or .json file of settings, laid over the preset.
    """
    from textvae.study.sweep.base import Base
    from textvae.study.sweep.figure import check_figure
    from textvae.study.sweep.search import search

    if plot is not None:
        check_figure(plot)
    base = Base(corpus=corpus, preset=preset, config=config, flags=given(flags))
    asked = _asked(base, storage, space)
    asked = replace(asked, goal=goal or asked.goal, runs=runs or asked.runs, seed=asked.seed if seed is None else seed)
    try:
        found = search(asked, trials)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; the trials that are over are kept in {storage}: give the same command to go on") from None
    _tell(found, json, plot)


def _asked(base: Base, storage: Path, space: Path | None) -> Sweep:
    """A sweep to begin, or where nothing says of what, the one that the storage holds."""
    from textvae.study.sweep.base import Base
    from textvae.study.sweep.search import Sweep

    asked = Sweep.begun(storage) if base == Base() and space is None else None
    if asked is None and base == Base():
        raise RunError(f"{storage} holds no sweep to go on with, and no corpus is named to begin one: check --storage, or name a corpus")
    return asked or Sweep(base=base, storage=storage, space=space)


def _tell(found: Found, json: bool, plot: Path | None) -> None:
    """Print what was found, and draw it where that is asked for."""
    from textvae.study.sweep.figure import front_figure
    from textvae.study.sweep.report import as_json, commands, notes, table

    if json:
        print_json(as_json(found))
    else:
        print_table(table(found))
        print("\n".join(commands(found)))
    if plot is not None:
        front_figure(found, plot)
        note(f"{plot} shows distortion against rate")
    for line in notes(found):
        note(line)
