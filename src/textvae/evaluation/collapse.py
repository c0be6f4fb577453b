"""The verdict on collapse, from what was measured, and which of the run's settings help. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from textvae.settings import RunSettings

ENOUGH = 30
"""Lines below which nothing is said of a collapse: whether a unit moves with the line, few lines do not show."""

FEW_STEPS = 500
"""Training steps below which more of them are named first: sooner a latent is seldom in use."""

SILENT_RUNG = 0.1
"""A rung that carries fewer nats than this says nothing about the text."""


def collapse_warning(rates_per_rung: Sequence[float], active_units: int, settings: RunSettings) -> str | None:
    """One line that says which part of the latent is not used and what in a run's settings helps, or None where all is well.

    A rung is not used if it carries less than `SILENT_RUNG` (rates in nats a sequence, bottom rung first); the whole
    latent is not if no unit is active. None for a model without rungs, and with a beta of 0, where a rate costs nothing.
    """
    if not rates_per_rung or settings.objective.beta == 0:
        return None
    rungs = len(rates_per_rung)
    silent = [i for i, rate in enumerate(rates_per_rung, 1) if rate < SILENT_RUNG]
    if len(silent) == rungs:
        measured = f"{sum(rates_per_rung):.2f} nats, {active_units} active units"
        what = f"the latent has collapsed ({measured}): z says next to nothing about the text"
    elif active_units == 0:
        carried = f"its rate is {sum(rates_per_rung):.2f} nats"
        if settings.objective.free_bits:
            carried += ": what free bits allow it says nothing with"
        helps = ", ".join(["more training.steps", *_for_the_decoder(settings)])
        return f"no unit of the latent moves with the text, though {carried}; what helps: {helps}"
    elif silent:
        names = " and ".join(f"rung {i} ({rates_per_rung[i - 1]:.2f} nats)" for i in silent)
        what = f"of {rungs} rungs (1 is the bottom) {names} {'has' if len(silent) == 1 else 'have'} collapsed"
    else:
        return None
    steps = settings.training.steps
    longer = [f"more training.steps than {steps:,}"] if steps is not None and steps < FEW_STEPS else []
    return f"{what}; what helps: {', '.join([*longer, *_for_the_rate(settings), *_for_the_decoder(settings)])}"


def _for_the_rate(settings: RunSettings) -> list[str]:
    """What makes a rate cost less, or later."""
    objective, latent = settings.objective, settings.model.latent
    mixed = latent.prior == "mixture" and objective.free_bits_per == "channel"
    free_bits = "objective.free_bits with objective.free_bits_per rung" if mixed else "objective.free_bits"
    beta = "objective.beta below 1" if objective.beta >= 1 else f"an objective.beta below {objective.beta:g}"
    return [
        f"more {free_bits} than {objective.free_bits:g}" if objective.free_bits else free_bits,
        {
            "constant": "objective.schedule linear or cyclical",
            "linear": "a longer objective.warmup or objective.schedule cyclical",
            "sigmoid": "a longer objective.warmup or objective.schedule cyclical",
            "cyclical": "a longer objective.warmup",
        }[objective.schedule],
        beta,
    ]


def _for_the_decoder(settings: RunSettings) -> list[str]:
    """What makes a decoder that reads its own output ask z."""
    decoder = getattr(settings.model, "decoder", None)
    if decoder is None:  # every symbol is written from z alone
        return []
    more = "more " if decoder.word_dropout else ""
    return [*([f"{more}model.decoder.word_dropout"] if decoder.feeding == "teacher" else []), "a smaller model.decoder.hidden"]
