"""What stands around training, each beside what one writes first: reading a corpus, batches, evaluation, encoding, start-up.

    .venv/bin/python benchmarks/pipeline.py ../shared/data/tweets --threads 1

The corpus is a folder with train.txt, valid.txt and test.txt. Sides alternate round by round in one process (start-up: processes)
after a warm-up; figures are medians, the ratio is the plain side's over ours. The plain sides: a Python loop over characters with
a dictionary; batches of random lines, padded to the longest; the importance bound a sample at a time; encoding the lines in
their own order, padded; for start-up and the first step of a training `python -c "import torch"`, which is a part of the latter.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frame import Side, alternate, arguments, environment, gflops, parsed, ratio, report, square_product

from textvae.architectures import find_architecture
from textvae.config import CorpusSettings
from textvae.data.batches import BucketedBatches
from textvae.data.corpora import Prepared, load_corpus, prepare
from textvae.data.tokens import EOS, RESERVED, TokenTable
from textvae.evaluation.bounds import measure_bounds
from textvae.latent_vectors import encode
from textvae.model.text_model import LatentTextModel
from textvae.settings import resolve
from textvae.training.feed import Feed

LINES, EVALUATED, IMPORTANCE_SAMPLES, BATCH = 2000, 64, 50, 128
"""Lines encoded, lines evaluated with so many samples each, and lines to a training batch."""


def prepared(folder: Path) -> Prepared:
    """The corpus, read and tokenised as for a training run."""
    settings = CorpusSettings(path=str(folder))
    return prepare(load_corpus(settings, 0), settings)


def read_plainly(folder: Path) -> list[list[int]]:
    """The training lines as lists of numbers, character by character."""
    numbers: dict[str, int] = {}
    lines = (folder / "train.txt").read_text(encoding="utf-8").splitlines()
    return [[numbers.setdefault(character, len(numbers) + RESERVED) for character in line] + [EOS] for line in lines]


def padded(table: TokenTable, rows: np.ndarray) -> np.ndarray:
    """Lines one by one into an array as wide as the longest."""
    lines = [table.tokens[table.offsets[row] : table.offsets[row + 1]] for row in rows]
    batch = np.full((len(lines), max(map(len, lines))), EOS, dtype=np.int64)
    for i, line in enumerate(lines):
        batch[i, : len(line)] = line
    return batch


def batches(data: Prepared) -> tuple[Side, Side, str]:
    """An epoch's batches, plainly and ours; and what the padding is."""
    table = data.tables["train"]

    def bucketed() -> BucketedBatches:
        return BucketedBatches(table, BATCH, 0, data.max_length + 1)

    def plain() -> None:
        order = np.random.default_rng(0).permutation(len(table))
        for start in range(0, len(order), BATCH):
            padded(table, order[start : start + BATCH])

    def ours() -> None:
        for _ in Feed(bucketed(), torch.device("cpu")).iterate(0):
            pass

    order = np.random.default_rng(0).permutation(len(table))
    widths = [table.lengths[order[start : start + BATCH]] for start in range(0, len(order), BATCH)]
    random_padding = 1 - len(table.tokens) / sum(int(lengths.max()) * len(lengths) for lengths in widths)
    return plain, ours, f"padding {random_padding:.1%} plain, {bucketed().padding_share():.1%} ours"


def model_of(data: Prepared) -> LatentTextModel:
    """The preset `hybrid`, untrained: its arithmetic is that of a trained one."""
    torch.manual_seed(0)
    settings = resolve("hybrid")
    family = find_architecture(settings.architecture)
    return family.build(settings.model, data.tokenizer.vocabulary_size, data.max_length + 1).eval()


def sample_by_sample(model: LatentTextModel, table: TokenTable) -> None:
    """The importance bound by K passes through the whole model, lines in their own order, padded to T_max."""
    tokens = torch.from_numpy(table.take(np.arange(len(table)), model.max_tokens))  # (B, T_max)
    with torch.inference_mode():
        terms = [model(tokens) for _ in range(IMPORTANCE_SAMPLES)]
        torch.logsumexp(torch.stack([-(each.distortion + sum(each.rates)) for each in terms]), 0)


def in_their_order(model: LatentTextModel, table: TokenTable) -> None:
    """Posterior means of lines as they stand, every batch padded to T_max."""
    with torch.inference_mode():
        for start in range(0, len(table), BATCH):
            rows = np.arange(start, min(start + BATCH, len(table)))
            tokens = torch.from_numpy(table.take(rows, model.max_tokens)).to(model.device)
            model.latents.descend(model.evidence(tokens), temperature=0)


def process(*arguments: str) -> Side:
    """A new process of this Python, silent."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment())


FIRST_STEP = """
import os, sys
from textvae.heap import collect_seldom
collect_seldom()  # as main does before it imports anything
from textvae.training.trainer import Trainer
take = Trainer.take
def step(self, tokens):
    take(self, tokens)
    os._exit(0)
Trainer.take = step
from textvae.cli import main
main(sys.argv[1:])
"""
"""`textvae` that ends after its first training step."""


def first_step(folder: Path) -> None:
    """From the command to the end of the first training step on the corpus, the kernel compiled before."""
    with tempfile.TemporaryDirectory() as out:
        process("-c", FIRST_STEP, "train", str(folder), "--preset", "hybrid", "--out", f"{out}/run")()


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every part."""
    folder: Path = options.corpus
    data = prepared(folder)
    model, tables = model_of(data), data.tables
    few, many = (tables["train"].select(np.arange(count)) for count in (EVALUATED, LINES))
    plain_batches, our_batches, padding = batches(data)
    pairs: list[tuple[str, str, Side, Side]] = [
        ("read and tokenise", f"{len(tables['train']):,} lines", lambda: read_plainly(folder), lambda: prepared(folder)),
        ("an epoch's batches", padding, plain_batches, our_batches),
        (
            "importance bound",
            f"{EVALUATED} lines, K {IMPORTANCE_SAMPLES}",
            lambda: sample_by_sample(model, few),
            lambda: measure_bounds(model, few, IMPORTANCE_SAMPLES),
        ),
        ("encode", f"{LINES:,} lines", lambda: in_their_order(model, many), lambda: encode(model, many)),
        ("start", "textvae --version", process("-c", "import torch"), process("-m", "textvae", "--version")),
        ("first training step", f"{folder.name}, preset hybrid", process("-c", "import torch"), lambda: first_step(folder)),
    ]
    for part, of, plain_side, our_side in pairs:
        plain, ours, product = alternate([plain_side, our_side, square_product()], options.rounds)
        yield {"part": part, "of": of, "plain_ms": plain.ms, "ours_ms": ours.ms, **ratio(plain, ours), "GEMM_GF/s": gflops(product)}


def main() -> None:
    """Measure and print a table."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("corpus", type=Path, help="a folder with train.txt, valid.txt and test.txt")
    options = parsed(parser)
    report(options, "pipeline", rows(options))


if __name__ == "__main__":
    main()
