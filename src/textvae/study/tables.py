"""What each table trains: rows, the presets behind them, seeds. Nothing here trains; `runner.py` does.

Every row of budget `best` is trained for its ELBO (variant `elbo`), and where one term of that run lies above the printed row's, a
second time (`dominating`: other settings, chosen on valid, beta and free bits before any), so that both lie below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from textvae.errors import ConfigError, did_you_mean
from textvae.layering import layered
from textvae.study.jobs import SAMPLES, Budget, Job
from textvae.study.printed import TABLE_1, TABLE_2, Printed

Changes = Mapping[str, Any]
"""Nested settings, laid over a preset."""


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table; its name is that of its presets."""

    name: str
    label: str
    """As the study writes it."""

    printed: Printed | None = None
    """None for rows the study has not."""

    dominating: Changes = field(default_factory=dict)
    """What makes of the row's `best` preset the run that dominates the printed row; empty where the best ELBO does."""

    seeds: int = 1
    variants: Mapping[str, Changes] = field(default_factory=dict)
    """More runs to compare with, by name, one seed each; `best` only."""


@final
@dataclass(frozen=True, kw_only=True)
class Table:
    """One of the study's tables."""

    name: str
    title: str
    presets: str
    """`study/{presets}/ROW` and `best/{presets}/ROW`."""

    rows: tuple[Row, ...]
    least_rate: float = 0.0
    """Nats that z must carry for a run to dominate a printed row: less of both is easy where z is not used."""

    corpus: Changes = field(default_factory=dict)
    """Settings of the corpus, over the presets'; budget `paper` has its own besides."""

    paper: Changes = field(default_factory=dict)
    """What budget `paper` lays over the study's presets."""

    written: str | None = None
    """The name of Table 3 of what its best models write; None where there is none."""

    @property
    def drawn(self) -> bool:
        """Whether the corpus is drawn from a source rather than read."""
        return self.presets == "toy"

    def row(self, name: str) -> Row:
        """A row by name; raises `ConfigError` with the nearest one where there is none."""
        for row in self.rows:
            if row.name == name:
                return row
        several = " Give --rows once for each." if "," in name else ""
        raise ConfigError(f"{self.name} has no row {name!r}.{several}{did_you_mean(name, [row.name for row in self.rows])}")


SMOKE: Changes = {"corpus": {"draws": 2_000, "held_out_draws": 300}, "training": {"steps": 60}}
"""What budget `smoke` lays over the `best` presets: enough to see every row run."""

SMOKE_SAMPLES = 5

LONGER = "longer"
"""The variant of a few rows that is trained for more steps than there is time for in all of them."""

FREE = "free-"
"""How the variants of a row with more and more free nats begin."""

SELF_FED: Mapping[str, Changes] = {"self-fed": {"model": {"decoder": {"feeding": "self"}}}}
"""A row whose decoder reads its own symbols, as the study's do, and all else the same: what teacher forcing alone is worth."""

WITHOUT_LATENT = "lm"
"""The row of the same decoder without a latent."""


def jobs(table: Table, budget: Budget, corpus: str | None = None, rows: tuple[str, ...] = (), seeds: int | None = None) -> list[Job]:
    """Every training of a table at a budget, the first seed of each row before the others.

    Args:
        table: which.
        budget: `smoke`, `paper` or `best`.
        corpus: where the lines lie, if not where the presets say.
        rows: only these, by name.
        seeds: at most so many of each row.

    Raises:
        ConfigError: a row that is not in the table, a corpus for the toy set, or a budget that has none of the rows.
    """
    if corpus and table.drawn:
        raise ConfigError(f"{table.name} is of the toy set, which is drawn, not read: leave out --corpus")
    chosen = [table.row(name) for name in dict.fromkeys(rows)] or list(table.rows)
    where = {"corpus": {"path": corpus}} if corpus else {}
    found = [job for row in chosen for job in _of_row(table, row, budget, where, seeds)]
    if not found:
        what = rows[0] if rows else table.name
        raise ConfigError(f"the study has no recipe for {what}, so there is none at budget paper: use --budget best")
    return sorted(found, key=lambda job: job.seed)


def _of_row(table: Table, row: Row, budget: Budget, where: Changes, seeds: int | None) -> Iterator[Job]:
    if budget == "paper" and row.printed is None:
        return  # the study has no such row, and so no recipe for it
    family = "study" if budget == "paper" else "best"
    below = layered({"corpus": dict(table.corpus)}, table.paper if budget == "paper" else SMOKE if budget == "smoke" else {}, where)

    def job(variant: str, seed: int, changes: Changes) -> Job:
        return Job(
            table=table.name,
            budget=budget,
            row=row.name,
            variant=variant,
            seed=seed,
            preset=f"{family}/{table.presets}/{row.name}",
            changes=layered(below, changes, {"training": {"seed": seed}}),
            importance_samples=SMOKE_SAMPLES if budget == "smoke" else SAMPLES,
        )

    for seed in range(1 if budget == "smoke" else min(row.seeds, seeds or row.seeds)):
        yield job("elbo", seed, {})
    if budget == "best":
        if row.dominating:
            yield job("dominating", 0, row.dominating)
        for variant, changes in row.variants.items():
            yield job(variant, 0, changes)


def _charged(beta: float) -> Changes:
    """A rate that is charged beta a nat; the row's free bits stay, so that no rung of a ladder falls silent."""
    return {"objective": {"beta": beta}}


def _longer(steps: int = 15_000, free_bits: float | None = None) -> Mapping[str, Changes]:
    """A row for more steps than the presets' 6,000; more free nats too where its rate would not reach 6."""
    free = {} if free_bits is None else {"objective": {"free_bits": free_bits}}
    return {LONGER: {"training": {"steps": steps}, **free}}


def _free(nats: float) -> Changes:
    """So many free nats in all, in two channels; 5,000 steps, so that the points of the curve differ in nothing else."""
    return {"objective": {"free_bits": nats / 2, "free_bits_per": "channel"}, "training": {"steps": 5000}}


TABLE1 = Table(
    name="table1",
    title="Table 1: the toy set",
    presets="toy",
    least_rate=1.0,
    rows=(
        Row(
            name="rnn-dense",
            label="RNN (DLS)",
            printed=TABLE_1["rnn-dense"],
            seeds=3,
            variants={**{f"{FREE}{nats}": _free(nats) for nats in (1, 2.6, 4, 5, 6, 7, 8)}, **SELF_FED},
        ),
        Row(name="cnn-dense", label="CNN (DLS)", printed=TABLE_1["cnn-dense"], seeds=3),
        Row(name="hybrid-dense", label="Hybrid (DLS)", printed=TABLE_1["hybrid-dense"], seeds=3),
        Row(name="rnn-map", label="RNN (FMP)", printed=TABLE_1["rnn-map"], seeds=3),
        Row(name="cnn-map", label="CNN (FMP)", printed=TABLE_1["cnn-map"], seeds=3),
        Row(name="hybrid-map", label="Hybrid (FMP)", printed=TABLE_1["hybrid-map"], seeds=3),
        Row(
            name="ladder-3",
            label="LVAE (3)",
            printed=TABLE_1["ladder-3"],
            dominating=layered(_charged(0.005), {"training": {"steps": 15_000}}),  # its printed distortion is 0.75: nearly nothing
            seeds=3,
        ),
        Row(name="ladder-cnn-3", label="LCNNVAE (3)", printed=TABLE_1["ladder-cnn-3"], seeds=3),
    ),
)

POSITION_LADDER: Changes = {
    "model": {
        "latent": {"shape": "map", "channels": [8, 8, 8]},
        "ladder": {"embedding": 64, "hidden": [128, 128, 128]},
    },
    "objective": {"beta": 0.4},
}
"""A ladder of linear layers position by position, as the study's own is: a dense one does not carry so much."""

TABLE2 = Table(
    name="table2",
    title="Table 2: tweets of fewer than 32 characters",
    presets="tweets",
    written="table3",
    least_rate=3.0,
    paper={"training": {"epochs": 20.0, "evaluate_every": 590}, "corpus": {"split": "random"}},
    rows=(
        Row(name="lm", label="no latent", variants=_longer()),
        Row(
            name="hybrid-dense",
            label="Hybrid (DLS)",
            printed=TABLE_2["hybrid-dense"],
            dominating={"objective": {"free_bits": 1.0}},  # its printed rate is 5.2: a smaller one, not less distortion
            variants=SELF_FED,
        ),
        Row(
            name="rnn-map",
            label="RNN (FMP)",
            printed=TABLE_2["rnn-map"],
            dominating=_charged(0.4),
            seeds=3,
            variants=_longer(25_000, free_bits=6.3),
        ),
        Row(name="cnn-map", label="CNN (FMP)", printed=TABLE_2["cnn-map"], dominating=_charged(0.75)),
        Row(name="hybrid-map", label="Hybrid (FMP)", printed=TABLE_2["hybrid-map"], dominating=_charged(0.12)),
        Row(name="ladder-3", label="LVAE (3)", printed=TABLE_2["ladder-3"], dominating=POSITION_LADDER, variants=_longer()),
        Row(name="ladder-cnn-3", label="LCNNVAE (3)", printed=TABLE_2["ladder-cnn-3"], dominating=_charged(0.45), seeds=3),
        Row(name="ladder-5", label="LVAE (5)", printed=TABLE_2["ladder-5"]),
        Row(name="ladder-cnn-5", label="LCNNVAE (5)", printed=TABLE_2["ladder-cnn-5"], dominating=_charged(0.6), seeds=3),
    ),
)


def _larger(**layers: Any) -> Mapping[str, Changes]:
    """A row for 10,000 steps with a wider decoder and little dropout: each of these lines is seen six times only."""
    decoder = {"hidden": 512, "dropout": 0.05}
    return {LONGER: {"training": {"steps": 10_000}, "model": {"decoder": decoder, **layers}}}


TABLE2_LONG = Table(
    name="table2-long",
    title="Table 2 on tweets of up to 127 characters",
    presets="tweets",
    written="table3-long",
    corpus={"max_length": 127},
    rows=(
        Row(name="lm", label="no latent", variants=_larger()),
        Row(name="hybrid-dense", label="Hybrid (DLS)"),
        Row(name="rnn-map", label="RNN (FMP)"),
        Row(name="ladder-cnn-3", label="LCNNVAE (3)", variants=_larger(ladder={"dropout": 0.05})),
        Row(name="ladder-cnn-5", label="LCNNVAE (5)"),
    ),
)

NORMAL = {"normal": {"model": {"latent": {"prior": "normal"}}}}
"""A mixture row's own comparison: all the same but the prior."""

FUTURE_TOY = Table(
    name="future-toy",
    title="The study's future work on the toy set",
    presets="toy",
    rows=(
        Row(name="ladder-rnn-3", label="Ladder of recurrent layers (7.2)"),
        Row(name="rnn-dense-mixture", label="Gaussian-mixture prior (7.3)", variants=NORMAL),
    ),
)

FUTURE_TWEETS = Table(
    name="future-tweets",
    title="The study's future work on tweets of fewer than 32 characters",
    presets="tweets",
    rows=(
        Row(name="ladder-rnn-3", label="Ladder of recurrent layers (7.2)"),
        Row(name="hybrid-dense-mixture", label="Gaussian-mixture prior (7.3)", variants=NORMAL),
    ),
)

TABLES = {table.name: table for table in (TABLE1, TABLE2, TABLE2_LONG, FUTURE_TOY, FUTURE_TWEETS)}
WRITTEN = {table.written: table for table in TABLES.values() if table.written}
"""By the name of the Table 3 that shows what their best models write."""
