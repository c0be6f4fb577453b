"""The fused recurrent kernel beside `nn.LSTM` and `nn.GRU`: forward and backward, and the machine's GEMM rate in the same run.

    .venv/bin/python benchmarks/recurrence.py --threads 1

torch stands here twice: as it comes, in a process of its own, and in ours, where freed memory is kept for the next step
(`kept`): glibc maps and clears blocks of more than 32 MB anew each time, which takes up to a third of torch's time. The sides
alternate round by round after a warm-up; figures are medians, ratios are ratios of medians, torch's time over the kernel's. GF/s
count the multiplications and additions of the products that the kernel does. Rows of symbols are a decoder's layer with its embedding:
torch embeds the text and reads it, the kernel looks up what each symbol adds to the gates. In bf16 the kernel stands
beside torch's autocast and torch's fp32, where the processor multiplies bf16; elsewhere those rows are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from frame import Apart, Side, Timing, alternate, arguments, gflops, parsed, ratio, report, square_product
from torch import nn

from textvae.config import CellName
from textvae.nn.kernel.compiling import kernel
from textvae.nn.recurrent import Recurrent


@final
@dataclass(frozen=True)
class Case:
    """A layer, and what it reads."""

    cell: CellName
    batch: int
    positions: int
    hidden: int
    inputs: int
    """Numbers at each step; of symbols, what each is embedded in."""

    symbols: int = 0
    """How many there are; none, and numbers are read as they are."""

    @property
    def label(self) -> str:
        """What a row is called."""
        return f"{self.cell}, B {self.batch}, T {self.positions}, H {self.hidden}" + (f", {self.symbols} symbols" if self.symbols else "")

    @property
    def operations(self) -> int:
        """Multiplications and additions of the kernel's products, forward and backward: of symbols each is multiplied once."""
        gates, steps = (4 if self.cell == "lstm" else 3) * self.hidden, self.batch * self.positions
        return 6 * gates * (steps * self.hidden + (self.symbols or steps) * self.inputs)


ROWS = (
    Case("lstm", 64, 17, 192, 96),
    Case("lstm", 64, 17, 256, 96),
    Case("lstm", 128, 64, 256, 128),
    Case("lstm", 128, 64, 512, 128),
    Case("gru", 32, 17, 256, 65),
    Case("gru", 32, 32, 256, 65),
    Case("lstm", 128, 64, 256, 128, symbols=84),
    Case("lstm", 128, 64, 512, 128, symbols=84),
    Case("gru", 128, 64, 256, 128, symbols=84),
)

BF16_ROWS = tuple(
    Case(cell, 128, positions, hidden, 128, symbols)
    for symbols in (0, 84)
    for cell, positions, hidden in (("lstm", 64, 256), ("lstm", 64, 512), ("lstm", 32, 1024), ("gru", 64, 256))
)


def passes(case: Case, fused: bool, mixed: bool = False) -> Side:
    """Forward and backward of a layer that is drawn here, by the kernel or by torch, in fp32 or under autocast."""
    torch.manual_seed(0)
    layer, shape = Recurrent(case.cell, case.inputs, case.hidden), (case.batch, case.positions)
    weight, nothing = torch.randn(*shape, case.hidden), torch.zeros(*shape, 0)
    zeros = layer.zeros(weight)
    state = zeros if layer.states == 2 else zeros[0]
    if case.symbols:
        embedding, symbols = nn.Embedding(case.symbols, case.inputs), torch.randint(0, case.symbols, shape)
        forward = partial(layer.read, symbols, embedding.weight, nothing, zeros) if fused else lambda: layer.core(embedding(symbols), state)
    else:
        x = torch.randn(*shape, case.inputs, requires_grad=True)
        forward = partial(layer, x, zeros) if fused else partial(layer.core, x, state)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            output = forward()[0]
        output.backward(weight.to(output.dtype))

    return run


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """One row: torch, torch with memory kept, the kernel and the square product."""
    here = passes(case, False), passes(case, True), square_product()
    plain, kept, ours, product = alternate([Apart(passes, case, False), *here], rounds)
    return {
        "cell": case.label,
        "torch_ms": plain.ms,
        "kept_ms": kept.ms,
        "kernel_ms": ours.ms,
        **ratio(plain, ours),
        "over_kept": ratio(kept, ours)["ratio"],
        **_rates(case, ours, product),
    }


def measure_bf16(case: Case, rounds: int) -> dict[str, Any]:
    """One row: torch in fp32 and under autocast, autocast with memory kept, the kernel under autocast, and the square product in bf16."""
    apart = Apart(passes, case, False), Apart(passes, case, False, True)
    here = passes(case, False, True), passes(case, True, True), square_product(torch.bfloat16)
    plain, theirs, kept, fused, product = alternate([*apart, *here], rounds)
    return {
        "cell in bf16": case.label,
        "fp32_ms": plain.ms,
        "autocast_ms": theirs.ms,
        "kept_ms": kept.ms,
        "kernel_ms": fused.ms,
        "over_fp32": ratio(plain, fused)["ratio"],
        **ratio(theirs, fused),
        "over_kept": ratio(kept, fused)["ratio"],
        **_rates(case, fused, product),
    }


def _rates(case: Case, ours: Timing, product: Timing) -> dict[str, float]:
    rate = case.operations * 1e-9 / ours.median
    return {"GF/s": round(rate, 1), "GEMM_GF/s": gflops(product), "share": round(rate / gflops(product), 2)}


def rows(rounds: int) -> Iterator[dict[str, Any]]:
    """Every row that this processor can be measured on."""
    for row in ROWS:
        yield measure(row, rounds)
    for row in BF16_ROWS if kernel().bf16 else ():
        yield measure_bf16(row, rounds)


def main() -> None:
    """Measure every row and print a table."""
    options = parsed(arguments(__doc__, rounds=21))
    if kernel().library is None:
        raise SystemExit(f"the kernel is absent ({kernel().reason}): there is nothing to compare")
    report(options, "recurrence", rows(options.rounds))


if __name__ == "__main__":
    main()
