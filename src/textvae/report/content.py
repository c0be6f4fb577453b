"""What a report tells of one run: its figures on one split, how it learned, the strings it writes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, final

import numpy as np

from textvae.api import TextVAE
from textvae.config import CorpusSettings, Split
from textvae.errors import ConfigError, is_ours
from textvae.evaluation.bounds import Progress
from textvae.evaluation.collapse import verdict_on
from textvae.evaluation.familiar import source_of
from textvae.evaluation.measure import Evaluation, Measured, reads_back
from textvae.evaluation.oddness import excess
from textvae.evaluation.single import Reconstruction
from textvae.settings import RunSettings
from textvae.study.commands import command_for
from textvae.training.metrics import METRICS, MetricsLog

STRINGS, STEPS = 10, 8
"""Samples, reconstructions and odd lines that are shown: the first ones, whatever they look like. Strings of an interpolation."""


@final
@dataclass(frozen=True, kw_only=True)
class Costly:
    """A line that a model finds improbable for its length."""

    text: str
    excess: float
    """What it costs above the usual for its length among the lines measured, nats, by the importance bound (`evaluation.oddness`)."""


@final
@dataclass(frozen=True, kw_only=True)
class Told:
    """What is told of one run."""

    name: str
    folder: Path
    settings: RunSettings
    steps: int
    """Taken; of a run without a history, planned."""

    planned: int
    """Steps that the run was to have: it was stopped, or stopped by itself, where it has taken fewer."""

    history: Sequence[Mapping[str, Any]]
    """Lines of metrics.jsonl; none of a run that was published without."""

    training_lines: Callable[[], Sequence[str] | None]
    """The lines it was trained on; None where nobody can tell any more."""

    measured_on: CorpusSettings
    measured: Measured
    whole: np.ndarray
    """Which of the lines can be read back from their tokens, (N,): a bound on the tokens of others is none on the lines."""

    tokenizer: Mapping[str, Any]
    """As its file has it: models of one tokenizer read the same tokens, whatever these leave out."""

    verdict: str
    collapsed: bool
    """What is to be said of its latent, and whether that is bad."""

    samples: Sequence[str]
    reconstructions: Sequence[Reconstruction]
    interpolation: Sequence[str]
    costly: Sequence[Costly]
    command: str
    """What trains it again, but for the machine."""

    notes: Sequence[str]
    """What is to be known of its figures: lines that were left out, symbols it does not know, lines that stand in for a split."""

    @property
    def entropy(self) -> float | None:
        """Of the source it was trained on, where that is what was measured and it is known."""
        own = source_of(self.measured_on) == source_of(self.settings.corpus)
        return self.measured.evaluation.entropy if own else None


def tell(
    name: str,
    vae: TextVAE,
    corpus: str | Path | None = None,
    *,
    split: Split = "test",
    importance_samples: int = 100,
    column: str | None = None,
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
    told: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)
            measured = vae.measure(corpus, split=split, importance_samples=importance_samples, column=column, seed=seed, progress=progress)
    finally:
        for one in told:  # the page keeps ours, and whoever writes it hears of all, and of which run
            ours = issubclass(one.category, UserWarning) and is_ours(one.filename)
            warnings.warn_explicit(f"{name}: {one.message}" if ours else one.message, one.category, one.filename, one.lineno)
    lines = list(measured.lines)
    table = vae.tokenizer.encode(lines)
    latent, ends = bool(vae.model.latents.shapes), list(dict.fromkeys(lines))[:2]
    history, planned = MetricsLog(vae.folder.path / METRICS).read(), vae.folder.load()[0].steps
    verdict, collapsed = told_of_latent(measured.evaluation, vae.settings)
    return Told(
        name=name,
        folder=vae.folder.path,
        settings=vae.settings,
        steps=history[-1]["step"] if history else planned,
        planned=planned,
        history=history,
        training_lines=cache(vae.training_lines),
        measured_on=vae.settings.corpus if corpus is None else replace(vae.settings.corpus, path=str(corpus), column=column),
        measured=measured,
        whole=reads_back(vae.tokenizer, table, lines),
        tokenizer=vae.tokenizer.to_json(),
        verdict=verdict,
        collapsed=collapsed,
        samples=vae.sample(STRINGS, seed=seed),
        reconstructions=vae.reconstructions(lines[:STRINGS]) if latent else [],
        interpolation=vae.interpolate(ends[0], ends[1], STEPS) if latent and len(ends) == 2 else [],
        costly=_costly(measured, table.lengths),
        command=command_for(vae.settings, vae.folder.path),
        notes=[str(one.message) for one in told if issubclass(one.category, UserWarning) and is_ours(one.filename)],
    )


def told_of_latent(e: Evaluation, settings: RunSettings) -> tuple[str, bool]:
    """What is to be said of a latent, and whether it has collapsed."""
    if not e.latent_units:
        return "A model without a latent.", False
    verdict = verdict_on(e.latent_use, settings)
    if verdict:
        return verdict.message, verdict.collapsed
    rungs = f" ({' + '.join(f'{rate:.2f}' for rate in e.rate_per_rung)} by rung, bottom first)" if len(e.rate_per_rung) > 1 else ""
    units = f"{' + '.join(map(str, e.active_units_per_rung))} of {e.latent_units} units move with the line"
    says = f", {max(0.0, e.mutual_information):.2f} of them of the single text" if not e.latent_use.is_of_few_lines else ""
    carries = f"it carries {e.rate:.2f} nats{rungs}{says}, {units}"
    if e.latent_use.leaves_open(settings):
        return f"Too few lines to say whether the latent is in use: {carries}.", False
    if settings.objective.beta == 0:
        return f"Trained with a beta of 0, by which a rate costs nothing: {carries}.", False
    return f"The latent is in use: {carries}.", False


def _costly(measured: Measured, lengths: np.ndarray) -> list[Costly]:
    """The least probable lines for their lengths in tokens (N,), each once."""
    beyond = excess(-measured.bounds.importance_bound, lengths)
    chosen: dict[str, float] = {}
    for row in np.argsort(-beyond, kind="stable").tolist():
        chosen.setdefault(measured.lines[row], float(beyond[row]))
        if len(chosen) == STRINGS:
            break
    return [Costly(text=text, excess=nats) for text, nats in chosen.items()]
