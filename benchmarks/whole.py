"""A whole training: the share of a step that is spent in products, what the loop adds to its steps, and memory.

    .venv/bin/python benchmarks/whole.py ../shared/data/tweets --threads 2

The corpus is a folder with train.txt, valid.txt and test.txt; the presets `best/` take its lines of at most 31 characters. `share` is
what of a step's time goes into the compiled kernel's layers and torch's matrix products, as `textvae train --profile` prints it; `passes`
is what the kernel takes beside, for embedded text, dropout, distortions, clipping, Adam and averages. The loop's `bare_ms` are steps on
batches that lie ready; `loop_ms` the same steps with the next batches cut, schedules, running means, averages of the weights and a live
progress bar; `checkpoint_ms` is what a checkpoint adds to a round of these, as it is taken before the steps and written beside them.
`adds_%` is what all of it, with a checkpoint every twentieth of the training, adds to bare steps; evaluations on valid are not in it.
Sides take turns, figures are medians. Memory is the largest resident set of a process of its own.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from frame import alternate, arguments, environment, parsed, report
from rich.console import Console

from textvae.settings import RunSettings, resolve
from textvae.training.profile import profile_training
from textvae.training.progress import ProgressLine
from textvae.training.session import prepared_model
from textvae.training.trainer import EVALUATIONS, Trainer

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "hybrid": ("hybrid", {}),
    "hybrid, B 128, H 512": ("hybrid", {"training": {"batch": 128}, "model": {"decoder": {"hidden": 512}}}),
    "best/tweets/hybrid-dense": ("best/tweets/hybrid-dense", {}),
    "best/tweets/rnn-map": ("best/tweets/rnn-map", {}),
}
STEPS = 20
"""Steps of a round."""

EVALUATE = """
import sys
from pathlib import Path
import numpy as np
from pipeline import model_of, prepared
from textvae.evaluation.bounds import measure_bounds
data = prepared(Path(sys.argv[1]))
measure_bounds(model_of(data), data.tables["test"].select(np.arange(8)), int(sys.argv[2]))
"""
"""The importance bound of 8 test lines."""


def settings_of(name: str, corpus: Path) -> RunSettings:
    """The preset of `PRESETS` on the corpus."""
    preset, flags = PRESETS[name]
    return resolve(preset, flags={**flags, "corpus": {"path": str(corpus)}})


def shares(name: str, corpus: Path) -> dict[str, Any]:
    """Of a step, in per cent."""
    found = profile_training(settings_of(name, corpus))
    kernel, products, passes = (round(100 * part / found.step, 1) for part in (found.kernel, found.products, found.passes))
    share = {"kernel_%": kernel, "products_%": products, "share_%": round(kernel + products, 1), "passes_%": passes}
    return {"preset": name, "step_ms": round(found.step, 1), **share}


def loop(preset: str, corpus: Path, rounds: int) -> dict[str, Any]:
    """What the loop adds to its steps."""
    settings = settings_of(preset, corpus)
    training = replace(settings.training, steps=10**6, epochs=None, minutes=None)
    with tempfile.TemporaryDirectory() as folder:
        data, model, _ = prepared_model(settings)
        line = ProgressLine(Console(file=io.StringIO(), force_terminal=True))
        trainer = Trainer(model, data, replace(settings, training=training), 10**6, Path(folder), (line,))
        model.train()
        line.on_start(10**6, 0)
        batches = trainer.batches()
        ready = list(islice(batches, STEPS))

        def bare() -> None:
            for batch in ready:
                trainer.step.take(batch, 1.0, 1e-4)

        def looped() -> None:
            for batch, _ in zip(ready, batches, strict=False):
                trainer.take(batch)

        def saved() -> None:
            trainer.save()
            looped()
            trainer.written()

        plain, ours, saving = alternate([bare, looped, saved], rounds)
        line.on_stop()
    assert settings.training.steps is not None
    checkpoints = [with_one - without for with_one, without in zip(saving.seconds, ours.seconds, strict=True)]
    share = STEPS * EVALUATIONS / settings.training.steps  # of a checkpoint, a round's
    rounds_of = zip(plain.seconds, ours.seconds, checkpoints, strict=True)
    each = [100 * ((looped + share * checkpoint) / bare - 1) for bare, looped, checkpoint in rounds_of]
    low, middle, high = statistics.quantiles(each, n=4)
    times = {
        "bare_ms": round(plain.ms / STEPS, 2),
        "loop_ms": round(ours.ms / STEPS, 2),
        "checkpoint_ms": round(1e3 * statistics.median(checkpoints), 2),
    }
    return {"loop": preset, **times, "adds_%": round(middle, 1), "middle_half": f"{low:.1f} to {high:.1f}"}


def peak(what: str, *arguments: str) -> dict[str, Any]:
    """Megabytes of a process of this Python."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, *arguments], env=environment(), cwd=Path(__file__).parent, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        said.seek(0)
        if status:
            raise SystemExit(f"{what} failed: {said.read().decode(errors='replace')}")
    return {"memory": what, "peak_MB": round(used.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10))}


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every part."""
    corpus: Path = options.corpus.resolve()
    # First, while this process is small: on Linux a child's largest resident set is never below its parent's when it was started.
    with tempfile.TemporaryDirectory() as out:
        training = ("train", str(corpus), "--preset", "hybrid", "--training.steps", "100", "--out", f"{out}/run")
        yield peak(f"train {corpus.name}, preset hybrid, 100 steps", "-m", "textvae", *training)
    for samples in (50, 500):
        yield peak(f"importance bound of 8 lines, K {samples}", "-c", EVALUATE, str(corpus), str(samples))
    for preset in PRESETS:
        yield shares(preset, corpus)
    yield loop("best/tweets/hybrid-dense", corpus, options.rounds)


def main() -> None:
    """Measure and print a table."""
    parser = arguments(__doc__, rounds=15)
    parser.add_argument("corpus", type=Path, help="a folder with train.txt, valid.txt and test.txt")
    options = parsed(parser)
    report(options, "whole", rows(options))


if __name__ == "__main__":
    main()
