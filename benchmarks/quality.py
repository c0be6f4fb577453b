"""Time to quality: seconds of training until a preset's ELBO on valid passes -65 (the study's best printed row), -50 and -42.

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

import torch
from frame import arguments, report

GOALS = (-65.0, -50.0, -42.0, -40.0)
EVERY = 25


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row a goal, as soon as it is reached."""
    goals, began = list(GOALS), time.time()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "run", "metrics.jsonl")
        flags = ["--preset", options.preset, "--out", str(log.parent), "--training.evaluate-every", str(EVERY)]
        process = subprocess.Popen([sys.executable, "-m", "textvae", "train", str(options.corpus), *flags], stdout=subprocess.DEVNULL)
        while goals and process.poll() is None and time.time() - began < 60 * options.minutes:
            time.sleep(0.5)
            for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
                told = json.loads(line)
                distortion, rate = told["valid"]["distortion"], told["valid"]["rate"]
                while goals and -(distortion + rate) >= goals[0]:
                    goal = goals.pop(0)
                    yield {
                        "ELBO on valid": goal,
                        "seconds": round(told["seconds"], 1),
                        "from_command": round(log.stat().st_mtime - began, 1),
                        "step": told["step"],
                        "rate": round(rate, 2),
                    }
        process.kill()
        process.wait()


def main() -> None:
    """Train and print a table."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("corpus", type=Path, help="a folder with train.txt, valid.txt and test.txt")
    parser.add_argument("--preset", default="best/tweets/hybrid-dense")
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report(options, "quality", rows(options))


if __name__ == "__main__":
    main()
