"""A quick look at the valid split during training: one sample a line, at most a fixed number of lines."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch

from textvae.config import ObjectiveSettings
from textvae.data.batches import in_order
from textvae.data.tokens import TokenTable
from textvae.evaluation.diagnostics import ActiveUnits, Surveyor, mutual_information, rate_below_cap
from textvae.model.inference import inference, lines_at_once
from textvae.model.text_model import LatentTextModel
from textvae.training.objective import batch_means, loss_of

MONITOR_LINES = 2_000
"""Most lines of valid that are looked at during training; `textvae evaluate` measures them all."""

INFORMED_LINES = 500
"""Most of these whose mutual information with z is measured: it compares each with each."""

PAIRED_NUMBERS = 20_000_000
"""Most numbers of z below the top, over all pairs of lines, that this may take (a tenth of a second): ladders of large maps pair fewer."""


@final
@dataclass(frozen=True)
class Glance:
    """What a look at valid showed, in nats a sequence."""

    loss: float
    """The objective at its largest beta, free bits included: comparable between steps whatever the schedule did."""

    distortion: float
    rate_per_rung: list[float]
    active_units_per_rung: list[int]
    mutual_information: float
    rate_below_cap: float
    """What of the rate that could have shown (`evaluation.diagnostics.rate_below_cap`)."""

    sequences: int
    """How many lines were looked at."""

    @property
    def rate(self) -> float:
        """Sum over rungs."""
        return sum(self.rate_per_rung, 0.0)

    def as_metrics(self) -> dict[str, Any]:
        """The `valid` part of a line of metrics.jsonl."""
        return {
            "elbo": -self.distortion - self.rate,
            "distortion": self.distortion,
            "rate": self.rate,
            "rate_per_rung": self.rate_per_rung,
            "active_units_per_rung": self.active_units_per_rung,
            "mutual_information": self.mutual_information,
            "rate_below_cap": self.rate_below_cap,
            "loss": self.loss,
            "sequences": self.sequences,
        }


def guessing(table: TokenTable, vocabulary: int) -> float:
    """What a line of a table costs whoever guesses each of its tokens among so many symbols, nats a sequence."""
    return float(table.lengths.mean()) * math.log(vocabulary)


def glance(model: LatentTextModel, table: TokenTable, objective: ObjectiveSettings) -> Glance:
    """Measure (at most) the first `MONITOR_LINES` of a table with noise that is the same at every look."""
    some = table if len(table) <= MONITOR_LINES else table.select(np.arange(MONITOR_LINES))
    lengths, generator = some.lengths, torch.Generator(model.device).manual_seed(0)
    total, units = torch.zeros(2 + len(model.latents.shapes), dtype=torch.float64), ActiveUnits(model)
    below_top = sum(shape.positions * shape.channels for shape in model.latents.shapes[:-1])
    pairs = PAIRED_NUMBERS // max(1, below_top)
    informed = np.arange(min(len(some), INFORMED_LINES, max(2, math.isqrt(pairs))))
    surveyor = Surveyor(model, len(informed), informed)
    with inference(model):
        for rows, batch in in_order(some, lines_at_once(model), model.max_tokens):
            terms = model(torch.from_numpy(batch).to(model.device), generator)
            loss = loss_of(terms, objective.beta, objective)
            total += torch.cat([loss[None], batch_means(terms)]).double().cpu() * len(rows)
            units.add(terms.rungs, lengths[rows])
            surveyor.add(rows, terms.rungs)
        found = surveyor.survey
        information, shown = mutual_information(found), rate_below_cap(found)
    loss_mean, distortion, *rates = (total / len(some)).tolist()
    return Glance(loss_mean, distortion, rates, units.counts(), information, shown, len(some))
