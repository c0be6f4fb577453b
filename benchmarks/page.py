"""docs/performance.md and its picture, from the figures that the benchmarks wrote to docs/performance/.

make bench          (all benchmarks, then this)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from textvae.study.figures.style import BLUE, GREEN, ORANGE, drawing
from textvae.study.pages.markdown import table

DOCS = Path(__file__).parent.parent / "docs"
FIGURES = DOCS / "performance"

PARTS = {
    "recurrence": (
        "The recurrent kernel",
        "Forward and backward of one layer beside torch's own, with gradients of the input and of the weights, on two cores with "
        "AVX512-BF16. torch stands here twice: as it comes (`torch_ms`, over ours `ratio`), in a process of its own, and where freed "
        "memory is kept for the next step, as textvae keeps it for itself (`kept_ms`, `over_kept`): blocks of more than 32 MB are else "
        "mapped and cleared anew at each step. Rows with symbols are a decoder's layer and its embedding of 128 numbers: torch embeds "
        "the text and reads it; the kernel looks up what each symbol adds to the gates, so that there is no product of the embedded "
        "text (presets that drop parts of it in training gain so in evaluation alone). In bf16 torch runs under autocast; `over_fp32` "
        "is torch's time in fp32 over the kernel's in bf16. `GF/s` counts the products that the kernel does; `share` is of the rate at "
        "which the same run multiplies square matrices (`GEMM_GF/s`). Two more runs of the same day had, of a "
        "decoder's layer in bf16, ratios of 2.30 and 2.34 at H 256, 1.96 and 1.81 at H 512; over torch in fp32 3.74 and 3.65, 2.99 and "
        "3.00; with memory kept 1.72 and 1.62, 1.48 and 1.41; shares of 0.74 and 0.70, 0.88 and 0.88. LSTM layers that read numbers had "
        "ratios of 1.77 and 1.69, 1.53 and 1.52, with memory kept 1.25 and 1.23, 1.25 and 1.19. (The first of each is of commit "
        "627521d.)",
    ),
    "recurrence-avx2": ("The recurrent kernel on AVX2", "As above on one core without AVX-512, in fp32."),
    "recurrence-amx": (
        "The recurrent kernel on matrix registers",
        "As above on a processor with AMX, which torch's autocast uses too, before symbols were read by a table. The machine is shared "
        "with others: the square "
        "product's rate stood at less than half of a quiet hour's for most of this run. Two more runs, an hour later and as loud, had "
        "ratios of 1.71 and 1.76 at H 256, 1.30 and 1.48 at H 512, 1.44 and 1.61 at H 1024; over torch in fp32 3.5 and 3.3, 3.2 and 4.0, "
        "2.9 and 3.0; over autocast with memory kept 1.22 and 1.28, 0.98 and 1.05, 1.20 and 1.19. Without matrix registers bf16 gained "
        "nothing on this processor: at "
        "H 256 `python benchmarks/recurrence.py --threads 1` at commit 7c3a914, whose kernel had AVX512-BF16 alone, took 167 ms, in fp32 "
        "170; and torch, with ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16, 283 where its fp32 took 196. So `training.precision auto` stays in "
        "fp32 on Intel processors without them.",
    ),
    "training": (
        "A training step",
        "Every preset at its own sizes: forward, loss, backward, clipping, optimizer. `ratio` is the time of the same step with "
        "`TEXTVAE_KERNEL=off` over ours; `nn.LSTM_ms` is forward and backward of one plain layer of the decoder's width. `Gop` "
        "are the operations of the step's products, as torch counts them. In bf16, which is the default on this processor, `bf16_ms`; "
        "`over_fp32` is the time in fp32 over it, `bf16_ratio` that of the same step in bf16 with `TEXTVAE_KERNEL=off`.",
    ),
    "sampling": (
        "Sampling",
        "32 symbols a sequence from an LSTM of 256 units, beside the loop one writes first (`nn.LSTM` a step at a time); and beam search "
        "in the kernel beside itself step by step (`stepwise_ms`), as it runs without a compiler. `GF/s` counts the products that no way "
        "of sampling can do without; `GEMM_GF/s` is in fp32, as the loop is. On this processor ours draws in bf16. In fp32 on an AMD EPYC "
        "with AVX2 the ratios were 16.1, 3.8 and 2.3 (commit 3c08ab7).",
    ),
    "pipeline": (
        "Around training",
        "Reading, batches, evaluation, encoding and start-up, each beside what one writes first. Batches hold an eighth of the padding "
        "of random ones; encoding is as fast as the plain way. The first training step stands beside torch's import alone, which it "
        "waits for.",
    ),
    "whole": (
        "A whole training",
        "`share` is what of a step's time goes into the compiled kernel's layers and torch's matrix products; `passes` into what else the "
        "kernel does: embedded text, dropout, distortions, clipping, Adam and averages. The rest is Python and dispatch, which long lines "
        "hide. All of it in bf16, the default on this processor. `adds` is what batches, schedules, means, averages, progress and a share "
        "of the checkpoints, which are written beside the next steps, add to bare steps: the median of the rounds' own ratios. "
        "A second run had shares of 90.9, 95.0, 73.1 and 71.3, and 2.1 for what the loop adds.",
    ),
    "growth": (
        "How a step grows",
        "One size is doubled while the others stay. `exponent` is the slope of log time on log size: 1 is in proportion, less is a "
        "part that does not grow.",
    ),
    "quality": (
        "Time to quality",
        "`best/tweets/hybrid-dense` on the study's tweets of fewer than 32 characters. The study's best printed row says -65. "
        "`from_command` counts from the start of the process.",
    ),
    "quality-avx2": ("Time to quality on AVX2", "The same in fp32 on two cores without AVX-512."),
    "quality-amx": ("Time to quality on matrix registers", "The same on two cores of a processor with matrix registers."),
    "gpu": (
        "On a GPU",
        "Whole training steps with everything launched as it comes in fp32 and bf16, and recorded in bf16 (CUDA graphs, the default); "
        "`share` is of the rate of a large bf16 product in the same run, which models this small do not come near. Sampling is 32 "
        "symbols a sequence by the loop that one writes first, and by ours, recorded; evaluation the importance bound by how many tokens "
        "are held at once (200,000 by default); `adds` as above. fp32 is true fp32, without TF32; the naive loop has TF32. "
        "What is launched as it comes waits for the host: on another one (commit 85d7ba3) `over_bf16` of hybrid-dense was 6.99, 5.04, 2.71 "
        "and 1.45, of ladder-cnn-5 7.78, 7.61, 4.42 and 2.32, with the recorded steps as here.",
    ),
    "quality-gpu": ("Time to quality on a GPU", "The same, with no flag but the corpus and the preset."),
}

MODEL = """## What a step costs

With B lines of T symbols, an input of I numbers a step, H units and G gates (4 in an LSTM, 3 in a GRU), a recurrent layer takes

    6 B T G H (H + I)

operations forward and backward (of symbols that are looked up the embedded part of I counts once for each of the V, not for each of the
B T steps, and takes no memory), the output layer 6 B T H V, a convolution of kernel k from C to C' channels 6 B S k C C' at its S
positions, and a rung 6 B of its layers' weights. All of it grows in proportion to B and T; what does not is a product's start and
the optimizer, which moves 28 bytes a weight. An LSTM layer's memory is 4 B T (6 H + I) bytes until backward, the logits'
4 B T V. The products do not bound the time alone: the presets do them in fp32 at 37% to 93% of the rate of a large
square product on the same thread (half of them above 70%), which is the line of the picture; the rest are passes over memory,
dispatch and Python.
"""


def main() -> None:
    """Write the page and the picture."""
    files = {name: FIGURES / f"{name}.json" for name in PARTS}
    found = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}
    if not found:
        raise SystemExit(f"{FIGURES} holds no figures: run make bench")
    lines = [
        "# Speed, as measured\n",
        "Written by `make bench`; medians, the sides of a ratio taking turns in one process. `ratio` is of the medians, `middle_half` "
        "the middle half of the rounds' own ratios: on a machine shared with others the one may lie outside the other, and rows of "
        "different minutes compare less well than the sides of one row.\n",
    ]
    for name, told in found.items():
        title, about = PARTS[name]
        machine = ", ".join(f"{key} {value}" for key, value in told["machine"].items())
        lines += [f"## {title}\n", f"{about}\n", f"    {told['command']}\n", _tables(told["rows"])]
        lines.append(f"At commit {told['commit']}, {told['date']}; {machine}.\n")
        if name == "training":
            lines += ["![A step's time against its operations](performance.png)\n", MODEL]
            _draw(told["rows"])
        if name == "gpu":
            lines.append("![Lines a second over lines a batch](performance-gpu.png)\n")
            _draw_gpu([row for row in told["rows"] if "B" in row])
    (DOCS / "performance.md").write_text("\n".join(lines), encoding="utf-8")


def _draw_gpu(rows: list[dict[str, Any]]) -> None:
    """Lines a second over lines a batch, a panel a preset."""
    ways = (("fp32", BLUE, "o"), ("bf16", ORANGE, "s"), ("recorded", GREEN, "^"))
    presets = list(dict.fromkeys(row["preset"] for row in rows))
    with drawing([DOCS / "performance-gpu.png"], (10.0, 3.6), 1, len(presets)) as (_, axes):
        for axis, preset in zip(axes[0], presets, strict=True):
            own = [row for row in rows if row["preset"] == preset]
            sizes = [row["B"] for row in own]
            for way, colour, marker in ways:
                axis.plot(sizes, [1e3 * row["B"] / row[f"{way}_ms"] for row in own], color=colour, marker=marker, label=way)
            axis.set(xscale="log", yscale="log", xlabel="lines a batch", title=preset, ylim=(3e3, 1e6))
            axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axis.set_yticks(ticks := (10_000, 100_000, 1_000_000), [f"{tick:,}" for tick in ticks])
            axis.minorticks_off()
        axes[0, 0].set(ylabel="lines a second")
        axes[0, 0].legend()


def _tables(rows: list[dict[str, Any]]) -> str:
    """A table for each run of rows with the same columns."""
    groups: list[list[dict[str, Any]]] = []
    for row in rows:
        if not groups or list(groups[-1][0]) != list(row):
            groups.append([])
        groups[-1].append(row)
    return "\n".join(table(list(group[0]), [[str(value) for value in row.values()] for row in group]) for group in groups)


def _draw(rows: list[dict[str, Any]]) -> None:
    """Milliseconds of a step over its operations, with the kernel and without."""
    sides = (("with the kernel", "step_ms", BLUE, "o"), ("TEXTVAE_KERNEL=off", "without_kernel_ms", ORANGE, "x"))
    with drawing([DOCS / "performance.png"], (7.0, 4.2)) as (_, axes):
        axis = axes[0, 0]
        for name, column, colour, marker in sides:
            axis.scatter([row["Gop"] for row in rows], [row[column] for row in rows], label=name, color=colour, marker=marker, s=24)
        ends = [min(row["Gop"] for row in rows), max(row["Gop"] for row in rows)]
        rate = sorted(row["GEMM_GF/s"] for row in rows)[len(rows) // 2]
        axis.plot(ends, [1e3 * end / rate for end in ends], color="black", linewidth=1, label=f"square products, {rate:.0f} GF/s")
        axis.set(xscale="log", yscale="log", xlabel="operations of a step's products (10⁹)", ylabel="milliseconds a step")
        axis.set_xticks(ticks := (1, 2, 5), [str(tick) for tick in ticks])
        axis.set_yticks(ticks := (10, 20, 50, 100, 200), [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.legend()


if __name__ == "__main__":
    main()
