"""A process that does one job: `python -m textvae.study.worker FOLDER JOB.json`. It goes on where an earlier one was stopped."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import textvae
from textvae.api import TextVAE
from textvae.errors import UserError
from textvae.study.jobs import Job
from textvae.study.records import SCHEMA, Records, machine, source_revision
from textvae.training.metrics import MetricsLog
from textvae.training.run_folder import RunFolder

VALID_SAMPLES = 10
"""Importance samples on valid, which serves for choosing only."""


def complete(job: Job, records: Records) -> dict[str, Any]:
    """Train a job's model (or go on with it), measure it on valid and once on test, and keep the record."""
    vae = _trained(job, records.run(job))
    record = {
        "schema": SCHEMA,
        **job.to_dict(),
        "identity": job.identity,
        "objective": asdict(job.settings.objective),
        "command": job.command,
        "commit": source_revision(),
        "machine": machine(),
        "parameters": vae.model.parameter_count,
        "history": _history(records.run(job)),
        "valid": vae.evaluate(split="valid", importance_samples=min(VALID_SAMPLES, job.importance_samples)).to_dict(),
        "test": vae.evaluate(split="test", importance_samples=job.importance_samples).to_dict(),
    }
    record["steps"] = record["history"][-1]["step"]
    record["training_seconds"] = record["test"]["training_seconds"]
    records.keep(job, record)
    return record


def _trained(job: Job, run: Path) -> TextVAE:
    if RunFolder(run).exists:
        return textvae.train(out=run, resume=True)
    tables = {("corpus_settings" if name == "corpus" else name): table for name, table in job.changes.items()}
    return textvae.train(preset=job.preset, out=run, **tables)


def _history(run: Path) -> list[dict[str, Any]]:
    """How distortion and rate on valid went."""
    lines = MetricsLog(run / "metrics.jsonl").read()
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
