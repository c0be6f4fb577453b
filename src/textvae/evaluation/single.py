"""What is told of a single string."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from textvae.evaluation.bounds import Bounds


@final
@dataclass(frozen=True)
class Score:
    """How probable a model finds one string."""

    text: str
    elbo: float
    """Evidence lower bound, nats."""

    importance_bound: float
    """Tighter bound on log p(x) from the same samples, nats."""

    bits_per_character: float
    """From the importance bound, over the characters the model read (none count as one)."""

    sampling_error: dict[str, float | None]
    """Of `elbo` and `importance_bound`: by how much other samples of z, as of another seed, would move them (standard errors). None where
    the samples do not tell: with one of them, and of the bound where fewer than `FEWEST` carry the sum. That the bound lies below
    log p(x) on average is not in it."""


def scores(texts: Sequence[str], read: Sequence[str], bounds: Bounds) -> list[Score]:
    """What was measured of N texts, each as the model read it, text by text."""
    numbers = np.stack([bounds.elbo, bounds.importance_bound, *bounds.sampling_errors])
    return [
        Score(
            text,
            elbo,
            bound,
            -bound / math.log(2) / max(1, len(seen)),
            {name: None if math.isnan(error) else error for name, error in (("elbo", of_elbo), ("importance_bound", of_bound))},
        )
        for text, seen, (elbo, bound, of_elbo, of_bound) in zip(texts, read, numbers.T.tolist(), strict=True)
    ]


@final
@dataclass(frozen=True)
class Odd:
    """A string among others, and how far beyond theirs its cost is."""

    number: int
    """Which of them, from 1 on."""

    text: str
    excess: float
    """What it costs above the usual for its length among them, nats (`evaluation.oddness`)."""

    importance_bound: float
    """Bound on log p(x), nats."""


@final
@dataclass(frozen=True)
class Reconstruction:
    """One string through the latent and back."""

    input: str
    """The string as the model reads it: a symbol it does not know is �, and what is too long is cut."""

    output: str
    distortion: float
    """-log p(input | posterior mean), nats."""

    rate: float
    """KL of the posterior from the prior, nats."""
