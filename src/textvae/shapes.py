"""The shape of a feature map, and the check that parts make before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from textvae.errors import ConfigError


@final
@dataclass(frozen=True)
class MapShape:
    """S positions of C channels: what one sequence looks like between two parts. Dense means S = 1."""

    positions: int
    channels: int

    def __str__(self) -> str:
        return f"{self.positions} positions x {self.channels} channels"


def check_joint(producer: str, produced: MapShape, consumer: str, expected: MapShape) -> None:
    """Raise `ConfigError` unless what one part makes is what the next one takes."""
    if produced != expected:
        raise ConfigError(
            f"{producer} makes {produced}, but {consumer} takes {expected}: give both the same shape in the architecture's build"
        )
