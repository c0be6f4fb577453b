"""Sampling beside the plain loop: `decode_sampled` and a naive `nn.LSTM` loop of the same decoder, 1, 64 and 1024 sequences.

    .venv/bin/python benchmarks/sampling.py --threads 1

Both sides draw 32 symbols a sequence (no end symbol: every row walks all steps) from one decoder with z at every step. The
naive side is what one writes first: embedding, `nn.LSTM` on one step, linear, softmax, `torch.multinomial`, and it reads z
beside the symbol at every step. One sequence is drawn 16 times in a row. The sides alternate round by round in one process after
a warm-up; figures are medians, the ratio is the naive side's over ours; `GF/s` counts the products that no way of sampling can do
without, beside the rate of a large square product. `--cell gru` is the same with `nn.GRU`,
`TEXTVAE_KERNEL=off` measures the way without a compiler. Beam search stands beside itself step by step, as it runs without a
compiler.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from frame import Side, alternate, arguments, gflops, parsed, ratio, report, square_product, without_kernel
from torch import Tensor

from textvae.architectures import find_architecture
from textvae.data.tokens import EOS, UNK
from textvae.generation import Sampling, decode_beams, decode_sampled, prior_latents
from textvae.model.emitters import RecurrentEmitter
from textvae.model.text_model import LatentTextModel
from textvae.parts import LatentSettings, RecurrentDecoderSettings

SYMBOLS, VOCABULARY, EMBEDDING, LATENT = 32, 84, 128, 32
COUNTS = (1, 64, 1024)
BEAMS = 8
IN_A_ROW = 16
"""Sequences to a timing at least: one alone is over before the processor has fetched what it needs."""


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
        symbol, symbols = torch.full((len(z), 1), EOS, device=z.device), []
        for position in range(SYMBOLS):
            x = torch.cat([parts.embedding(symbol), context[:, position : position + 1]], -1)
            output, after = parts.recurrent.core(x, state if len(state) == 2 else state[0])
            state = after if len(state) == 2 else (after,)
            logits = parts.output(output[:, 0])
            logits[:, [EOS, UNK]] = -torch.inf
            symbol = torch.multinomial(logits.softmax(-1), 1)
            symbols.append(symbol)
        return torch.cat(symbols, 1)


def operations_of(model: LatentTextModel) -> int:
    """Operations that a symbol takes at the least: the products of the state with the gates and with the symbols."""
    emitter = model.decoder.emitter
    assert isinstance(emitter, RecurrentEmitter)
    return 2 * (emitter.core.recurrent.core.weight_hh_l0.numel() + emitter.core.output.weight.numel())


def in_a_row(side: Side, count: int) -> Side:
    """A side as often as it takes to draw `IN_A_ROW` sequences."""

    def run() -> None:
        for _ in range(max(1, IN_A_ROW // count)):
            side()

    return run


def measure(model: LatentTextModel, count: int, sampling: Sampling, rounds: int) -> dict[str, Any]:
    """Both sides for a number of sequences."""
    z = prior_latents(model, count)
    generator = torch.Generator().manual_seed(0)
    drawn = decode_sampled(model, z, sampling, generator, forbidden=(EOS, UNK))
    assert drawn.shape == (count, SYMBOLS + 1), "every sequence takes all steps"
    plain, ours, product = alternate(
        [
            in_a_row(lambda: naive(model, z), count),
            in_a_row(lambda: decode_sampled(model, z, sampling, generator, forbidden=(EOS, UNK)), count),
            square_product(),
        ],
        rounds,
    )
    return {
        "sequences": count,
        "naive_ms": round(1e3 * plain.median * count / max(count, IN_A_ROW), 2),
        "ours_ms": round(1e3 * ours.median * count / max(count, IN_A_ROW), 2),
        **ratio(plain, ours),
        "characters/s": round(max(count, IN_A_ROW) * SYMBOLS / ours.median),
        "GF/s": round(max(count, IN_A_ROW) * SYMBOLS * operations_of(model) / ours.median / 1e9, 1),
        "GEMM_GF/s": gflops(product),
    }


def measure_beams(model: LatentTextModel, count: int, rounds: int) -> dict[str, Any]:
    """Beam search for a number of sequences, step by step and in the kernel."""
    z = prior_latents(model, count)

    def search() -> None:
        decode_beams(model, z, BEAMS)

    stepwise, ours = alternate([without_kernel(search), search], rounds)
    return {"sequences": f"{count}, {BEAMS} beams", "stepwise_ms": stepwise.ms, "ours_ms": ours.ms, **ratio(stepwise, ours)}


def rows(model: LatentTextModel, sampling: Sampling, rounds: int) -> Iterator[dict[str, Any]]:
    """Every row."""
    for count in COUNTS:
        yield measure(model, count, sampling, rounds)
    for count in COUNTS:
        yield measure_beams(model, count, rounds)


def main() -> None:
    """Measure and print a table."""
    parser = arguments(__doc__, rounds=9)
    parser.add_argument("--cell", choices=("lstm", "gru"), default="lstm")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--top-p", type=float)
    options = parsed(parser)
    print(f"{options.cell}, {options.hidden} units, {SYMBOLS} symbols of {VOCABULARY}, z of {LATENT}")
    model, sampling = model_of(options.cell, options.hidden), Sampling(top_p=options.top_p)
    report(options, "sampling", rows(model, sampling, options.rounds))


if __name__ == "__main__":
    main()
