"""What all benchmarks share: sides that take turns, medians and spread, the machine's own rate in the same run, a table and a file."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, final

import torch

from textvae.heap import keep_freed_memory
from textvae.nn.kernel.compiling import SWITCH, kernel
from textvae.nn.kernel.processor import processor
from textvae.study.records import source_revision

WARM_UP, MIN_ROUNDS = 2, 2
SQUARE = 1024
"""Rows and columns of the matrices whose product is the machine's yardstick."""

Side = Callable[[], object]


@final
@dataclass(frozen=True)
class Timing:
    """One side's seconds over the rounds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def ms(self) -> float:
        """The median in milliseconds, rounded for a table."""
        return round(1e3 * self.median, 2 if self.median < 1 else 0)


def alternate(sides: Sequence[Side], rounds: int) -> list[Timing]:
    """Seconds of each side, round by round in one run, the sides taking turns, after a warm-up."""
    seconds: list[list[float]] = [[] for _ in sides]
    for round_number in range(rounds + WARM_UP):
        for side, run in enumerate(sides):
            began = time.perf_counter()
            run()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()  # a GPU may not have done it yet
            if round_number >= WARM_UP:
                seconds[side].append(time.perf_counter() - began)
    return [Timing(tuple(each)) for each in seconds]


@final
class Apart:
    """A side in a process of its own, which has not said `keep_freed_memory`: as it runs in a program that is not ours.

    Args:
        make: makes the side there; a function of a module.
        given: its arguments.
    """

    def __init__(self, make: Callable[..., Side], *given: Any) -> None:
        processes = get_context("spawn")
        self._line, there = processes.Pipe()
        processes.Process(target=_serve, args=(there, torch.get_num_threads(), make, given), daemon=True).start()
        there.close()  # so that a process that has ended is no silence
        self._line.recv()

    def __call__(self) -> None:
        """Run it once, and wait."""
        self._line.send(None)
        self._line.recv()


def _serve(line: Connection, threads: int, make: Callable[..., Side], given: tuple[Any, ...]) -> None:
    torch.set_num_threads(threads)
    side = make(*given)
    with suppress(EOFError, OSError):  # the other end has gone
        while True:
            line.send(None)
            line.recv()
            side()


def ratio(plain: Timing, ours: Timing) -> dict[str, Any]:
    """How many times as long the plain side takes: the ratio of the medians, and the middle half of the rounds' own ratios."""
    each = [p / o for p, o in zip(plain.seconds, ours.seconds, strict=True)]
    low, _, high = statistics.quantiles(each, n=4)
    return {"ratio": round(plain.median / ours.median, 2), "middle_half": f"{low:.2f}-{high:.2f}"}


def square_product(dtype: torch.dtype = torch.float32) -> Side:
    """The yardstick: a product of two square matrices."""
    square = torch.randn(SQUARE, SQUARE, dtype=dtype)
    return lambda: square @ square


def without_kernel(step: Side) -> Side:
    """The same step as torch alone takes it."""

    def plain() -> None:
        before = os.environ.get(SWITCH, "")
        os.environ[SWITCH] = "off"
        try:
            step()
        finally:
            os.environ[SWITCH] = before

    return plain


def gflops(timing: Timing) -> float:
    """The rate of `square_product`."""
    return round(2e-9 * SQUARE**3 / timing.median, 1)


def arguments(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """The flags that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds after the warm-up (default {rounds})")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The flags as given; sets torch's threads, and the heap as every command does."""
    options = parser.parse_args()
    if options.rounds < MIN_ROUNDS:
        parser.error(f"--rounds is {options.rounds}: must be at least {MIN_ROUNDS}, for a spread")
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    return options


def environment() -> dict[str, str]:
    """The environment of a child process that is to have as many threads as this one, and that finds its modules compiled, as users' do."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "OMP_NUM_THREADS": str(torch.get_num_threads())}


def report(options: argparse.Namespace, name: str, rows: Iterator[dict[str, Any]]) -> None:
    """Print rows as they come, and write them with the machine, the commit and the command where `--json` says so."""
    machine = {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "kernel": kernel().reason,
        "bf16": "in the processor" if kernel().bf16 else "not in this processor, and not measured",
    }
    if torch.cuda.is_available():
        machine["GPU"] = torch.cuda.get_device_name()
    print(", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    found: list[dict[str, Any]] = []
    for row in rows:
        if not found or list(found[-1]) != list(row):
            print("  ".join(f"{key:>{_width(key, row[key])}}" for key in row))
        print("  ".join(f"{_told(value):>{_width(key, value)}}" for key, value in row.items()), flush=True)
        found.append(row)
    if options.json:
        flags = [part for part in sys.argv[1:] if part != str(options.json)]
        shown = [Path(flag).name if Path(flag).is_dir() else flag for flag in flags if flag != "--json"]
        command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *shown])
        told = {"benchmark": name, "command": command, "commit": source_revision(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({**told, "machine": machine, "rows": found}, indent=1) + "\n", encoding="utf-8")


def _told(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _width(key: str, value: object) -> int:
    return max(len(key), 24 if isinstance(value, str) else 10)
