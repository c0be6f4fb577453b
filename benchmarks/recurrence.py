"""The fused recurrent kernel beside `nn.LSTM` and `nn.GRU`: forward and backward, and the machine's GEMM rate in the same run.

    .venv/bin/python benchmarks/recurrence.py --threads 1

torch stands here twice: as it comes, in a process of its own, and in ours, where freed memory is kept for the next step
(`kept`): glibc maps and clears blocks of more than 32 MB anew each time, which takes up to a third of torch's time. The sides
alternate round by round after a warm-up; figures are medians, ratios are ratios of medians, torch's time over the kernel's. GF/s
count the multiplications and additions of the layer's products, three times those of its forward pass. In bf16 the kernel stands
beside torch's autocast and torch's fp32, where the processor multiplies bf16; elsewhere those rows are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from frame import Apart, Side, Timing, alternate, arguments, gflops, parsed, ratio, report, square_product

from textvae.nn.kernel.compiling import kernel
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

BF16_ROWS = (("lstm", 128, 64, 256, 128), ("lstm", 128, 64, 512, 128), ("lstm", 128, 32, 1024, 128), ("gru", 128, 64, 256, 128))


def passes(layer: Recurrent, x: torch.Tensor, weight: torch.Tensor, fused: bool, mixed: bool = False) -> Side:
    """Forward and backward of a layer, by the kernel or by torch, in fp32 or under autocast."""
    zeros = layer.zeros(x)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            output = layer(x, zeros)[0] if fused else layer.core(x, zeros if layer.states == 2 else zeros[0])[0]
        output.backward(weight.to(output.dtype))

    return run


def torchs(mixed: bool, *shape: Any) -> Side:
    """The same by torch, of a layer that is drawn here."""
    return passes(*_drawn(*shape), False, mixed)


def measure(cell: Any, batch: int, positions: int, hidden: int, inputs: int, rounds: int) -> dict[str, Any]:
    """One row: torch, torch with memory kept, the kernel and the square product."""
    drawn = layer, x, _ = _drawn(cell, batch, positions, hidden, inputs)
    apart = Apart(torchs, False, cell, batch, positions, hidden, inputs)
    plain, kept, ours, product = alternate([apart, passes(*drawn, False), passes(*drawn, True), square_product()], rounds)
    rate = _rate(layer, x, ours)
    return {
        "cell": f"{cell}, B {batch}, T {positions}, H {hidden}",
        "torch_ms": plain.ms,
        "kept_ms": kept.ms,
        "kernel_ms": ours.ms,
        **ratio(plain, ours),
        "over_kept": ratio(kept, ours)["ratio"],
        "GF/s": rate,
        "GEMM_GF/s": gflops(product),
        "share": round(rate / gflops(product), 2),
    }


def measure_bf16(cell: Any, batch: int, positions: int, hidden: int, inputs: int, rounds: int) -> dict[str, Any]:
    """One row: torch in fp32 and under autocast, autocast with memory kept, the kernel under autocast, and the square product in bf16."""
    shape = cell, batch, positions, hidden, inputs
    drawn = layer, x, _ = _drawn(*shape)
    here = passes(*drawn, False, True), passes(*drawn, True, True), square_product(torch.bfloat16)
    plain, theirs, kept, fused, product = alternate([Apart(torchs, False, *shape), Apart(torchs, True, *shape), *here], rounds)
    rate = _rate(layer, x, fused)
    return {
        "cell": f"{cell} in bf16, B {batch}, T {positions}, H {hidden}",
        "fp32_ms": plain.ms,
        "autocast_ms": theirs.ms,
        "kept_ms": kept.ms,
        "kernel_ms": fused.ms,
        "over_fp32": ratio(plain, fused)["ratio"],
        **ratio(theirs, fused),
        "over_kept": ratio(kept, fused)["ratio"],
        "GF/s": rate,
        "GEMM_GF/s": gflops(product),
        "share": round(rate / gflops(product), 2),
    }


def _drawn(cell: Any, batch: int, positions: int, hidden: int, inputs: int) -> tuple[Recurrent, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    layer = Recurrent(cell, inputs, hidden)
    return layer, torch.randn(batch, positions, inputs, requires_grad=True), torch.randn(batch, positions, hidden)


def _rate(layer: Recurrent, x: torch.Tensor, timing: Timing) -> float:
    """GF/s of the layer's products."""
    gates = 4 if layer.states == 2 else 3
    return round(3 * 2e-9 * x.shape[0] * x.shape[1] * gates * layer.hidden * (layer.hidden + x.shape[2]) / timing.median, 1)


def rows(rounds: int) -> Iterator[dict[str, Any]]:
    """Every row that this processor can be measured on."""
    for row in ROWS:
        yield measure(*row, rounds)
    for row in BF16_ROWS if kernel().bf16 else ():
        yield measure_bf16(*row, rounds)


def main() -> None:
    """Measure every row and print a table."""
    options = parsed(arguments(__doc__, rounds=21))
    if kernel().library is None:
        raise SystemExit(f"the kernel is absent ({kernel().reason}): there is nothing to compare")
    report(options, "recurrence", rows(options.rounds))


if __name__ == "__main__":
    main()
