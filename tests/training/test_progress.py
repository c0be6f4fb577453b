"""What the progress line prints where no terminal shows it."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from textvae.training.progress import ProgressLine


def test_a_users_text_is_printed_as_it_is_and_once() -> None:
    page = StringIO()
    line = ProgressLine(Console(file=page))
    for _ in range(2):
        line.on_warning("x.txt: [/quote] and [red] and :smile: were cut")
    assert page.getvalue() == "note: x.txt: [/quote] and [red] and :smile: were cut\n"
