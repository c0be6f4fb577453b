"""The figures of the study's Tables 1 and 2, as printed, and what they say in nats a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

TOY_POSITIONS, TWEET_POSITIONS = 16, 32
"""T_max of the study's columns: its reconstruction is a mean over so many positions, padding included."""


@final
@dataclass(frozen=True)
class Printed:
    """One printed row. Its columns mix units: the reconstruction is a position's mean, the KL a sequence's sum."""

    elbo: float
    """The study's "ELBO": reconstruction - KL as printed, which is no bound on log p(x)."""

    reconstruction: float
    kl: float
    positions: int

    @property
    def distortion(self) -> float:
        """-log p(x|z) in nats a sequence."""
        return -self.reconstruction * self.positions

    @property
    def rate(self) -> float:
        """KL in nats a sequence."""
        return self.kl

    @property
    def true_elbo(self) -> float:
        """What the two figures make in one unit, nats a sequence."""
        return -(self.distortion + self.rate)

    def dominated_by(self, distortion: float, rate: float, least_rate: float = 0.0) -> bool:
        """Whether a model with these two, nats a sequence, has less of both, and a rate of at least `least_rate`."""
        return distortion < self.distortion and least_rate <= rate < self.rate


def _toy(elbo: float, reconstruction: float, kl: float) -> Printed:
    return Printed(elbo, reconstruction, kl, TOY_POSITIONS)


def _tweets(elbo: float, reconstruction: float, kl: float) -> Printed:
    return Printed(elbo, reconstruction, kl, TWEET_POSITIONS)


TABLE_1 = {
    "rnn-dense": _toy(-32.1391, -0.5785, 31.5606),
    "cnn-dense": _toy(-30.3672, -0.5629, 29.8043),
    "hybrid-dense": _toy(-40.5706, -0.6674, 39.9032),
    "rnn-map": _toy(-57.5177, -0.4392, 57.0785),
    "cnn-map": _toy(-38.3562, -0.6751, 37.6811),
    "hybrid-map": _toy(-47.1217, -0.4559, 46.6658),
    "ladder-3": _toy(-40.6343, -0.0471, 40.5872),
    "ladder-cnn-3": _toy(-32.4996, -0.5746, 31.9250),
}

TABLE_2 = {
    "hybrid-dense": _tweets(-7.0757, -1.8679, 5.2078),
    "rnn-map": _tweets(-54.4468, -0.5846, 53.8622),
    "cnn-map": _tweets(-48.1877, -0.5796, 47.6082),
    "hybrid-map": _tweets(-58.839, -0.5022, 58.9239),  # as printed: the three do not add up
    "ladder-3": _tweets(-72.8252, -0.5495, 72.2757),
    "ladder-cnn-3": _tweets(-53.4142, -0.4337, 52.9805),
    "ladder-5": _tweets(-69.3656, -1.5351, 67.8305),
    "ladder-cnn-5": _tweets(-42.2702, -0.8711, 41.3991),
}
