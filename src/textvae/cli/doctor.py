"""`textvae doctor`."""

from __future__ import annotations

from textvae.cli.output import print_columns, print_json


def doctor(*, json: bool = False) -> None:
    """Say what training runs on here: torch, threads, the processor, the compiled kernel and why it is absent, devices.

    Parameters
    ----------
    json
        Print one JSON object.
    """
    from textvae.doctor import examine, report

    findings = examine()
    if json:
        print_json(findings)
    else:
        print_columns(report(findings))
