"""What a report tells of runs: their figures on one split, how sure their differences are, the strings they write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from textvae.api import TextVAE
from textvae.config import Split
from textvae.errors import ConfigError, UserError
from textvae.evaluation.bounds import Progress
from textvae.evaluation.collapse import collapse_warning
from textvae.evaluation.comparison import Difference, better_of, compared
from textvae.evaluation.measure import Measured
from textvae.evaluation.single import Reconstruction
from textvae.layering import dotted
from textvae.settings import RunSettings, resolve, to_dict
from textvae.study.commands import command_of
from textvae.training.metrics import METRICS, MetricsLog

STRINGS, STEPS = 10, 8
"""Samples, reconstructions and costly lines that are shown: the first ones, whatever they look like. Strings of an interpolation."""

ENOUGH = 30
"""Lines below which nothing is said of a collapse."""


@final
@dataclass(frozen=True, kw_only=True)
class Costly:
    """A line that a model finds improbable for its length."""

    text: str
    nats_per_symbol: float
    """-importance bound / (characters + 1, for the end)."""


@final
@dataclass(frozen=True, kw_only=True)
class Told:
    """What is told of one run."""

    name: str
    folder: Path
    settings: RunSettings
    steps: int
    """Taken; of a run without a history, planned."""

    history: Sequence[Mapping[str, Any]]
    """Lines of metrics.jsonl; none of a run that was published without."""

    measured: Measured
    collapse: str | None
    samples: Sequence[str]
    reconstructions: Sequence[Reconstruction]
    interpolation: Sequence[str]
    costly: Sequence[Costly]
    command: str
    """What trains it again, but for the machine."""


@final
@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a run's ELBO stands to the best one on the same lines."""

    best: str
    difference: Difference | None
    """Its own - the best one's; None of the best itself."""

    told_apart: bool
    """Whether the lines tell the two apart."""


def tell(
    name: str,
    vae: TextVAE,
    corpus: str | Path | None = None,
    *,
    split: Split = "test",
    importance_samples: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> Told:
    """Measure a run on a split of a corpus (by default its own), and let it write.

    Raises:
        ConfigError: a model that lies in no folder.
        UserError: what `TextVAE.measure` says of the corpus.
    """
    if vae.folder is None:
        raise ConfigError(f"{name} lies in no folder: train it with out=..., or load it from its folder")
    measured = vae.measure(corpus, split=split, importance_samples=importance_samples, seed=seed, progress=progress)
    lines, evaluation = list(measured.lines), measured.evaluation
    latent = bool(vae.model.latents.shapes)
    ends = list(dict.fromkeys(lines))[:2]
    many = evaluation.sequences >= ENOUGH
    history = MetricsLog(vae.folder.path / METRICS).read()
    return Told(
        name=name,
        folder=vae.folder.path,
        settings=vae.settings,
        steps=history[-1]["step"] if history else vae.folder.load()[0].steps,
        history=history,
        measured=measured,
        collapse=collapse_warning(evaluation.rate_per_rung, evaluation.active_units, vae.settings) if many else None,
        samples=vae.sample(STRINGS, seed=seed),
        reconstructions=vae.reconstructions(lines[:STRINGS]) if latent else [],
        interpolation=vae.interpolate(ends[0], ends[1], STEPS) if latent and len(ends) == 2 else [],
        costly=_costly(measured),
        command=command_to_train(vae.settings),
    )


def _costly(measured: Measured) -> list[Costly]:
    """The least probable lines for their length, each once."""
    symbols = np.array([len(line) + 1 for line in measured.lines])
    cost = -measured.bounds.importance_bound / symbols
    chosen: dict[str, float] = {}
    for row in np.argsort(-cost, kind="stable").tolist():
        chosen.setdefault(measured.lines[row], float(cost[row]))
        if len(chosen) == STRINGS:
            break
    return [Costly(text=text, nats_per_symbol=nats) for text, nats in chosen.items()]


def command_to_train(settings: RunSettings, out: str = "RUN") -> str:
    """The command line that trains a run of these settings: its preset, and as flags what differs from it."""
    mine = dotted(to_dict(settings))
    try:
        below = dotted(to_dict(resolve(settings.preset)))
    except UserError:  # a preset of another version
        below = {}
    preset = mine.pop("preset", None) if below else None
    corpus = mine.pop("corpus.path")
    leaves = {name: value for name, value in mine.items() if value is not None and below.get(name) != value}
    return command_of(corpus, preset, leaves, out=out)


def standings(runs: Sequence[Told]) -> list[Standing]:
    """How each run's ELBO stands to the best one that was measured on the same lines."""
    best: dict[tuple[str, ...], Told] = {}
    for run in runs:
        lines = tuple(run.measured.lines)
        if lines not in best or run.measured.evaluation.elbo > best[lines].measured.evaluation.elbo:
            best[lines] = run
    return [_standing(run, best[tuple(run.measured.lines)]) for run in runs]


def _standing(run: Told, best: Told) -> Standing:
    if run is best:
        return Standing(best=best.name, difference=None, told_apart=False)
    elbo = compared(run.measured.bounds, best.measured.bounds, run.measured.groups)["elbo"]
    apart = better_of(elbo, len(set(run.measured.lines))) is not None
    return Standing(best=best.name, difference=elbo, told_apart=apart)


def differing(runs: Sequence[Told]) -> dict[str, list[Any]]:
    """The settings in which runs differ, by dotted name: a value a run, None where it has no such setting."""
    leaves = [dotted(to_dict(run.settings)) for run in runs]
    names = dict.fromkeys(name for one in leaves for name in one)
    found = {name: [one.get(name) for one in leaves] for name in names}
    return {name: values for name, values in found.items() if any(value != values[0] for value in values)}
