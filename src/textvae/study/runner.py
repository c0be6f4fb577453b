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
from textvae.config import require
from textvae.errors import RunError
from textvae.storage import write_json
from textvae.study.jobs import Job
from textvae.study.records import Records
from textvae.training.metrics import METRICS, MetricsLog
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

    def why(self) -> str:
        """Why the process failed: the signal that ended it, or the last line it wrote."""
        if self.process.returncode < 0:
            return f"ended by signal {-self.process.returncode}; if memory ran out, try fewer --processes"
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
        jobs: what to train; their settings are checked before the first one starts.
        folder: of the study: `results/` keeps the records, `runs/` the models and their logs.
        processes: so many at a time, each with its share of the cores; by default one a core.
        progress: told where the work stands.
        done: whether a job is left out; by default if it has a record.

    Raises:
        ConfigError: a job's settings are no run's, or fewer than one process.
        RunError: some jobs failed (the others were done all the same).
        KeyboardInterrupt: stopped; every training under way was saved and is gone on with the next time.
    """
    require(processes is None or processes >= 1, f"processes is {processes}: must be at least 1")
    records = Records(folder)
    done = done or (lambda job: records.find(job) is not None)
    waiting = [job for job in jobs if not done(job)]
    at_once = processes or cores()
    threads = max(1, cores() // at_once)  # whatever is left to do: how sums are split up decides their last bit
    running: list[_Worker] = []
    failed: dict[str, str] = {}
    finished, told = len(jobs) - len(waiting), -TELL_SECONDS
    before = {number: signal.signal(number, _interrupt) for number in _endings()}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(_started(waiting.pop(0), records, threads))
            time.sleep(LOOK_SECONDS)
            ended = [worker for worker in running if worker.process.poll() is not None]
            running = [worker for worker in running if worker not in ended]
            failed |= {worker.job.name: worker.why() for worker in ended if worker.process.returncode}
            finished += sum(worker.process.returncode == 0 for worker in ended)
            if progress is not None and (ended or time.monotonic() - told > TELL_SECONDS):
                told = time.monotonic()
                progress(_standing(finished, len(jobs), running, records))
    finally:
        _stop(running)
        for number, handler in before.items():
            signal.signal(number, handler)
    if failed:
        told_of = "; ".join(f"{name} ({why})" for name, why in failed.items())
        raise RunError(f"{len(failed)} of {len(jobs)} trainings failed: {told_of}. Run again to repeat them; logs: {folder}/runs")
    return [record for record in map(records.find, jobs) if record is not None]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    with log.open("ab") as out:  # another process may be writing to it, which the new one will find out
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    return _Worker(job, process, log)


def _endings() -> list[int]:
    """Signals that end this process, and must not leave trainings behind: termination, and a terminal that closes, but for nohup."""
    closing = getattr(signal, "SIGHUP", None)
    return [signal.SIGTERM, *([closing] if closing is not None and signal.getsignal(closing) is signal.SIG_DFL else [])]


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Being ended is being interrupted: the trainings under way are saved."""
    raise KeyboardInterrupt


def _stop(running: Sequence[_Worker]) -> None:
    """Ask every process to save and end, and wait for it."""
    for worker in running:
        worker.process.send_signal(signal.SIGTERM)  # a process begun in the background may ignore SIGINT
    impatient = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave them behind
    for worker in running:
        try:
            worker.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
    signal.signal(signal.SIGINT, impatient)


def _standing(done: int, total: int, running: Sequence[_Worker], records: Records) -> Standing:
    under_way = sum(_share(records.run(worker.job)) for worker in running)
    return Standing(done, total, (done + under_way) / max(1, total), tuple(worker.job.name for worker in running))


def _share(run: Path) -> float:
    """How much of a run is done, as its last look at valid says."""
    try:
        folder, lines = RunFolder(run), MetricsLog(run / METRICS).read()
        return lines[-1]["step"] / max(1, folder.load()[0].steps) if folder.exists and lines else 0.0
    except RunError:  # the process that trains it tells of that
        return 0.0
