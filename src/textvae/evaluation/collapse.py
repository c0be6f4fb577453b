"""The verdict on a latent, from what was measured, and which of the run's settings help. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from textvae.architectures import find_architecture
from textvae.settings import RunSettings

ENOUGH = 30
"""Lines below which nothing is said of units that move with the line: few lines do not show it. That a rate is next to nothing they do."""

FEW_STEPS = 500
"""Training steps below which more of them are named first: sooner a latent is seldom in use."""

SILENT_RUNG = 0.1
"""A rung that carries fewer nats than this says nothing about the text."""


CONVEYED = 0.5
"""Of a rate, the share that is mutual information at the least; where it is less, most of the rate says nothing of the single text."""

CERTAIN = 0.3
"""Nats that are missing before that is said: the estimate is of some hundred lines."""


@final
@dataclass(frozen=True)
class LatentUse:
    """What was measured of a latent on some lines, in nats a sequence."""

    rate_per_rung: Sequence[float]
    """Bottom rung first; none of a model without a latent."""

    active_units: int
    information: float | None = None
    """I(x; z); None where it was not measured."""

    rate_below_cap: float = 0.0
    """What of the rate the estimate of it could show: the mean over lines of min(rate, log N)."""

    lines: int | None = None
    """How many lines were measured; None where that was not kept."""

    @classmethod
    def on_valid(cls, valid: Mapping[str, Any]) -> LatentUse:
        """Of a line's `valid` in metrics.jsonl; those of older runs have no mutual information, and no count of lines."""
        units, information = sum(valid["active_units_per_rung"]), valid.get("mutual_information")
        return cls(valid["rate_per_rung"], units, information, valid.get("rate_below_cap", 0.0), valid.get("sequences"))

    @property
    def is_of_few_lines(self) -> bool:
        """Whether the lines are too few to say which units move with them."""
        return self.lines is not None and self.lines < ENOUGH

    @property
    def rate(self) -> float:
        """Of all rungs."""
        return sum(self.rate_per_rung, 0.0)

    @property
    def misses_the_text(self) -> bool:
        """Whether most of the rate is what the z of all texts have in common and the prior has not.

        The rate is I(x; z) + KL[q(z) ‖ p(z)] (Hoffman and Johnson 2016), q(z) being the mean of all posteriors: the latter tells no
        text from another, and is what samples of the prior miss.
        """
        known, shown = self.information, self.rate_below_cap
        return known is not None and known < CONVEYED * shown and known < shown - CERTAIN

    @property
    def tells_texts_apart(self) -> bool:
        """Whether z says something of the single text, as far as that was measured."""
        return not self.is_of_few_lines and (self.information is None or self.information >= SILENT_RUNG)

    def leaves_open(self, settings: RunSettings) -> bool:
        """Whether the lines are too few to judge a latent that is not silent, and that a run's objective makes pay for its rate."""
        return bool(self.rate_per_rung) and self.is_of_few_lines and settings.objective.beta != 0


@final
@dataclass(frozen=True)
class Verdict:
    """What is to be said of a latent."""

    message: str
    """One line: what was measured, what that means, what in the run's settings helps."""

    collapsed: bool
    """Whether the latent or a part of it is not used; else it is, but its rate says more than it holds."""


def verdict_on(use: LatentUse, settings: RunSettings) -> Verdict | None:
    """Which part of a latent is not used and what in a run's settings helps, or None where all is well.

    A rung is not used if it carries less than `SILENT_RUNG`; the whole latent is not if no unit is active, which `ENOUGH` lines show.
    None for a model without rungs, with a beta of 0, where a rate costs nothing, and for a single line, which nothing need be said of.
    """
    rates = use.rate_per_rung
    if not rates or settings.objective.beta == 0 or use.lines == 1:
        return None
    silent = [i for i, rate in enumerate(rates, 1) if rate < SILENT_RUNG]
    if len(silent) == len(rates):
        measured = f"{use.rate:.2f} nats, {use.active_units} active units"
        what = f"the latent has collapsed ({measured}): z says next to nothing about the text"
    elif use.active_units == 0 and not use.is_of_few_lines:
        carried = f"its rate is {use.rate:.2f} nats"
        if settings.objective.free_bits:
            carried += ": what free bits allow it says nothing with"
        helps = ", ".join(["more training.steps", *_for_the_decoder(settings)])
        return Verdict(f"no unit of the latent moves with the text, though {carried}; what helps: {helps}", True)
    elif silent:
        names = " and ".join(f"rung {i} ({rates[i - 1]:.2f} nats)" for i in silent)
        what = f"of {len(rates)} rungs (1 is the bottom) {names} {'has' if len(silent) == 1 else 'have'} collapsed"
    elif use.misses_the_text and not use.is_of_few_lines:
        return Verdict(_missing(use, settings), False)
    else:
        return None
    return Verdict(f"{what}; what helps: {', '.join([*_longer(settings), *_for_the_rate(settings), *_for_the_decoder(settings)])}", True)


def _missing(use: LatentUse, settings: RunSettings) -> str:
    """What is said of a rate that tells little of the text."""
    objective, latent = settings.objective, getattr(settings.model, "latent", None)
    helps = ["more training.steps"]
    if objective.free_bits:
        helps.append(f"fewer objective.free_bits than {objective.free_bits:g}")
    elif getattr(latent, "prior", None) == "normal" and "mixture" in find_architecture(settings.architecture).priors:
        helps.append("model.latent.prior mixture")
    if objective.beta < 1:
        helps.append(f"an objective.beta above {objective.beta:g}")
    visible = f"{use.rate:.2f} nats"
    if use.rate_below_cap < use.rate - CERTAIN:
        visible += f" so many lines can show {use.rate_below_cap:.2f}, and"
    information = max(0.0, use.information or 0.0)
    return (
        f"of the rate's {visible} only {information:.2f} tell one text from another (mutual information): the rest is what the z of all "
        f"texts have and the prior has not, so that samples are unlike the texts; what helps: {', '.join(helps)}"
    )


def _longer(settings: RunSettings) -> list[str]:
    steps = settings.training.steps
    return [f"more training.steps than {steps:,}"] if steps is not None and steps < FEW_STEPS else []


def _for_the_rate(settings: RunSettings) -> list[str]:
    """What makes a rate cost less, or later: first what brought most where it was measured (docs/results.md)."""
    objective = settings.objective
    mixed = getattr(getattr(settings.model, "latent", None), "prior", None) == "mixture" and objective.free_bits_per == "channel"
    free_bits = "objective.free_bits with objective.free_bits_per rung" if mixed else "objective.free_bits"
    beta = "objective.beta 0.5" if objective.beta >= 1 else f"an objective.beta below {objective.beta:g}"
    return [
        *([f"objective.beta 1 (at {objective.beta:g} a nat of rate costs {objective.beta:g})"] if objective.beta > 1 else []),
        f"more {free_bits} than {objective.free_bits:g}" if objective.free_bits else f"{free_bits} (some nats)",
        beta,
        "a longer objective.warmup"
        if objective.schedule in ("linear", "sigmoid")
        else "objective.schedule linear with an objective.warmup of 0.5",
    ]


def _for_the_decoder(settings: RunSettings) -> list[str]:
    """What makes a decoder that reads its own output ask z."""
    decoder = getattr(settings.model, "decoder", None)
    if getattr(decoder, "feeding", None) != "teacher":  # every symbol is written from z alone, or by a decoder of the user's own
        return []
    return [f"{'more ' if getattr(decoder, 'word_dropout', 0) else ''}model.decoder.word_dropout (at a price in likelihood)"]
