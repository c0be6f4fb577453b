"""`textvae compare`: two runs on the same lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import textvae
from textvae.cli.commands import Device, Seed, Split
from textvae.cli.loading import checked
from textvae.cli.output import note, print_json, print_table, progress

if TYPE_CHECKING:
    from textvae.evaluation.comparison import Comparison


def compare(
    run: str,
    other: str,
    corpus: str | None = None,
    /,
    *,
    split: Split = "test",
    importance_samples: int = 100,
    column: str | None = None,
    seed: Seed = 0,
    device: Device = "cpu",
    json: bool = False,
) -> None:
    """Measure two runs on the same lines, and say whether these tell one from the other.

    Both are measured on the lines that both read whole; the error of a difference is that of the lines' own differences.

    Parameters
    ----------
    run
        The first run's folder, or user/model on the hub.
    other
        The second run's.
    corpus
        As for `textvae train`; by default the corpus the first run was trained on.
    split
        Which split, or all lines (of a file that the model was not trained on, say).
    importance_samples
        Samples of z a sequence.
    column
        The column of a .csv/.tsv/.jsonl/.parquet corpus that holds the text.
    seed
        Of the noise of z.
    device
        Where to compute: cpu, or cuda for a GPU.
    json
        Print one JSON object.
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
