"""`textvae reproduce`: the study's tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from textvae.cli.output import note, print_json, print_lines, print_table
from textvae.cli.parameters import Json
from textvae.errors import ConfigError
from textvae.study.jobs import Budget

if TYPE_CHECKING:
    from rich.table import Table

    from textvae.study.runner import Progress
    from textvae.study.summaries import Summary


What = Literal["table1", "table2", "table2-long", "table3", "table3-long", "figures", "future-toy", "future-tweets"]


def reproduce(
    what: What,
    /,
    *,
    out: Path,
    budget: Budget = "best",
    corpus: str | None = None,
    rows: list[str] | None = None,
    seeds: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    processes: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    json: Json = False,
) -> None:
    """Train a table of the study again and print it beside the printed one. What is done already is not trained twice.

    Ctrl-C saves; the same command goes on.

    Parameters
    ----------
    what
        table1: the toy set; table2: tweets of fewer than 32 characters, table2-long: of up to 127; table3 and table3-long: what their
        best models write; figures: pictures of what the folder holds; future-toy and future-tweets: recurrent ladder and mixture prior.
    out
        The study's folder: results, runs, pages, pictures.
    budget
        smoke: minutes, to see that it runs; paper: the study's own sizes and recipe; best: ours within its parameters.
    corpus
        The tweets, as for `textvae train`; by default sentiment140, which is downloaded.
    rows
        Train only these rows now (--rows rnn-dense --rows cnn-map); of Table 3, show the best of these.
    seeds
        Train at most so many seeds of a row now.
    processes
        Trainings side by side; by default one a core.
    """
    if seeds is not None and (what == "figures" or what.startswith("table3")):
        raise ConfigError(f"{what} is made of the first seed of each row: leave out --seeds")
    if rows and what == "figures":
        raise ConfigError("figures are drawn of all rows that are there: leave out --rows")
    try:
        with _progress() as report:
            if what == "figures":
                show = _figures(out, budget, corpus, processes, report)
            elif what in ("table3", "table3-long"):
                show = _table3(what, out, budget, corpus, rows or [], processes, report)
            else:
                show = _table(what, out, budget, corpus, rows or [], seeds, processes, report)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on") from None
    show(json)


Show = Callable[[bool], None]
"""Prints what was made: as JSON if so asked, else for people."""


def _table(
    what: str, out: Path, budget: Budget, corpus: str | None, rows: list[str], seeds: int | None, processes: int | None, report: Progress
) -> Show:
    from textvae.study.reproduce import reproduce_table
    from textvae.study.tables import TABLES

    found = reproduce_table(TABLES[what], budget, out, corpus, rows, seeds, processes, report)

    def show(json: bool) -> None:
        if json:
            print_json([one.to_dict() for one in found])
        else:
            print_table(_terminal(found, corpus))
            note(f"the whole page is {out / f'{what}-{budget}.md'}")

    return show


def _table3(what: str, out: Path, budget: Budget, corpus: str | None, rows: list[str], processes: int | None, report: Progress) -> Show:
    from textvae.study.reproduce import reproduce_table3
    from textvae.study.tables import WRITTEN

    made = reproduce_table3(WRITTEN[what], budget, out, corpus, rows, processes, report, _measuring)

    def show(json: bool) -> None:
        if json:
            print_json(made)
        else:
            print((out / f"{what}-{budget}.md").read_text(encoding="utf-8"), end="")

    return show


def _measuring(what: str) -> None:
    note(f"measuring {what}")


def _figures(out: Path, budget: Budget, corpus: str | None, processes: int | None, report: Progress) -> Show:
    from textvae.study.reproduce import reproduce_figures

    drawn = reproduce_figures(budget, out, corpus, processes, report, tell=note)
    for name, why in drawn.missing.items():
        note(f"{name} is not drawn: {why}")
    pictures = [str(path) for path in drawn.paths]

    def show(json: bool) -> None:
        if json:
            print_json({"pictures": pictures, "missing": drawn.missing})
        else:
            print_lines(pictures)

    return show


def _terminal(found: Sequence[Summary], corpus: str | None) -> Table:
    """The figures that fit a terminal."""
    from rich.table import Table

    from textvae.study.pages.markdown import number

    of = f" of {Path(corpus).name}" if corpus else ""
    title = f"nats a sequence, on test{of}; mean ± standard deviation over seeds; printed: the study's ELBO in nats"
    table = Table(title=title, title_justify="left")
    for name in ("row", "run", "seeds", "distortion", "rate", "ELBO", "bound", "gap", "printed", "dominates"):
        words = name in ("row", "run")
        table.add_column(name, justify="left" if words else "right", no_wrap=not words, overflow="fold")  # no figure is cut
    for one in found:
        cells = [number(one.mean[name], 2, one.sd[name]) for name in ("distortion", "rate", "elbo", "importance_bound", "gap")]
        beaten = {True: "yes", False: "no", None: "–"}[one.dominates]
        printed = number(one.printed.true_elbo, 1) if one.printed else "–"
        table.add_row(one.row, one.variant, str(len(one.seeds)), *cells, printed, beaten)
    return table


@contextmanager
def _progress() -> Iterator[Progress]:
    """Return a function that shows trainings done, trainings under way and the time left: live on a terminal, else a line a training."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from textvae.study.runner import Standing

    console = Console(stderr=True)
    columns = (BarColumn(bar_width=20), TextColumn("{task.description}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    told = -1
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal, speed_estimate_period=600) as bar:
        task = bar.add_task("training", total=1.0)

        def report(now: Standing) -> None:
            nonlocal told
            text = f"{now.done} of {now.total} trainings" + (f", now {', '.join(now.running)}" if now.running else "")
            bar.update(task, completed=now.share, description=text)
            if bar.disable and now.done != told:
                told = now.done
                note(text)

        yield report
