"""One training to do: which row of which table, with which settings; two with the same settings are one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, final

from textvae.layering import dotted, layered
from textvae.settings import RunSettings, resolve, to_dict
from textvae.study.commands import command_of

Budget = Literal["smoke", "paper", "best"]
"""smoke: minutes, to see that it runs; paper: the study's sizes and recipe; best: ours within the same parameters."""


SAMPLES = 100
"""Importance samples on test, but for budget `smoke`."""


def run_name(row: str, variant: str) -> str:
    """What a run is called beside others of its table: its row, and its variant unless that is the best ELBO."""
    return row if variant == "elbo" else f"{row} {variant}"


ADDED = (
    ("training", "start_from", None),
    ("corpus", "spaces", "keep"),
    ("corpus", "blank_lines", "keep"),
    ("corpus", "copies", "keep"),
)
"""Settings that came after the first records, and the value at which these stand as they were made."""


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """A training and its evaluation on test."""

    table: str
    budget: Budget
    row: str
    variant: str
    """What the run is for: `elbo` (the row's best ELBO), `dominating` (less of both terms than the printed row), or a point of a curve."""

    seed: int
    preset: str
    changes: Mapping[str, Any]
    """Nested settings laid over the preset, the seed among them."""

    importance_samples: int = SAMPLES

    @property
    def name(self) -> str:
        """A file's name: row, variant, seed."""
        return f"{self.row}-{self.variant}-seed{self.seed}"

    @property
    def settings(self) -> RunSettings:
        """The whole settings of the run."""
        return resolve(self.preset, None, self.changes)

    @property
    def identity(self) -> str:
        """A short hash of all that decides the result; where the corpus lies on this machine and how a GPU is launched do not."""
        told = to_dict(self.settings)
        told["corpus"]["path"] = Path(told["corpus"]["path"]).name
        del told["training"]["graphs"]
        for part, name, default in ADDED:
            if told[part][name] == default:
                del told[part][name]
        text = json.dumps([told, self.importance_samples], sort_keys=True)
        return blake2b(text.encode(), digest_size=6).hexdigest()

    @property
    def command(self) -> str:
        """What a person types to train the same model."""
        flags = {name: value for name, value in dotted(self.changes).items() if name != "corpus.path"}
        return command_of(Path(self.settings.corpus.path).name, self.preset, flags)

    def anywhere(self) -> Job:
        """The same job with the corpus's name for its path: where it lies on this machine is told to nobody."""
        path = self.settings.corpus.path
        return replace(self, changes=layered(self.changes, {"corpus": {"path": Path(path).name}})) if "corpus" in self.changes else self

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {
            "table": self.table,
            "budget": self.budget,
            "row": self.row,
            "variant": self.variant,
            "seed": self.seed,
            "preset": self.preset,
            "changes": dict(self.changes),
            "importance_samples": self.importance_samples,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """The job of `to_dict`'s data."""
        return cls(**data)
