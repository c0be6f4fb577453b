"""What a model may know of the lines that it is measured on: those it was trained on it writes better than new ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Protocol

from textvae.config import CorpusSettings
from textvae.data.corpora import ALL, SOURCES
from textvae.settings import RunSettings


class Trained(Protocol):
    """A trained model."""

    @property
    def settings(self) -> RunSettings:
        """What it was trained with."""

    def training_lines(self) -> Sequence[str] | None:
        """The lines it was trained on; None where nobody can tell any more."""


def source_of(corpus: CorpusSettings) -> tuple[str, str | None, str]:
    """What makes two corpora one: where the lines lie, in which column, how they are split."""
    return os.path.realpath(corpus.path), corpus.column, corpus.split


def training_lines_told(corpus: CorpusSettings, split: str, trained: RunSettings) -> Iterator[str]:
    """What to tell of lines that a model was trained on, where all lines of its own corpus are measured."""
    if split == ALL and source_of(corpus) == source_of(trained.corpus):
        yield "most of these lines are those it was trained on, which it knows better than new ones: it has not seen those of test"


def training_lines_among(corpus: CorpusSettings, lines: Sequence[str], model: Trained) -> Iterator[str]:
    """What to tell of the lines of another corpus, where some of them stand in the model's own as well."""
    known = None if source_of(corpus) == source_of(model.settings.corpus) else _count_known(lines, model)
    if known:
        yield f"{known:,} of these {len(lines):,} lines are among those it was trained on, which it knows better than new ones"


def known_lines(
    corpus: CorpusSettings,
    split: str,
    lines: Sequence[str],
    models: tuple[Trained, Trained],
    names: tuple[str, str] = ("the first model", "the second model"),
) -> Iterator[str]:
    """What to tell of lines that one of two models may know, and the other not."""
    for name, model in zip(names, models, strict=True):
        own = model.settings.corpus
        if own.spaces != corpus.spaces:
            yield f"{name} was trained with corpus.spaces {own.spaces}, and these lines are read with {corpus.spaces}"
        if source_of(own) != source_of(corpus):
            known = _count_known(lines, model)
            some = "may know some" if known is None else f"knows {known:,}" if known else "knows none"
            yield f"{name} was trained on other lines ({own.path}): it {some} of these {len(lines):,}"
    if split == "train" and corpus.path in SOURCES and len({model.settings.training.seed for model in models}) > 1:
        yield f"these are training lines of {names[0]} only: each seed draws its own"


def _count_known(lines: Sequence[str], model: Trained) -> int | None:
    """How many of some lines stand among a model's training lines; None where nobody can tell any more."""
    training = model.training_lines()
    if training is None:
        return None
    known = set(training)
    return sum(line in known for line in lines)
