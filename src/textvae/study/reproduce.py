"""`textvae reproduce`: train what a table has not trained yet, and write the table as Markdown and JSON."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import textvae
from textvae.config import require
from textvae.data import sentiment140
from textvae.data.corpora import require_corpus
from textvae.errors import CorpusError, RunError
from textvae.evaluation.text.diversity import sentence_bleu
from textvae.plots.canvas import pyplot
from textvae.storage import write_atomically, write_json
from textvae.study.figures.chosen import plane_job
from textvae.study.figures.draw import Drawn, draw
from textvae.study.jobs import Budget, Job, run_name
from textvae.study.mixture import mixture_markdown
from textvae.study.pages.tables import page
from textvae.study.records import Records
from textvae.study.runner import Progress, finish
from textvae.study.summaries import Summary, best_first, best_without_latent, summaries
from textvae.study.table3 import table3, table3_markdown
from textvae.study.tables import LONGER, Table, jobs


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
        UserError: a row that is not in the table, a corpus that is not there, records of other settings, or trainings that failed.
        KeyboardInterrupt: stopped; run again to go on.
    """
    require(seeds is None or seeds >= 1, f"seeds is {seeds}: must be at least 1")
    wanted, now = jobs(table, budget, corpus), jobs(table, budget, corpus, tuple(rows), seeds)
    records = Records(out)
    records.refuse_others(now)
    check_corpora(job for job in now if records.find(job) is None)
    try:
        finish(now, out, processes, progress)
    finally:  # what is done is shown, whatever became of the rest
        found = write_page(table, budget, out, wanted, corpus)
    return found


def write_page(table: Table, budget: Budget, out: Path, wanted: Sequence[Job], corpus: str | None = None) -> list[Summary]:
    """Write the page and the JSON of the records that are there, and return their summaries."""
    records = [record for record in map(Records(out).find, wanted) if record is not None]
    found = summaries(table, records)
    command = page_command(table.name, budget, corpus)
    lines = Path(corpus).name if corpus else None
    text = "\n".join([page(table, budget, found, command, lines), *_mixtures(records)])
    write_atomically(out / f"{table.name}-{budget}.md", text.encode())
    told = {"schema": 1, "table": table.name, "budget": budget, "command": command, "rows": [one.to_dict() for one in found]}
    write_json(out / f"{table.name}-{budget}.json", told)
    return found


def check_corpora(wanted: Iterable[Job]) -> None:
    """Raise `CorpusError` where the lines of a job are nowhere, after a download where they have one: once, before anything starts."""
    for path in dict.fromkeys(job.settings.corpus.path for job in wanted):
        require_corpus(path)
        if path == sentiment140.NAME:
            try:
                sentiment140.fetch_sentiment140()
            except CorpusError as error:
                raise CorpusError(f"{error}. Other tweets, such as a folder with train.txt, valid.txt and test.txt: --corpus") from error


def page_command(what: str, budget: Budget, corpus: str | None, rows: Sequence[str] = ()) -> str:
    """What a person types for the same page; where the corpus and the folder lie on this machine is left out."""
    words = ["textvae", "reproduce", what, "--budget", budget]
    words += [word for row in rows for word in ("--rows", row)]
    words += ["--corpus", Path(corpus).name] if corpus else []
    return shlex.join([*words, "--out", "DIR"])


def _mixtures(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A section on the components of every mixture prior."""
    for record in records:
        if record["mixture"] is not None:
            yield mixture_markdown(f"What the mixture of `{record['row']}` has learned", record["mixture"])


BEST_ROWS = 3
"""Rows of Table 2 whose models Table 3 shows, by their ELBO on valid; the decoder without a latent stands beside them."""


def reproduce_table3(
    table: Table,
    budget: Budget,
    out: Path,
    corpus: str | None = None,
    rows: Sequence[str] = (),
    processes: int | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Samples, reconstructions and interpolations of a table's best models, with figures beside those of real text.

    Trains what of the first seeds of the rows (by default all) is missing, writes `WRITTEN-BUDGET.md` and `.json` (the format of
    `table3`; the table says how it is called) and returns it.

    Raises:
        ValueError: a table without a Table 3.
        UserError, KeyboardInterrupt: as `reproduce_table`.
    """
    if table.written is None:
        raise ValueError(f"{table.name} has no Table 3")
    sentence_bleu()  # what is missing is told before hours of training
    wanted = [job for job in jobs(table, budget, corpus, tuple(rows), seeds=1) if job.variant in ("elbo", LONGER)]
    Records(out).refuse_others(wanted)
    check_corpora(wanted)
    by_identity = {job.identity: job for job in wanted}
    found = finish(wanted, out, processes, progress)
    best = [*best_first(found)[:BEST_ROWS], best_without_latent(found)]
    shown = [by_identity[record["identity"]] for record in best if record is not None]
    if not shown:
        raise RunError(f"no row of {table.name} that is trained uses its latent: there is nothing to show; train other --rows, or lm")
    records = Records(out)
    finish(shown, out, processes, progress, done=records.has_model)
    models = {f"{table.row(job.row).label}, {run_name(job.row, job.variant)}": textvae.load(records.run(job)) for job in shown}
    lines = next(iter(models.values())).prepared(corpus).lines
    measured = table3(models, lines, samples=30 if budget == "smoke" else 1_000, tell=tell)
    title = f"# Table 3: what the best models of {table.title[0].lower()}{table.title[1:]} write, budget `{budget}`"
    text = f"{title}\n\n    {page_command(table.written, budget, corpus, rows)}\n\n{table3_markdown(measured)}"
    write_atomically(out / f"{table.written}-{budget}.md", text.encode())
    write_json(out / f"{table.written}-{budget}.json", measured)
    return measured


def reproduce_figures(
    budget: Budget,
    out: Path,
    corpus: str | None = None,
    processes: int | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Drawn:
    """Draw what the study's folder allows, as `draw` does; trains the model of the latent plane where it is not there.

    Raises:
        UserError, KeyboardInterrupt: as `reproduce_table`.
    """
    pyplot()  # what is missing is told before the training
    if not any((out / "results").glob("*/*/*.json")):
        raise RunError(f"{out} holds no results to draw: make some with textvae reproduce table1 --out {out}")
    finish([plane_job(budget)], out, processes, progress, done=Records(out).has_model)
    return draw(out, budget, corpus, tell)
