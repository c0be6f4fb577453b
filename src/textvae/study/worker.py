"""A process that does one job: `python -m textvae.study.worker FOLDER JOB.json`. It goes on where an earlier one was stopped."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import textvae
from textvae.api import TextVAE
from textvae.errors import RunError, UserError
from textvae.storage import append_line, lock
from textvae.study.jobs import Job
from textvae.study.mixture import has_mixture, mixture_report
from textvae.study.records import SCHEMA, Records, is_finished, machine, source_revision
from textvae.training.metrics import METRICS, MetricsLog
from textvae.training.run_folder import RunFolder

VALID_SAMPLES = 10
"""Importance samples on valid, which serves for choosing only."""


def complete(job: Job, records: Records) -> None:
    """Train a job's model (or go on with it), measure it on valid and once on test, and keep the record.

    A job that has a record, whose model is wanted again, is trained and not measured: test is scored once.

    Raises:
        RunError: another process trains this run.
    """
    run = records.run(job)
    with _alone(run):
        vae = _trained(job, run)
        if records.find(job) is None:
            records.keep(job, _measured(job, vae, run))


def _measured(job: Job, vae: TextVAE, run: Path) -> dict[str, Any]:
    """The record of a trained model."""
    valid = vae.evaluate(split="valid", importance_samples=min(VALID_SAMPLES, job.importance_samples))
    test = vae.evaluate(split="test", importance_samples=job.importance_samples)
    history, corpus = _history(run), Path(job.settings.corpus.path).name
    return {
        "schema": SCHEMA,
        **job.anywhere().to_dict(),
        "identity": job.identity,
        "objective": asdict(job.settings.objective),
        "command": job.command,
        "commits": list(dict.fromkeys(_commits(run).read_text(encoding="utf-8").splitlines())),
        "machine": machine(job.settings.training),
        "parameters": vae.model.parameter_count,
        "steps": history[-1]["step"],
        "training_seconds": test.training_seconds,
        "history": history,
        "valid": valid.to_dict() | {"corpus": corpus},
        "test": test.to_dict() | {"corpus": corpus},
        "mixture": mixture_report(vae, vae.prepared().lines["valid"]) if has_mixture(vae) else None,
    }


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Keep a run for this process: two that train it would write over each other."""
    path = run.with_name(f"{run.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        lock(handle, wait=False)
        yield
    except BlockingIOError:
        raise RunError(f"{run} is being trained by another process: wait for it, or stop it") from None
    finally:
        os.close(handle)


def _trained(job: Job, run: Path) -> TextVAE:
    """The model of a job; which source trains it, or measures it, is written down before."""
    append_line(_commits(run), source_revision())
    if is_finished(run):
        return textvae.load(run)
    if RunFolder(run).exists:
        return textvae.train(out=run, resume=True)
    tables = {("corpus_settings" if name == "corpus" else name): table for name, table in job.changes.items()}
    return textvae.train(preset=job.preset, out=run, **tables)


def _commits(run: Path) -> Path:
    return run.with_name(f"{run.name}.commits")


def _history(run: Path) -> list[dict[str, Any]]:
    """How distortion and rate on valid went."""
    lines = MetricsLog(run / METRICS).read()
    return [
        {"step": line["step"], "beta": line["beta"], **{key: line["valid"][key] for key in ("distortion", "rate", "rate_per_rung")}}
        for line in lines
    ]


def main(folder: str, job_file: str) -> int:
    """Do the job of a file; 0 when it is done, 1 when it was stopped, 2 for what the user can mend (told in the last line)."""
    job = Job.from_dict(json.loads(Path(job_file).read_text(encoding="utf-8")))
    try:
        complete(job, Records(Path(folder)))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        print(stopped, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
