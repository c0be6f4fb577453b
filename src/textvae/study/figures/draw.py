"""All pictures that a study's folder allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

import numpy as np

from textvae.data.corpora import load_source
from textvae.errors import UserError
from textvae.plots.canvas import pyplot
from textvae.study.figures.chosen import Chosen, Record, label
from textvae.study.figures.curves import latent_plane, reconstructions, toy_samples
from textvae.study.figures.learning import elbo_curves, learning_curves, rungs
from textvae.study.figures.style import paths
from textvae.study.figures.tradeoff import gap_against_rate, rate_distortion
from textvae.study.figures.tweets import latent_map
from textvae.study.jobs import Budget
from textvae.study.tables import TABLE1, TABLE2, TABLES, Table

LINES = 100
"""Of the source and of a model, beside each other: as many as the study drew."""

SHOWN = 8
"""Lines of test that are drawn with what comes back of them: the first ones, whatever they look like."""


@final
@dataclass(frozen=True)
class Drawn:
    """What was drawn, and what was not."""

    paths: list[Path]
    missing: dict[str, str]
    """Why, by the picture's name."""


def draw(folder: Path, budget: Budget = "best", corpus: str | None = None, tell: Callable[[str], None] | None = None) -> Drawn:
    """Draw what the records and runs of a study's folder allow, as `figures/NAME-BUDGET.png` and `.svg`.

    Args:
        folder: of the study, as `textvae reproduce` fills it.
        budget: whose records and runs.
        corpus: where the tweets lie, if not where the presets say.
        tell: told the name of each picture before it is drawn.

    Raises:
        PackageError: matplotlib is not installed.
    """
    pyplot()  # told once, not of every picture
    drawn: list[Path] = []
    missing: dict[str, str] = {}
    for name, make in _pictures(Chosen(folder, budget, corpus)):
        if tell is not None:
            tell(name)
        try:
            make(f"{name}-{budget}")
        except UserError as error:
            missing[name] = str(error)
        else:
            drawn += paths(folder, f"{name}-{budget}")
    return Drawn(drawn, missing)


def _pictures(chosen: Chosen) -> Iterator[tuple[str, Callable[[str], None]]]:
    """Every picture by its name, and what draws it under a file's name."""
    for table in TABLES.values():
        yield f"{table.name}-learning", partial(_learning, chosen, table)
        yield f"{table.name}-elbo", partial(_elbo, chosen, table)
        yield f"{table.name}-rungs", partial(_rungs, chosen, table)
        yield f"{table.name}-rate-distortion", partial(_rate_distortion, chosen, table)
    yield "toy-gap", partial(_gap, chosen)
    yield "toy-samples", partial(_samples, chosen)
    yield "toy-reconstructions", partial(_reconstructions, chosen)
    yield "toy-plane", partial(_plane, chosen)
    yield "tweets-map", partial(_map, chosen)


def _learning(chosen: Chosen, table: Table, name: str) -> None:
    learning_curves(chosen.folder, name, chosen.records(table))


def _elbo(chosen: Chosen, table: Table, name: str) -> None:
    elbo_curves(chosen.folder, name, chosen.records(table))


def _rungs(chosen: Chosen, table: Table, name: str) -> None:
    rungs(chosen.folder, name, chosen.records(table))


def _rate_distortion(chosen: Chosen, table: Table, name: str) -> None:
    printed = {row.name: row.printed for row in table.rows if row.printed is not None}
    rate_distortion(chosen.folder, name, table.title, chosen.records(table), printed)


def _gap(chosen: Chosen, name: str) -> None:
    gap_against_rate(chosen.folder, name, chosen.records(TABLE1))


def _samples(chosen: Chosen, name: str) -> None:
    best = chosen.best(TABLE1)
    drawn = load_source("sinusoids").sample(LINES, np.random.default_rng(0))
    toy_samples(chosen.folder, name, drawn, chosen.model(best).sample(LINES, seed=0), label(best))


def _reconstructions(chosen: Chosen, name: str) -> None:
    records = (chosen.best(TABLE1), chosen.closest(TABLE1))
    models = {f"{label(one)}\n{_exact(one):.1%} of test exactly back": chosen.model(one) for one in records}
    lines = next(iter(models.values())).prepared().lines["test"]
    reconstructions(chosen.folder, name, models, lines[:SHOWN])


def _exact(record: Record) -> float:
    """Share of the lines of test that come back to the letter."""
    share: float = record["test"]["reconstruction"]["exact_match"]
    return share


def _plane(chosen: Chosen, name: str) -> None:
    latent_plane(chosen.folder, name, chosen.plane())


def _map(chosen: Chosen, name: str) -> None:
    best = chosen.best(TABLE2)
    vae = chosen.model(best)
    latent_map(chosen.folder, name, vae, vae.prepared(chosen.corpus).lines["test"], label(best))
