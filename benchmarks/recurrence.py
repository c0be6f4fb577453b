"""The fused recurrent kernel beside `nn.LSTM` and `nn.GRU`: forward and backward, fp32, and the machine's GEMM rate in the same run.

    .venv/bin/python benchmarks/recurrence.py --threads 1

The sides alternate round by round in one process after a warm-up; figures are medians, ratios are ratios of medians, torch's time
over the kernel's. GF/s count the multiplications and additions of the layer's products, three times those of its forward pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from textvae.doctor import processor
from textvae.nn.kernel.compiling import kernel, processor_features
from textvae.nn.recurrent import Recurrent

ROWS = (
    ("lstm", 64, 17, 192, 96),
    ("lstm", 64, 17, 256, 96),
    ("lstm", 128, 64, 256, 128),
    ("lstm", 128, 64, 512, 128),
    ("gru", 32, 17, 256, 65),
    ("gru", 32, 32, 256, 65),
)
"""Cell, B, T, H and the inputs at each step."""

SQUARE = 1024
"""Rows and columns of the yardstick's matrices."""

WARM_UP = 3


def passes(layer: Recurrent, x: torch.Tensor, weight: torch.Tensor, fused: bool) -> Callable[[], None]:
    """Forward and backward of a layer, by the kernel or by torch."""
    zeros = layer.zeros(x)

    def plain() -> None:
        layer.core(x, zeros if layer.states == 2 else zeros[0])[0].backward(weight)

    def ours() -> None:
        layer(x, zeros)[0].backward(weight)

    return ours if fused else plain


def seconds_of(sides: list[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each side, round by round, the sides taking turns."""
    seconds: list[list[float]] = [[] for _ in sides]
    for round_number in range(rounds + WARM_UP):
        for side, run in enumerate(sides):
            began = time.perf_counter()
            run()
            if round_number >= WARM_UP:
                seconds[side].append(time.perf_counter() - began)
    return seconds


def measure(cell: Any, batch: int, positions: int, hidden: int, inputs: int, rounds: int) -> dict[str, Any]:
    """One row: torch, the kernel and the square product."""
    torch.manual_seed(0)
    layer = Recurrent(cell, inputs, hidden)
    x, weight = torch.randn(batch, positions, inputs, requires_grad=True), torch.randn(batch, positions, hidden)
    square = torch.randn(SQUARE, SQUARE)
    sides: list[Callable[[], object]] = [passes(layer, x, weight, fused) for fused in (False, True)]
    plain, ours, product = (statistics.median(side) for side in seconds_of([*sides, lambda: square @ square], rounds))
    gates = 4 if cell == "lstm" else 3
    operations = 3 * 2 * batch * positions * gates * hidden * (hidden + inputs) / 1e9
    gemm = 2 * SQUARE**3 / 1e9 / product
    return {
        "cell": cell, "B": batch, "T": positions, "H": hidden, "inputs": inputs,
        "torch_ms": round(1e3 * plain, 2), "kernel_ms": round(1e3 * ours, 2), "ratio": round(plain / ours, 2),
        "kernel_gflops": round(operations / ours, 1), "gemm_gflops": round(gemm, 1), "share": round(operations / ours / gemm, 2),
    }  # fmt: skip


def main() -> None:
    """Measure every row and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = kernel()
    print(f"{processor()}, {arguments.threads} threads, torch {torch.__version__}; kernel: {found.reason}")
    if found.library is None:
        raise SystemExit("the kernel is absent: there is nothing to compare")
    has_bf16 = "avx512_bf16" in processor_features()
    print(f"bf16: skipped, the kernel computes in fp32 only{'' if has_bf16 else ' and this processor has no AVX512-BF16'}")
    print(
        f"{'cell':5} {'B':>4} {'T':>4} {'H':>4} {'torch ms':>9} {'kernel ms':>10} {'ratio':>6} {'GF/s':>6} {'GEMM GF/s':>10} {'share':>6}"
    )
    rows = []
    for row in ROWS:
        r = measure(*row, arguments.rounds)
        rows.append(r)
        print(
            f"{r['cell']:5} {r['B']:>4} {r['T']:>4} {r['H']:>4} {r['torch_ms']:>9} {r['kernel_ms']:>10} {r['ratio']:>6} "
            f"{r['kernel_gflops']:>6} {r['gemm_gflops']:>10} {r['share']:>6.0%}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
