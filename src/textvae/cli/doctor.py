"""`textvae doctor`."""

from __future__ import annotations

from textvae.cli.output import print_columns, print_json
from textvae.cli.parameters import Json


def doctor(*, json: Json = False) -> None:
    """Say what training runs on here: torch, threads, the processor, the compiled kernel and why it is absent, devices."""
    from textvae.doctor import examine, report

    findings = examine()
    if json:
        print_json(findings)
    else:
        print_columns(report(findings))
