"""A corpus: lines of text in three splits, with what is known about where they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import final

import numpy as np

from textvae.data.sources.source import Source

TRAINING_STREAM = 0
"""First word of the random stream of training draws; held-out streams start with another (`textvae.data.corpora`)."""


@final
@dataclass(frozen=True)
class Corpus:
    """Lines of `train`, `valid` and `test`. With a source, `train` holds the draws of epoch 0."""

    name: str
    """A built-in's name or the path that was read."""

    splits: Mapping[str, list[str]]
    """Lines by split, with the keys train, valid and test."""

    source: Source | None = None
    """The distribution the lines are drawn from, where it is known."""

    notices: tuple[str, ...] = ()
    """What the user should be told about reading it, one line each: a BOM, skipped lines, an empty split."""

    seed: int = 0
    """Seed of the training draws of a source; without meaning elsewhere."""

    def training_lines(self, epoch: int) -> list[str]:
        """Return the training lines of an epoch.

        A source draws as many fresh lines as `train` holds, a pure function of (seed, epoch) so that a
        resumed run sees what an unbroken one would have seen. Any other corpus returns `train` every time.
        """
        if self.source is None:
            return self.splits["train"]
        return draw_training(self.source, len(self.splits["train"]), self.seed, epoch)


def draw_training(source: Source, draws: int, seed: int, epoch: int) -> list[str]:
    """Draw the training lines of an epoch from a source: a pure function of (seed, epoch)."""
    return source.sample(draws, np.random.default_rng([TRAINING_STREAM, seed, epoch]))


def split_by_hash(lines: Sequence[str]) -> dict[str, list[str]]:
    """Split lines 90/5/5 into train, valid and test by a stable hash of each line's text.

    Equal lines land in the same split, and a line stays in its split when others are added or removed.
    A small corpus may leave a split empty: see `fill_empty_splits`.
    """
    splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for line in lines:
        digest = blake2b(line.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        percent = int.from_bytes(digest) % 100
        splits["train" if percent < 90 else "valid" if percent < 95 else "test"].append(line)
    return splits


def fill_empty_splits(splits: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Return the splits with none empty, and a notice where that took reuse.

    An empty valid or test becomes the training lines; an empty train takes every line. Numbers on such a
    split measure memory, and the notice says so.
    """
    filled = dict(splits)
    if not filled["train"]:
        everything = [line for lines in splits.values() for line in lines]
        filled = dict.fromkeys(splits, everything)
    for split, lines in filled.items():
        filled[split] = lines or filled["train"]
    reused = [split for split in ("valid", "test") if filled[split] is filled["train"]]
    if not reused:
        return filled, ()
    told = f"too few different lines for three splits: the training lines stand in for {' and '.join(reused)}"
    return filled, (f"{told}, where a model trained on them shows its memory, not generalisation",)


CROWDED, CROWD = 0.1, 10
"""A held-out split is told of where copies of one line are more than this share of it, and at least so many."""


def crowding_notices(splits: Mapping[str, list[str]]) -> tuple[str, ...]:
    """What to tell of a valid or test split that copies of one line crowd: what is measured there is mostly that line."""
    notices = []
    for split in ("valid", "test"):
        lines = splits[split]
        ((line, copies),) = Counter(lines).most_common(1)
        if copies >= CROWD and copies > CROWDED * len(lines):
            shown = line if len(line) <= 30 else f"{line[:30]}…"
            notices.append(
                f"{split}: {copies:,} of {len(lines):,} lines are copies of {shown!r}, for all copies of a line fall into one split: its "
                "figures are mostly that line's; corpus.copies skip leaves copies out, or give a folder that you split yourself"
            )
    return tuple(notices)
