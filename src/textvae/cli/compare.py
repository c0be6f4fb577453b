"""`textvae compare`: two runs on the same lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import textvae
from textvae.cli.loading import checked
from textvae.cli.output import note, print_json, print_table, progress
from textvae.cli.parameters import Column, Device, ImportanceSamples, Json, Run, Seed, Split

if TYPE_CHECKING:
    from textvae.evaluation.comparison import Comparison


def compare(
    run: Run,
    other: str,
    corpus: str | None = None,
    /,
    *,
    split: Split = "test",
    importance_samples: ImportanceSamples = 100,
    column: Column = None,
    seed: Seed = 0,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Measure two runs on the same lines, and say whether these tell one from the other.

    Both are measured on the lines that both read whole; the error of a difference is that of the lines' own differences.

    Parameters
    ----------
    other
        The second run, likewise.
    corpus
        As for `textvae train`; by default the corpus the first run was trained on.
    """
    folders = [checked(run), checked(other)]  # both, before torch is imported for the first
    first, second = (textvae.load(folder, device) for folder in folders)
    with progress() as report:
        found = first.compare(second, corpus, split=split, importance_samples=importance_samples, column=column, seed=seed, progress=report)
    if json:
        print_json(found.to_dict())
    else:
        _tell(found, (run, other))


def _tell(found: Comparison, names: tuple[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from textvae.evaluation.comparison import comparison_rows, line_by_line, verdict

    # Text, not str: a folder may have brackets in its name, which rich would read as its markup.
    sizes = f"{found.corpus}, {found.split}: {found.sequences:,} lines, nats a line ± standard errors"
    table = Table(title=Text(sizes, style="table.title"), title_justify="left")
    for name in ("measure", *names, "difference"):
        table.add_column(Text(name), justify="left" if name == "measure" else "right")
    for row in comparison_rows(found):
        table.add_row(*row)
    print_table(table)
    print("; ".join(part for part in (verdict(found, names), line_by_line(found, names)) if part))
    if found.left_out:
        note(f"{found.left_out:,} lines are left out, which one of the two cannot read whole")
