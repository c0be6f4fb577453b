"""`textvae reproduce`: train what a table has not trained yet, and write the table as Markdown and JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import textvae
from textvae.config import require
from textvae.storage import write_atomically, write_json
from textvae.study.jobs import Budget, Job
from textvae.study.mixture import mixture_markdown, mixture_report
from textvae.study.pages.tables import page
from textvae.study.records import Records
from textvae.study.runner import Progress, finish
from textvae.study.summaries import Summary, summaries
from textvae.study.table3 import table3, table3_markdown
from textvae.study.tables import Table, jobs


def reproduce_table(
    table: Table,
    budget: Budget,
    out: Path,
    corpus: str | None = None,
    rows: Sequence[str] = (),
    seeds: int | None = None,
    processes: int | None = None,
    progress: Progress | None = None,
) -> list[Summary]:
    """Finish a table's trainings in the folder `out` and write its page; what is done already is not trained again.

    Args:
        table: which.
        budget: `smoke`, `paper` or `best`.
        out: the study's folder: `results/` (kept records), `runs/` (models), `TABLE-BUDGET.md` and `.json`.
        corpus: where the lines lie, if not where the presets say.
        rows: train only these now; the page shows all that are done.
        seeds: train at most so many seeds of a row now.
        processes: trainings side by side; by default one a core.
        progress: told where the work stands.

    Raises:
        UserError: a row that is not in the table, a corpus that is not there, or trainings that failed.
        KeyboardInterrupt: stopped; run again to go on.
    """
    require(seeds is None or seeds >= 1, f"seeds is {seeds}: must be at least 1")
    require(processes is None or processes >= 1, f"processes is {processes}: must be at least 1")
    finish(jobs(table, budget, corpus, tuple(rows), seeds), out, processes, progress)
    return write_page(table, budget, out, jobs(table, budget, corpus))


def write_page(table: Table, budget: Budget, out: Path, wanted: Sequence[Job]) -> list[Summary]:
    """Write the page and the JSON of the records that are there, and return their summaries."""
    records = Records(out)
    found = summaries(table, [record for record in map(records.find, wanted) if record is not None])
    command = f"textvae reproduce {table.name} --budget {budget} --out {out}"
    text = "\n".join([page(table, budget, found, command), *_mixtures(records, wanted)])
    write_atomically(out / f"{table.name}-{budget}.md", text.encode())
    told = {"schema": 1, "table": table.name, "budget": budget, "command": command, "rows": [one.to_dict() for one in found]}
    write_json(out / f"{table.name}-{budget}.json", told)
    return found


def _mixtures(records: Records, wanted: Sequence[Job]) -> Iterator[str]:
    """A section on the components of every model with a mixture prior that is still here, from the lines of valid."""
    for job in wanted:
        latent = getattr(job.settings.model, "latent", None)
        if latent is not None and latent.prior == "mixture" and records.has_model(job):
            vae = textvae.load(records.run(job))
            yield mixture_markdown(f"What the mixture of `{job.row}` has learned", mixture_report(vae, vae.prepared().lines["valid"]))


BEST_ROWS = 3
"""Rows of Table 2 whose models Table 3 shows, by their ELBO on valid; the decoder without a latent stands beside them."""


def reproduce_table3(
    table: Table,
    budget: Budget,
    out: Path,
    corpus: str | None = None,
    processes: int | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Samples, reconstructions and interpolations of a table's best models, with figures beside those of real text.

    Trains what of the table's first seeds is missing, writes `NAME-BUDGET.md` and `.json` (the format of `table3`) and returns it.

    Raises:
        UserError, KeyboardInterrupt: as `reproduce_table`.
    """
    wanted = [job for job in jobs(table, budget, corpus, seeds=1) if job.variant == "elbo"]
    records = Records(out)
    found = finish(wanted, out, processes, progress)
    by_elbo = sorted(zip(wanted, found, strict=True), key=lambda pair: -pair[1]["valid"]["elbo"])
    best = [job for job, _ in by_elbo if job.row != "lm"][:BEST_ROWS]
    shown = [*best, *(job for job in wanted if job.row == "lm")]
    finish(shown, out, processes, progress, done=records.has_model)
    models = {f"{table.row(job.row).label}, {job.row}": textvae.load(records.run(job)) for job in shown}
    measured = table3(models, next(iter(models.values())).prepared().lines, samples=30 if budget == "smoke" else 1_000, tell=tell)
    name = f"table3-{budget}" if table.name == "table2" else f"table3-long-{budget}"
    command = f"textvae reproduce {name.removesuffix(f'-{budget}')} --budget {budget} --out {out}"
    title = f"# Table 3: what the best models of {table.title[0].lower()}{table.title[1:]} write, budget `{budget}`\n\n    {command}\n\n"
    write_atomically(out / f"{name}.md", (title + table3_markdown(measured)).encode())
    write_json(out / f"{name}.json", measured)
    return measured
