"""`textvae serve`: the explorer's page of a run."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

import textvae
from textvae.cli.loading import checked
from textvae.cli.parameters import Device, Run


def serve(
    run: Run,
    /,
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lt=65536))] = 8000,
    device: Device = "cpu",
) -> None:
    """Serve a page that samples, reconstructs, interpolates and walks in the latent of a run, until Ctrl-C.

    Parameters
    ----------
    host
        The address to listen at. Beyond 127.0.0.1 everybody who reaches it may ask: there is no password.
    port
        0: any that is free.
    """
    folder = checked(run)
    from textvae.serve.app import address, listening
    from textvae.serve.app import serve as serve_run
    from textvae.serve.explorer import Explorer

    with listening(host, port) as opened:  # before the model is loaded: a port that is taken is told at once
        explorer = Explorer(textvae.load(folder, device), run)
        print(f"{address(host, opened)} (Ctrl-C ends it)", flush=True)
        serve_run(explorer, host, opened)
