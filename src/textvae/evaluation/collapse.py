"""The verdict on collapse, from what was measured. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

SILENT_RUNG = 0.1
"""A rung that carries fewer nats than this says nothing about the text."""

DECODER_REMEDIES = "model.decoder.word_dropout, a smaller model.decoder.hidden"
"""The settings that make a decoder ask z."""

REMEDIES = f"objective.free_bits, objective.schedule cyclical or a longer objective.warmup, objective.beta below 1, {DECODER_REMEDIES}"
"""The settings that help against collapse."""


def collapse_warning(rates_per_rung: Sequence[float], active_units: int) -> str | None:
    """One line that says which part of the latent is not used and which settings help, or None where all is well.

    A rung is not used if it carries less than `SILENT_RUNG` (rates in nats a sequence, bottom rung first); the whole
    latent is not if no unit is active. None for a model without rungs.
    """
    if not rates_per_rung:
        return None
    rungs = len(rates_per_rung)
    silent = [i for i, rate in enumerate(rates_per_rung, 1) if rate < SILENT_RUNG]
    if len(silent) == rungs:
        measured = f"{sum(rates_per_rung):.2f} nats, {active_units} active units"
        what = f"the latent has collapsed ({measured}): z says next to nothing about the text"
    elif active_units == 0:
        return (
            f"no unit of the latent moves with the text, though its rate is {sum(rates_per_rung):.2f} nats: what free bits allow it says "
            f"nothing with; what helps: more training.steps, {DECODER_REMEDIES}"
        )
    elif silent:
        names = " and ".join(f"rung {i} ({rates_per_rung[i - 1]:.2f} nats)" for i in silent)
        what = f"of {rungs} rungs (1 is the bottom) {names} {'has' if len(silent) == 1 else 'have'} collapsed"
    else:
        return None
    return f"{what}; what helps: {REMEDIES}"
