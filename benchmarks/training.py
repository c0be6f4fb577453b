"""A whole training step of every preset: with the kernel and without it, beside one plain `nn.LSTM` and the machine's GEMM rate.

    .venv/bin/python benchmarks/training.py --threads 1

Every row of the study trains at its own sizes, on random tokens of its corpus's shape with its own batch size: forward, loss,
backward, clipping, optimizer. `without_kernel` is the same step with TEXTVAE_KERNEL=off, and `ratio` is its time over ours. The
yardstick `nn.LSTM` is forward and backward of one layer of the row's decoder width (256 for `cnn`, which has none) on the same
batch and steps. `Gop` are the operations of the step's products, `GF/s` how many of them are done a second. All sides alternate,
round by round in one process, after a warm-up; figures are medians over rounds. Where the processor multiplies bf16, the step stands
there in bf16 too (`bf16_ms`, `over_fp32`; `bf16_ratio` as `ratio`).
"""

from __future__ import annotations

from typing import Any

import torch
from frame import Side, Timing, alternate, arguments, gflops, parsed, ratio, report, square_product, without_kernel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from textvae.architectures import find_architecture
from textvae.nn.kernel.compiling import kernel
from textvae.presets import preset_names
from textvae.settings import RunSettings, resolve
from textvae.training.adam import optimizer_for
from textvae.training.objective import loss_of

SHAPES = {"toy": (12, 17), "tweets": (84, 32)}
"""V and T_max of the study's two corpora."""


def training_step(settings: RunSettings, vocabulary: int, positions: int, mixed: bool = False) -> tuple[Side, int]:
    """One whole step of a row on a full batch, in fp32 or by autocast in bf16, and the characters in it."""
    torch.manual_seed(0)
    model = find_architecture(settings.architecture).build(settings.model, vocabulary, positions)
    optimizer = optimizer_for(model, settings.training)
    tokens = torch.randint(2, vocabulary, (settings.training.batch, positions))
    tokens[:, -1] = 0

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = loss_of(model(tokens), 1.0, settings.objective)
        loss.backward()
        if settings.training.clip:
            nn.utils.clip_grad_norm_(model.parameters(), settings.training.clip)
        optimizer.step()
        optimizer.forget()

    return step, settings.training.batch * (positions - 1)


def operations(settings: RunSettings, vocabulary: int, positions: int) -> int:
    """Multiplications and additions of a step's products, forward and backward, as torch counts them in float64 (layers taken apart)."""
    torch.set_default_dtype(torch.float64)
    try:
        model = find_architecture(settings.architecture).build(settings.model, vocabulary, positions)
        with FlopCounterMode(display=False) as counter:
            loss_of(model(torch.full((settings.training.batch, positions), 2)), 1.0, settings.objective).backward()
        return counter.get_total_flops()
    finally:
        torch.set_default_dtype(torch.float32)


def plain_lstm_step(width: int, batch: int, positions: int) -> Side:
    """Forward and backward of one `nn.LSTM` layer."""
    layer = nn.LSTM(width, width, batch_first=True)
    x = torch.randn(batch, positions, width)

    def step() -> None:
        layer(x)[0].sum().backward()

    return step


def yardstick_width(settings: RunSettings) -> int:
    """The width of the decoder's recurrent state; 256 for `cnn`, which has none."""
    decoder = getattr(settings.model, "decoder", None)
    return decoder.hidden if decoder else 256


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Throughput of one preset beside torch's, and beside the yardsticks."""
    settings, (vocabulary, positions) = resolve(name), SHAPES[name.split("/")[1]]
    step, characters = training_step(settings, vocabulary, positions)
    layer = plain_lstm_step(yardstick_width(settings), settings.training.batch, positions)
    mixed = [training_step(settings, vocabulary, positions, mixed=True)[0]] if kernel().bf16 else []
    fast = [*mixed, *map(without_kernel, mixed)]
    ours, torchs, plain, product, *in_bf16 = alternate([step, without_kernel(step), layer, square_product(), *fast], rounds)
    gigas = operations(settings, vocabulary, positions) / 1e9
    return {
        "preset": name,
        "Gop": round(gigas, 2),
        "characters/s": round(characters / ours.median),
        "step_ms": ours.ms,
        "without_kernel_ms": torchs.ms,
        **ratio(torchs, ours),
        "nn.LSTM_ms": plain.ms,
        "step/nn.LSTM": round(ours.median / plain.median, 2),
        "GF/s": round(gigas / ours.median, 1),
        "GEMM_GF/s": gflops(product),
        **_in_bf16(ours, *in_bf16),
    }


def _in_bf16(single: Timing, *mixed: Timing) -> dict[str, Any]:
    """Where the processor multiplies bf16: the same step in it, how much faster than in fp32, and than without the kernel."""
    if not mixed:
        return {}
    ours, torchs = mixed
    return {"bf16_ms": ours.ms, "over_fp32": ratio(single, ours)["ratio"], "bf16_ratio": ratio(torchs, ours)["ratio"]}


def main() -> None:
    """Measure every row and print a table."""
    options = parsed(arguments(__doc__, rounds=9))
    families = ("study/", "best/toy/", "best/tweets/")
    names = [name for name in preset_names() if name.startswith(families)]
    report(options, "training", (measure(name, options.rounds) for name in names))


if __name__ == "__main__":
    main()
