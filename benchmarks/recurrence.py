"""The fused recurrent kernel beside `nn.LSTM` and `nn.GRU`: forward and backward, fp32, and the machine's GEMM rate in the same run.

    .venv/bin/python benchmarks/recurrence.py --threads 1

The sides alternate round by round in one process after a warm-up; figures are medians, ratios are ratios of medians, torch's time
over the kernel's. GF/s count the multiplications and additions of the layer's products, three times those of its forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from frame import Side, alternate, arguments, gflops, parsed, ratio, report, square_product

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


def passes(layer: Recurrent, x: torch.Tensor, weight: torch.Tensor, fused: bool) -> Side:
    """Forward and backward of a layer, by the kernel or by torch."""
    zeros = layer.zeros(x)

    def plain() -> None:
        layer.core(x, zeros if layer.states == 2 else zeros[0])[0].backward(weight)

    def ours() -> None:
        layer(x, zeros)[0].backward(weight)

    return ours if fused else plain


def measure(cell: Any, batch: int, positions: int, hidden: int, inputs: int, rounds: int) -> dict[str, Any]:
    """One row: torch, the kernel and the square product."""
    torch.manual_seed(0)
    layer = Recurrent(cell, inputs, hidden)
    x, weight = torch.randn(batch, positions, inputs, requires_grad=True), torch.randn(batch, positions, hidden)
    plain, ours, product = alternate([*(passes(layer, x, weight, fused) for fused in (False, True)), square_product()], rounds)
    gates = 4 if cell == "lstm" else 3
    rate = 3 * 2e-9 * batch * positions * gates * hidden * (hidden + inputs) / ours.median
    return {
        "cell": f"{cell}, B {batch}, T {positions}, H {hidden}",
        "torch_ms": plain.ms,
        "kernel_ms": ours.ms,
        **ratio(plain, ours),
        "GF/s": round(rate, 1),
        "GEMM_GF/s": gflops(product),
        "share": round(rate / gflops(product), 2),
    }


def rows(rounds: int) -> Iterator[dict[str, Any]]:
    """Every row."""
    for row in ROWS:
        yield measure(*row, rounds)


def main() -> None:
    """Measure every row and print a table."""
    options = parsed(arguments(__doc__, rounds=21))
    if kernel().library is None:
        raise SystemExit(f"the kernel is absent ({kernel().reason}): there is nothing to compare")
    has_bf16 = "avx512_bf16" in processor_features()
    print(f"bf16: skipped, the kernel computes in fp32 only{'' if has_bf16 else ' and this processor has no AVX512-BF16'}")
    report(options, "recurrence", rows(options.rounds))


if __name__ == "__main__":
    main()
