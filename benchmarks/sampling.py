"""Sampling beside the plain loop: `decode_sampled` and a naive `nn.LSTM` loop of the same decoder, 1, 64 and 1024 sequences.

    .venv/bin/python benchmarks/sampling.py --threads 1

Both sides draw 32 symbols a sequence (no end symbol: every row walks all steps) from one decoder with z at every step. The
naive side is what one writes first: embedding, `nn.LSTM` on one step, linear, softmax, `torch.multinomial`, and it reads z
beside the symbol at every step. The sides alternate round by round in one process after a warm-up; figures are medians, the
ratio is the naive side's over ours. `--cell gru` is the same with `nn.GRU`, `TEXTVAE_KERNEL=off` measures the way without
a compiler.
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
from torch import Tensor

from textvae.architectures import find_architecture
from textvae.config import LatentSettings, RecurrentDecoderSettings
from textvae.data.tokens import EOS, UNK
from textvae.doctor import processor
from textvae.generation import Sampling, decode_sampled, prior_latents
from textvae.model.emitters import RecurrentEmitter
from textvae.model.text_model import LatentTextModel
from textvae.nn.kernel.compiling import kernel

SYMBOLS, VOCABULARY, EMBEDDING, LATENT = 32, 84, 128, 32
COUNTS = (1, 64, 1024)
WARM_UP = 1


def model_of(cell: str, hidden: int) -> LatentTextModel:
    """A VAE with one recurrent layer as decoder and a dense latent, untrained."""
    torch.manual_seed(0)
    family = find_architecture("rnn")
    decoder = RecurrentDecoderSettings(cell=cell, hidden=hidden, embedding=EMBEDDING, feeding="teacher")  # type: ignore[arg-type]
    settings = family.settings(decoder=decoder, latent=LatentSettings(shape="dense", channels=(LATENT,)))
    return family.build(settings, VOCABULARY, SYMBOLS + 1).eval()


def naive(model: LatentTextModel, z: Tensor) -> Tensor:
    """The plain loop: tokens (N, 32), for z (N, 1, Z)."""
    emitter = model.decoder.emitter
    assert isinstance(emitter, RecurrentEmitter)
    parts = emitter.core
    with torch.inference_mode():
        context = model.decoder.expander(z)  # (N, T_max, C)
        state = tuple(part.contiguous() for part in parts.initial_state(z))
        symbol, symbols = torch.full((len(z), 1), EOS), []
        for position in range(SYMBOLS):
            x = torch.cat([parts.embedding(symbol), context[:, position : position + 1]], -1)
            output, after = parts.recurrent.core(x, state if len(state) == 2 else state[0])
            state = after if len(state) == 2 else (after,)
            logits = parts.output(output[:, 0])
            logits[:, [EOS, UNK]] = -torch.inf
            symbol = torch.multinomial(logits.softmax(-1), 1)
            symbols.append(symbol)
        return torch.cat(symbols, 1)


def alternate(sides: list[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each side, round by round, the sides taking turns."""
    seconds: list[list[float]] = [[] for _ in sides]
    for round_number in range(rounds + WARM_UP):
        for side, run in enumerate(sides):
            began = time.perf_counter()
            run()
            if round_number >= WARM_UP:
                seconds[side].append(time.perf_counter() - began)
    return seconds


def measure(model: LatentTextModel, count: int, sampling: Sampling, rounds: int) -> dict[str, Any]:
    """Both sides for a number of sequences."""
    z = prior_latents(model, count)
    generator = torch.Generator().manual_seed(0)
    drawn = decode_sampled(model, z, sampling, generator, forbidden=(EOS, UNK))
    assert drawn.shape == (count, SYMBOLS + 1), "every sequence takes all steps"
    sides = [lambda: naive(model, z), lambda: decode_sampled(model, z, sampling, generator, forbidden=(EOS, UNK))]
    plain, ours = alternate(sides, rounds)
    ratios = [p / o for p, o in zip(plain, ours, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "sequences": count,
        "naive_ms": round(1e3 * statistics.median(plain), 2),
        "ours_ms": round(1e3 * statistics.median(ours), 2),
        "ratio": round(statistics.median(plain) / statistics.median(ours), 2),
        "middle_half": [round(low, 2), round(high, 2)],
        "characters_per_second": round(count * SYMBOLS / statistics.median(ours)),
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=("lstm", "gru"), default="lstm")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{processor()}, {arguments.threads} threads, torch {torch.__version__}, fp32; kernel: {kernel().reason}")
    print(f"{arguments.cell}, {arguments.hidden} units, {SYMBOLS} symbols of {VOCABULARY}, z of {LATENT}")
    print(f"{'sequences':>9} {'naive ms':>10} {'ours ms':>10} {'ratio':>7} {'middle half':>15} {'characters/s':>13}")
    model, rows = model_of(arguments.cell, arguments.hidden), []
    for count in COUNTS:
        row = measure(model, count, Sampling(top_p=arguments.top_p), arguments.rounds)
        rows.append(row)
        low, high = row["middle_half"]
        print(
            f"{count:>9} {row['naive_ms']:>10} {row['ours_ms']:>10} {row['ratio']:>7} {f'{low}-{high}':>15} "
            f"{row['characters_per_second']:>13,}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
