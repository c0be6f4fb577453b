"""Time to quality: seconds of training until a preset's ELBO on valid passes -65 (the study's best printed row), -50, -42, -40.

    .venv/bin/python benchmarks/quality.py ../shared/data/tweets32

Trains the preset as `textvae train CORPUS --preset best/tweets/hybrid-dense` does, but looks at valid every 25 steps, for at most
`--minutes`. Seconds are those of the training log: looks at valid are within, the start of the process is not; `from_command` is
from the start of the process. A row's rate is that of the checkpoint that passed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frame import arguments, environment, parsed, report

GOALS = (-65.0, -50.0, -42.0, -40.0)
EVERY = 25


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row a goal, as soon as it is reached."""
    goals, began = list(GOALS), time.time()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "run", "metrics.jsonl")
        flags = ["--preset", options.preset, "--out", str(log.parent), "--training.evaluate-every", str(EVERY)]
        command = [sys.executable, "-m", "textvae", "train", str(options.corpus), *flags]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment())
        try:
            running = True
            while goals and running and time.time() - began < 60 * options.minutes:
                time.sleep(0.5)
                running = process.poll() is None  # before the log is read: what it wrote last is seen too
                if process.returncode:
                    raise SystemExit("the training failed: its message stands above")
                for told in looks(log):
                    distortion, rate = told["valid"]["distortion"], told["valid"]["rate"]
                    while goals and -(distortion + rate) >= goals[0]:
                        yield {
                            "ELBO on valid": goals.pop(0),
                            "seconds": round(told["seconds"], 1),
                            "from_command": round(log.stat().st_mtime - began, 1),
                            "step": told["step"],
                            "rate": round(rate, 2),
                        }
        finally:
            process.kill()
            process.wait()


def looks(log: Path) -> list[dict[str, Any]]:
    """The whole lines of the log."""
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def main() -> None:
    """Train and print a table."""
    parser = arguments(__doc__, rounds=2)  # of which it takes none: one training is long enough
    parser.add_argument("corpus", type=Path, help="a folder with train.txt, valid.txt and test.txt")
    parser.add_argument("--preset", default="best/tweets/hybrid-dense")
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parsed(parser)
    report(options, "quality", rows(options))


if __name__ == "__main__":
    main()
