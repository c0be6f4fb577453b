"""What is told of a single string."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


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
