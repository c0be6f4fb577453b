"""Training throughput of every architecture, beside one plain `nn.LSTM` of the same width.

    make bench          (or: .venv/bin/python benchmarks/training.py --rounds 9 --json throughput.json)

Every row of the study trains at its own sizes, on random tokens of its corpus's shape with its own batch size: forward,
loss, backward, clipping, optimizer. So do the two architectures that the study's tables lack, `lm` (the preset
best/tweets/lm) and `ladder-rnn`, on the shape of tweets with batches of 32. The yardstick is forward and backward of one
`nn.LSTM` layer of the row's decoder width (256 for `cnn`, which has none) on the same batch and steps. The two sides
alternate, round by round in one process, after a warm-up; the figures are medians over rounds, the spread is the range of
the middle half.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from textvae.architectures import find_architecture
from textvae.presets import preset_names
from textvae.settings import RunSettings, resolve
from textvae.training.objective import loss_of
from textvae.training.trainer import optimizer_for

SHAPES = {"toy": (12, 17), "tweets": (84, 32)}
"""V and T_max of the study's two corpora."""

BEYOND_THE_STUDY = {"best/tweets/lm": 32, "ladder-rnn": 32}
"""Presets of the architectures that the study's tables lack, on the shape of tweets, and their batches."""

WARM_UP = 2


def training_step(settings: RunSettings, vocabulary: int, positions: int) -> tuple[Callable[[], None], int]:
    """One whole step of a row on a full batch, and the characters in it."""
    torch.manual_seed(0)
    model = find_architecture(settings.architecture).build(settings.model, vocabulary, positions)
    optimizer = optimizer_for(model, settings.training)
    tokens = torch.randint(2, vocabulary, (settings.training.batch, positions))
    tokens[:, -1] = 0

    def step() -> None:
        loss = loss_of(model(tokens), 1.0, settings.objective)
        loss.backward()
        if settings.training.clip:
            nn.utils.clip_grad_norm_(model.parameters(), settings.training.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step, settings.training.batch * (positions - 1)


def plain_lstm_step(width: int, batch: int, positions: int) -> Callable[[], None]:
    """Forward and backward of one `nn.LSTM` layer."""
    layer = nn.LSTM(width, width, batch_first=True)
    x = torch.randn(batch, positions, width)

    def step() -> None:
        layer(x)[0].sum().backward()

    return step


def alternate(sides: list[Callable[[], None]], rounds: int) -> list[list[float]]:
    """Seconds of each side, round by round, the sides taking turns."""
    seconds: list[list[float]] = [[] for _ in sides]
    for round_number in range(rounds + WARM_UP):
        for side, step in enumerate(sides):
            began = time.perf_counter()
            step()
            if round_number >= WARM_UP:
                seconds[side].append(time.perf_counter() - began)
    return seconds


def spread(values: list[float]) -> tuple[float, float]:
    """The middle half of the values."""
    low, _, high = statistics.quantiles(values, n=4)
    return low, high


def settings_of(name: str) -> tuple[RunSettings, int, int]:
    """Settings of a preset, and the V and T_max it is measured at."""
    if name in BEYOND_THE_STUDY:
        return resolve(name, flags={"training": {"batch": BEYOND_THE_STUDY[name]}}), *SHAPES["tweets"]
    return resolve(name), *SHAPES[name.split("/")[1]]


def yardstick_width(settings: RunSettings) -> int:
    """The width of the decoder's recurrent state; 256 for `cnn`, which has none."""
    decoder = getattr(settings.model, "decoder", None)
    return decoder.hidden if decoder else 256


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Throughput of one preset beside its yardstick."""
    settings, vocabulary, positions = settings_of(name)
    step, characters = training_step(settings, vocabulary, positions)
    width = yardstick_width(settings)
    ours, plain = alternate([step, plain_lstm_step(width, settings.training.batch, positions)], rounds)
    median = statistics.median(ours)
    low, high = spread([characters / seconds for seconds in ours])
    return {
        "preset": name,
        "characters_per_second": round(characters / median),
        "middle_half": [round(low), round(high)],
        "step_ms": round(1e3 * median, 2),
        "plain_lstm_ms": round(1e3 * statistics.median(plain), 2),
        "ratio": round(median / statistics.median(plain), 2),
    }


def main() -> None:
    """Measure every row and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, fp32")
    print(f"{'preset':28} {'characters/s':>13} {'middle half':>19} {'step ms':>9} {'nn.LSTM ms':>11} {'step / nn.LSTM':>15}")
    rows = []
    for name in [*(name for name in preset_names() if name.startswith("study/")), *BEYOND_THE_STUDY]:
        row = measure(name, arguments.rounds)
        rows.append(row)
        low, high = row["middle_half"]
        print(
            f"{name:28} {row['characters_per_second']:>13,} {f'{low:,}-{high:,}':>19} {row['step_ms']:>9} "
            f"{row['plain_lstm_ms']:>11} {row['ratio']:>15}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
