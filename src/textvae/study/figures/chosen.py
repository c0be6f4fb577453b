"""Which records and models of a study's folder its pictures show: chosen on valid, never by their looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

from textvae.api import TextVAE, load
from textvae.errors import RunError
from textvae.layering import layered
from textvae.study.jobs import SAMPLES, Budget, Job, run_name
from textvae.study.records import Records, is_finished
from textvae.study.summaries import best_first
from textvae.study.tables import SMOKE, SMOKE_SAMPLES, Table, jobs

Record = Mapping[str, Any]
"""As `records.py` lays it out."""


def plane_job(budget: Budget) -> Job:
    """The training of the two-dimensional toy model: `rnn-dense` with two latent channels of 2 free nats each."""
    plane = {
        "model": {"latent": {"channels": [2]}},
        "objective": {"free_bits": 2.0, "free_bits_per": "channel"},
        "training": {"steps": 5000, "seed": 0},
    }
    return Job(
        table="figures",
        budget=budget,
        row="rnn-dense",
        variant="plane",
        seed=0,
        preset="best/toy/rnn-dense",
        changes=layered(plane, SMOKE) if budget == "smoke" else plane,
        importance_samples=SMOKE_SAMPLES if budget == "smoke" else SAMPLES,
    )


@final
@dataclass(frozen=True)
class Chosen:
    """What a study's folder holds for the pictures of one budget."""

    folder: Path
    budget: Budget
    corpus: str | None
    """Where the tweets lie, if not where the presets say."""

    def records(self, table: Table) -> list[Record]:
        """The records of a table's jobs that are done, in the table's order. Raises `RunError` where none is."""
        found = [self._records.find(job) for job in jobs(table, self.budget, None if table.drawn else self.corpus)]
        order = [row.name for row in table.rows]
        kept = [record for record in found if record is not None]
        if not kept:
            told = f"textvae reproduce {table.name} --budget {self.budget} --out {self.folder}"
            raise RunError(f"{self.folder} has no record of {table.name} at budget {self.budget}: make them with {told}")
        return sorted(kept, key=lambda record: order.index(record["row"]))

    def best(self, table: Table) -> Record:
        """The first of `best_first`, of the records whose models are here; raises `RunError` where none is."""
        ordered = best_first(self._with_model(table))
        if not ordered:
            raise RunError(f"{self.folder} has models of {table.name} that were trained for other ends only: {self._trained_by(table)}")
        return ordered[0]

    def closest(self, table: Table) -> Record:
        """The one with the least distortion on valid, of any variant, of the records whose models are here; raises `RunError` likewise."""
        return min(self._with_model(table), key=lambda record: record["valid"]["distortion"])

    def plane(self) -> TextVAE:
        """The two-dimensional toy model. Raises `RunError` where it is not trained."""
        job = plane_job(self.budget)
        if self._records.find(job) is None:
            raise RunError(f"{self.folder} has no two-dimensional model of the toy set: `textvae reproduce figures` trains it")
        return load(self._records.run(job))

    def model(self, record: Record) -> TextVAE:
        """The model of a record. Raises `RunError` where its run is not in the folder."""
        return load(self._run(record))

    def _run(self, record: Record) -> Path:
        return self._records.run(Job.from_dict({field.name: record[field.name] for field in fields(Job)}))

    def _with_model(self, table: Table) -> list[Record]:
        """Records travel with a repository, runs do not: what was trained on another machine, or swept away, cannot be shown."""
        used = [record for record in self.records(table) if record["valid"]["active_units"]]
        if not used:
            raise RunError(f"no record of {table.name} has an active unit: train another row than lm")
        here = [record for record in used if is_finished(self._run(record))]
        if not here:
            told = f"{self.folder} has records of {table.name}, but under runs/ no model that they are of"
            raise RunError(f"{told}: {self._trained_by(table)}")
        return here

    def _trained_by(self, table: Table) -> str:
        return f"textvae reproduce {table.name} --budget {self.budget} with another --out trains some"

    @property
    def _records(self) -> Records:
        return Records(self.folder)


def label(record: Record) -> str:
    """What a record's model is called in a picture."""
    return f"{run_name(record['row'], record['variant'])}, seed {record['seed']}"
