"""How a training step grows with T, B, H, V and L, one at a time, and what it takes in memory.

    .venv/bin/python benchmarks/growth.py --threads 1

One size is doubled again and again while the others stay as in the preset best/tweets/hybrid-dense (L: ladder), on random tokens of
full length. `exponent` is the slope of log seconds on log size over the measured range: 1 is growth in proportion. All sizes of a
row alternate in one process; figures are medians.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import Any

from frame import Side, alternate, arguments, parsed, report

from textvae.settings import resolve
from training import SHAPES, training_step

VOCABULARY, POSITIONS = SHAPES["tweets"]
SIZES: dict[str, tuple[int, ...]] = {
    "T (symbols a line)": (16, 32, 64, 128),
    "B (lines a batch)": (32, 64, 128, 256),
    "H (units of the decoder)": (128, 256, 512),
    "V (symbols)": (42, 84, 168, 336),
    "L (rungs)": (1, 2, 4),
}


def sized(what: str, size: int) -> Side:
    """A training step with one size changed."""
    if what.startswith("L"):
        ladder = {"hidden": [128] * size, "embedding": 24, "reconstruction": 64}
        flags = {"model": {"latent": {"channels": [8] * size}, "ladder": ladder}}
        return training_step(resolve("best/tweets/ladder-3", flags=flags), VOCABULARY, POSITIONS)[0]
    positions = size if what.startswith("T") else POSITIONS
    vocabulary = size if what.startswith("V") else VOCABULARY
    training = {"training": {"batch": size}} if what.startswith("B") else {}
    model = {"model": {"decoder": {"hidden": size}}} if what.startswith("H") else {}
    return training_step(resolve("best/tweets/hybrid-dense", flags=training | model), vocabulary, positions)[0]


def slope(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Least squares of log seconds on log size."""
    x, y = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / sum((a - middle_x) ** 2 for a in x)


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row a size."""
    for what, sizes in SIZES.items():
        timings = alternate([sized(what, size) for size in sizes], options.rounds)
        yield {
            "size": what,
            "values": ", ".join(map(str, sizes)),
            "step_ms": ", ".join(f"{timing.ms:g}" for timing in timings),
            "exponent": round(slope(sizes, [timing.median for timing in timings]), 2),
        }


def main() -> None:
    """Measure and print a table."""
    options = parsed(arguments(__doc__, rounds=7))
    report(options, "growth", rows(options))


if __name__ == "__main__":
    main()
