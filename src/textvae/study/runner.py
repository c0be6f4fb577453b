"""Several trainings side by side, each in a process of its own, within the cores there are; going on where they were stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, final

import textvae
from textvae.errors import RunError
from textvae.storage import write_json
from textvae.study.jobs import Job
from textvae.study.records import Records
from textvae.training.metrics import MetricsLog
from textvae.training.run_folder import RunFolder

LOOK_SECONDS = 0.5
"""Between looks at the processes."""

TELL_SECONDS = 5.0
"""Between reports where the work stands, unless a training ended: each one reads the runs' files."""

STOP_SECONDS = 60.0
"""How long a process may take to save when it is stopped."""

Progress = Callable[["Standing"], None]
"""Told where the work stands, every now and then."""


@final
@dataclass(frozen=True)
class Standing:
    """Where the work stands."""

    done: int
    total: int
    share: float
    """Of all trainings, those under way counted in part; from 0 to 1."""

    running: tuple[str, ...]


@final
@dataclass
class _Worker:
    """One process and the job it does."""

    job: Job
    process: subprocess.Popen[bytes]
    log: Path

    def told_last(self) -> str:
        """The last line the process wrote: the mistake, where it ended with one."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")


def finish(
    jobs: Sequence[Job],
    folder: Path,
    processes: int | None = None,
    progress: Progress | None = None,
    done: Callable[[Job], bool] | None = None,
) -> list[dict[str, Any]]:
    """Do all jobs that are not done yet, and return the records of all, in their order.

    Args:
        jobs: what to train; checked before the first one starts.
        folder: of the study: `results/` keeps the records, `runs/` the models and their logs.
        processes: so many at a time, each with its share of the cores; by default one a core.
        progress: told where the work stands.
        done: whether a job is left out; by default if it has a record.

    Raises:
        ConfigError: a job's settings are no run's.
        RunError: some jobs failed (the others were done all the same).
        KeyboardInterrupt: stopped; every training under way was saved and is gone on with the next time.
    """
    for job in jobs:
        job.check()
    records = Records(folder)
    done = done or (lambda job: records.find(job) is not None)
    waiting = [job for job in jobs if not done(job)]
    at_once = max(1, min(processes or os.cpu_count() or 1, len(waiting)))
    threads = max(1, (os.cpu_count() or 1) // at_once)
    running: list[_Worker] = []
    failed: list[str] = []
    finished, told = len(jobs) - len(waiting), -TELL_SECONDS
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(_started(waiting.pop(0), records, threads))
            time.sleep(LOOK_SECONDS)
            ended = [worker for worker in running if worker.process.poll() is not None]
            running = [worker for worker in running if worker not in ended]
            finished += len(ended)
            failed += [f"{worker.job.name} ({worker.told_last()})" for worker in ended if worker.process.returncode]
            if progress is not None and (ended or time.monotonic() - told > TELL_SECONDS):
                told = time.monotonic()
                progress(_standing(finished, len(jobs), running, records))
    finally:
        _stop(running)
        signal.signal(signal.SIGTERM, before)
    if failed:
        raise RunError(f"{len(failed)} of {len(jobs)} trainings failed: {'; '.join(failed)}. Run again to repeat them; logs: {folder}/runs")
    return [record for record in map(records.find, jobs) if record is not None]


def _started(job: Job, records: Records, threads: int) -> _Worker:
    """Start the process of a job, in a session of its own: a terminal's Ctrl-C reaches it through `_stop` only, once."""
    run = records.run(job)
    job_file, log = run.with_name(f"{run.name}.json"), run.with_name(f"{run.name}.log")
    write_json(job_file, job.to_dict())
    source = str(Path(textvae.__file__).parent.parent)
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    # A person who has set the threads has a reason, such as other work on the same cores.
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "textvae.study.worker", str(records.folder), str(job_file)]
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    return _Worker(job, process, log)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Being terminated is being interrupted: the trainings under way are saved."""
    raise KeyboardInterrupt


def _stop(running: Sequence[_Worker]) -> None:
    """Ask every process to save and end, and wait for it."""
    for worker in running:
        worker.process.send_signal(signal.SIGTERM)  # a process begun in the background may ignore SIGINT
    for worker in running:
        try:
            worker.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            worker.process.kill()


def _standing(done: int, total: int, running: Sequence[_Worker], records: Records) -> Standing:
    under_way = sum(_share(records.run(worker.job)) for worker in running)
    return Standing(done, total, (done + under_way) / max(1, total), tuple(worker.job.name for worker in running))


def _share(run: Path) -> float:
    """How much of a run is done, as its last look at valid says."""
    folder, lines = RunFolder(run), MetricsLog(run / "metrics.jsonl").read()
    return lines[-1]["step"] / max(1, folder.load()[0].steps) if folder.exists and lines else 0.0
