"""Records of the same row and variant, over their seeds: means, standard deviations, and how they stand to the printed row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any, final

from textvae.study.printed import Printed
from textvae.study.tables import LONGER, WITHOUT_LATENT, Table

MEASURED = (
    "elbo",
    "distortion",
    "rate",
    "importance_bound",
    "gap",
    "bits_per_character",
    "mutual_information",
    "mutual_information_cap",
    "active_units",
    "latent_units",
)
"""What is averaged of `test`, by its name there."""


@final
@dataclass(frozen=True, kw_only=True)
class Summary:
    """One row and variant of a table, measured on test; means over seeds, in nats a sequence unless named otherwise."""

    row: str
    label: str
    variant: str
    preset: str
    beta: float
    free_bits: float
    free_bits_per: str
    seeds: tuple[int, ...]
    sequences: int
    """Of test, on which all is measured."""

    mean: dict[str, float | None]
    sd: dict[str, float | None]
    """Standard deviation over seeds; None for a single one."""

    standard_error: float
    """Of the ELBO of one run, over the sequences of test (a mean over seeds): how far another test set of this size would move it."""

    rate_per_rung: tuple[float, ...]
    active_units_per_rung: tuple[float, ...]
    character_accuracy: float
    exact_match: float
    paper: dict[str, float]
    """The study's own columns, which mix units."""

    parameters: int
    steps: int
    seconds: float
    """Of training, a run's mean."""

    commits: tuple[str, ...]
    valid_elbo: float
    """On valid, where runs are chosen."""

    printed: Printed | None
    dominates: bool | None
    """Whether distortion and rate both lie below the printed ones, the rate at or above the table's least one; None where
    nothing was printed."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; the printed row with what it says in nats a sequence."""
        told = asdict(self)
        if self.printed is not None:
            told["printed"] |= {"distortion": self.printed.distortion, "rate": self.printed.rate, "true_elbo": self.printed.true_elbo}
        return told


def summaries(table: Table, records: Sequence[Mapping[str, Any]]) -> list[Summary]:
    """Every row and variant that has records, in the table's order."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["row"], record["variant"]), []).append(record)
    order = [row.name for row in table.rows]
    return [_summary(table, group) for _, group in sorted(groups.items(), key=lambda item: order.index(item[0][0]))]


def best_first(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The best record of each row whose latent is used, the highest ELBO on valid first; runs with a purpose of their own are left out."""
    return _best_of_rows([record for record in records if record["valid"]["active_units"]])


def best_without_latent(records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The record of `lm` with the highest ELBO on valid; None where there is none."""
    return next(iter(_best_of_rows([record for record in records if record["row"] == WITHOUT_LATENT])), None)


def _best_of_rows(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    ordered = sorted(records, key=lambda record: -record["valid"]["elbo"])
    best: dict[str, Mapping[str, Any]] = {}
    for record in ordered:
        if record["variant"] in ("elbo", LONGER):
            best.setdefault(record["row"], record)
    return list(best.values())


def _summary(table: Table, group: Sequence[Mapping[str, Any]]) -> Summary:
    first, tests = group[0], [record["test"] for record in group]
    row = table.row(first["row"])
    means = {name: _mean([test[name] for test in tests]) for name in MEASURED}
    distortion, rate = means["distortion"], means["rate"]
    assert distortion is not None and rate is not None
    return Summary(
        row=row.name,
        label=row.label,
        variant=first["variant"],
        preset=first["preset"],
        **{name: first["objective"][name] for name in ("beta", "free_bits", "free_bits_per")},
        seeds=tuple(record["seed"] for record in group),
        sequences=tests[0]["sequences"],
        mean=means,
        sd={name: _sd([test[name] for test in tests]) for name in MEASURED},
        standard_error=mean(test["standard_error"]["elbo"] for test in tests),
        rate_per_rung=_columns([test["rate_per_rung"] for test in tests]),
        active_units_per_rung=_columns([test["active_units_per_rung"] for test in tests]),
        character_accuracy=mean(test["reconstruction"]["character_accuracy"] for test in tests),
        exact_match=mean(test["reconstruction"]["exact_match"] for test in tests),
        paper={name: mean(test["paper"][name] for test in tests) for name in ("elbo", "reconstruction", "kl")},
        parameters=first["parameters"],
        steps=first["steps"],
        seconds=mean(record["training_seconds"] for record in group),
        commits=tuple(dict.fromkeys(commit for record in group for commit in record["commits"])),
        valid_elbo=mean(record["valid"]["elbo"] for record in group),
        printed=row.printed,
        dominates=row.printed.dominated_by(distortion, rate, table.least_rate) if row.printed else None,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None


def _sd(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return stdev(known) if len(known) == len(values) > 1 else None


def _columns(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Means of each column; runs of one row have the same rungs."""
    return tuple(mean(column) for column in zip(*rows, strict=True))
