"""On a GPU: training steps as they come and recorded, sampling, evaluation and encoding, each beside what one writes first.

    python benchmarks/gpu.py --corpus ../shared/data/tweets32

Training: whole steps of a preset (forward, loss, backward, clipping, optimizer) on batches gathered on the device from a corpus that
lies there, B lines each. `fp32` and `bf16` launch every operation as it comes, `recorded` replays bf16 steps (`training.graphs`); `GEMM`
is a large bf16 product in the same run, `share` the part of its rate at which a recorded step does its products. Sampling: as
`sampling.py`, both sides on the GPU. Evaluation: the importance bound with so many tokens held at once. The loop: as in `whole.py`. All
sides take turns, round by round in one process, after a warm-up, and wait for the device; figures are medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frame import Side, alternate, arguments, parsed, ratio, report
from pipeline import in_their_order
from sampling import SYMBOLS, model_of, naive
from whole import loop

from textvae.data.batches import BucketedBatches
from textvae.data.corpora import Prepared
from textvae.data.tokens import EOS, UNK
from textvae.evaluation.bounds import measure_bounds
from textvae.generation import Sampling, decode_beams, decode_sampled, prior_latents
from textvae.latent_vectors import encode
from textvae.settings import RunSettings, resolve
from textvae.training.adam import optimizer_for
from textvae.training.engine import launch
from textvae.training.feed import Feed
from textvae.training.session import prepared_model
from textvae.training.step import step_for
from textvae.training.trainer import LossOfBatch
from training import operations

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "hybrid-dense": ("best/tweets/hybrid-dense", {}),
    "ladder-cnn-5": ("best/tweets/ladder-cnn-5", {}),
    "hybrid-dense, H 1024": ("best/tweets/hybrid-dense", {"model": {"decoder": {"hidden": 1024}}}),
}
BATCHES = (128, 512, 2048, 8192)
SEQUENCES = (1, 64, 1024, 8192)
HELD = (50_000, 200_000, 800_000)
WAYS = {"fp32": ("32-true", False), "bf16": ("bf16-mixed", False), "recorded": ("bf16-mixed", True)}
STEPS = 10
"""Steps, or products, of a timing."""

LINES, EVALUATED, IMPORTANCE_SAMPLES, BEAMS = 10_000, 2_000, 50, 8
COUNTED, SQUARE = 8, 8192


def product() -> Side:
    """The yardstick: `STEPS` products of two square matrices of bf16."""
    square = torch.randn(SQUARE, SQUARE, dtype=torch.bfloat16, device="cuda")

    def run() -> None:
        for _ in range(STEPS):
            square @ square

    return run


def settings_of(name: str, corpus: Path, batch: int, way: str) -> RunSettings:
    """A preset of `PRESETS` with batches of B, trained one way."""
    preset, flags = PRESETS[name]
    precision, graphs = WAYS[way]
    training = {"batch": batch, "precision": precision, "graphs": graphs, "device": "cuda"}
    return resolve(preset, flags={**flags, "corpus": {"path": str(corpus)}, "training": training})


def steps(settings: RunSettings) -> Side:
    """`STEPS` training steps on batches of full width, the same ones every time, gathered on the device."""
    data, model, _ = prepared_model(settings)
    optimizer = optimizer_for(model, settings.training)
    engine = launch(settings.training, LossOfBatch(model, settings.objective), optimizer)
    step = step_for(settings.training, engine, optimizer)
    feed = Feed(BucketedBatches(data.training_table, settings.training.batch, 0, model.max_tokens, pool=1), engine.device)
    model.train()

    def run() -> None:
        for number, tokens in enumerate(feed.iterate(0)):
            if number == STEPS:
                break
            step.take(tokens, 1.0, 1e-4)

    for _ in range(8):  # each width is recorded at its fourth step
        run()
    return run


def training(name: str, corpus: Path, batch: int, rounds: int) -> dict[str, Any]:
    """One preset at one batch size, all ways."""
    sides = [steps(settings_of(name, corpus, batch, way)) for way in WAYS]
    single, mixed, recorded, gemm = alternate([*sides, product()], rounds)
    settings = settings_of(name, corpus, batch, "bf16")
    data = prepared_model(settings)[0]
    count = min(STEPS, -(-len(data.tables["train"]) // batch))
    few = replace(settings, training=replace(settings.training, batch=COUNTED))  # in proportion to B, and counted by doing them
    gigas = operations(few, data.tokenizer.vocabulary_size, data.max_length + 1) * batch / COUNTED / 1e9
    rate, peak = gigas * count / recorded.median / 1e3, 2e-12 * SQUARE**3 * STEPS / gemm.median
    return {
        "preset": name,
        "B": batch,
        "fp32_ms": round(single.ms / count, 2),
        "bf16_ms": round(mixed.ms / count, 2),
        "recorded_ms": round(recorded.ms / count, 2),
        "over_fp32": ratio(single, recorded)["ratio"],
        "over_bf16": ratio(mixed, recorded)["ratio"],
        "middle_half": ratio(mixed, recorded)["middle_half"],
        "lines/s": round(batch * count / recorded.median),
        "TF/s": round(rate, 2),
        "GEMM_TF/s": round(peak),
        "share": round(rate / peak, 3),
    }


def sampling(count: int, rounds: int) -> dict[str, Any]:
    """Strings drawn at once by the naive loop and by ours, and by beam search."""
    model = model_of("lstm", 256).to("cuda")
    z, generator = prior_latents(model, count), torch.Generator().manual_seed(0)
    sides: list[Side] = [
        lambda: naive(model, z),
        lambda: decode_sampled(model, z, Sampling(), generator, forbidden=(EOS, UNK)),
        lambda: decode_beams(model, z, BEAMS),
    ]
    plain, ours, beams = alternate(sides, rounds)
    told = {"naive_ms": plain.ms, "ours_ms": ours.ms, **ratio(plain, ours), f"{BEAMS}_beams_ms": beams.ms}
    return {"sequences": count, **told, "characters/s": round(count * SYMBOLS / ours.median)}


def measuring(data: Prepared, settings: RunSettings, rounds: int) -> Iterator[dict[str, Any]]:
    """Evaluation with more and more held at once, and encoding."""
    model = prepared_model(settings)[1].to("cuda").eval()
    table = data.tables["train"]
    few, many = (table.select(np.arange(count)) for count in (EVALUATED, LINES))
    timings = alternate([partial(measure_bounds, model, few, IMPORTANCE_SAMPLES, held_tokens=held) for held in HELD], rounds)
    for held, timing in zip(HELD, timings, strict=True):
        yield {"importance bound": f"{EVALUATED:,} lines, K {IMPORTANCE_SAMPLES}", "held_tokens": held, "ms": timing.ms}
    plain, ours = alternate([lambda: in_their_order(model, many), lambda: encode(model, many)], rounds)
    yield {"encode": f"{LINES:,} lines", "plain_ms": plain.ms, "ours_ms": ours.ms, **ratio(plain, ours)}


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every part."""
    for name in PRESETS:
        for batch in BATCHES:
            yield training(name, options.corpus, batch, options.rounds)
    for count in SEQUENCES:
        yield sampling(count, options.rounds)
    settings = settings_of("hybrid-dense", options.corpus, 128, "fp32")
    data = prepared_model(settings)[0]
    yield from measuring(data, settings, options.rounds)
    yield loop("best/tweets/hybrid-dense", options.corpus, options.rounds)


def main() -> None:
    """Measure and print a table."""
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--corpus", type=Path, required=True, help="a folder with train.txt, valid.txt and test.txt")
    options = parsed(parser)
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here: there is nothing to measure")
    report(options, "gpu", rows(options))


if __name__ == "__main__":
    main()
