"""What the progress line prints where no terminal shows it."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from textvae.training.hooks import RunFacts
from textvae.training.progress import ProgressLine


def test_the_first_line_says_what_is_trained_on_what() -> None:
    page = StringIO()
    facts = RunFacts(
        corpus="[x].txt",
        lines=1234,
        different=1000,
        drawn=False,
        longest=31,
        tokens="characters",
        vocabulary=80,
        architecture="rnn",
        parameters=5678,
        device="cpu",
        start_from=None,
    )
    ProgressLine(Console(file=page, width=40)).on_ready(facts)
    lines = "training on [x].txt: 1,234 lines (1,000 different) of up to 31 characters, 80 kinds of them known"
    assert page.getvalue() == f"{lines}; rnn: 5,678 parameters on cpu\n"


def test_a_users_text_is_printed_as_it_is_and_once() -> None:
    page = StringIO()
    line = ProgressLine(Console(file=page))
    for _ in range(2):
        line.on_warning("x.txt: [/quote] and [red] and :smile: were cut")
    assert page.getvalue() == "note: x.txt: [/quote] and [red] and :smile: were cut\n"


def test_a_run_that_goes_on_counts_the_time_of_all_its_sittings() -> None:
    page = StringIO()
    line = ProgressLine(Console(file=page))
    line.on_start(100, done=50)
    valid = {"elbo": -9.5, "distortion": 7.0, "rate_per_rung": [2.0, 0.5], "active_units_per_rung": [1, 2], "mutual_information": 1.25}
    line.on_evaluation({"step": 60, "seconds": 90.2, "beta": 1.0, "valid": valid})
    line.on_interrupt(61)
    told = (
        "going on after step 50 of 100\n"
        "step     60/100  1:30 (left 0:00)  valid ELBO -9.50 = -(distortion 7.00 + rate 2.50 [2.00 0.50]) nats"
        "  β 1.00  active units 3  MI 1.25\n"
        "stopped after step 61, whose checkpoint is written\n"
    )
    assert page.getvalue() == told
