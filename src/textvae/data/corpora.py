"""From the name a user gives to tables of tokens: built-in corpora and files, split, tokenised, and held to one length."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import final, get_args

import numpy as np

from textvae.config import CorpusSettings, Split, require
from textvae.data.cleaning import clean_lines, clean_splits, keeps_all
from textvae.data.corpus import Corpus, crowding_notices, draw_training, fill_empty_splits, split_by_hash
from textvae.data.files import read_lines, read_splits, require_text
from textvae.data.sources.source import Source
from textvae.data.tokenizers import CharacterTokenizer, Tokenizer, fit_tokenizer
from textvae.data.tokens import UNK, TokenTable
from textvae.errors import CorpusError, did_you_mean

SOURCES = {"sinusoids": "Sinusoids", "messages": "Messages"}
"""Class of each built-in source, in the module of `textvae.data.sources` that has the source's name."""

TEXTS = {
    "pydoc": "English sentences from the docstrings of this Python's standard library: real text on any machine, offline",
    "sentiment140": "the study's tweets: downloads the original archive, or reads the CSV at hand",
}
"""Built-in corpora of real text, with a line about each."""

BUILT_IN = (*SOURCES, *TEXTS)
"""Their names."""

VALID_STREAM, TEST_STREAM, FIT_STREAM = 1, 2, 3
"""Random streams of a source's held-out splits and of the draw its vocabulary is read from: the same in every run."""

FIT_DRAWS = 50_000
"""Draws of a source that its vocabulary and longest line are read from: none of them trains or measures."""

LONGEST_BY_DEFAULT = 512
"""Largest max_length in tokens that is chosen without being asked for."""


def built_in() -> dict[str, str]:
    """Return the built-in corpora by name, with a line about each."""
    return {name: load_source(name).description for name in SOURCES} | TEXTS


def load_source(name: str) -> Source:
    """Build the built-in source of that name (a key of `SOURCES`)."""
    source: Source = getattr(import_module(f"textvae.data.sources.{name}"), SOURCES[name])()
    return source


def load_corpus(settings: CorpusSettings, seed: int = 0) -> Corpus:
    """Load the corpus that `settings.path` names: a built-in, else a file, else a folder with train/valid/test.txt.

    A file that has a built-in's name is read as `./NAME`. A lone file is split 90/5/5 by a stable hash of
    each line. `seed` moves only the training draws of a source: its valid and test are the same sequences
    in every run, so that runs compare.

    Raises:
        CorpusError: the name is neither, the file cannot be read, or a column is asked for where there are none.
    """
    name = settings.path
    if settings.column is not None and (name in BUILT_IN or Path(name).is_dir()):
        what = "a built-in corpus has" if name in BUILT_IN else "a folder's text files have"
        raise CorpusError(f"{name}: column {settings.column!r} was asked for, but {what} no columns: leave it out")
    if name in SOURCES:
        return _draw_splits(load_source(name), settings, seed)
    require_corpus(name)
    if name == "sentiment140":
        from textvae.data.sentiment140 import load_sentiment140

        tweets = load_sentiment140(settings)
        splits, notices = dict(tweets.splits), tweets.notices
    elif name not in BUILT_IN and Path(name).is_dir():
        splits, notices = read_splits(Path(name))
    else:
        lines, notices = _read_whole(settings)
        if settings.split != "random":
            notices += (f"{name}: corpus.split {settings.split} is that of sentiment140 alone; these lines are split by a hash of each",)
        return _split(name, lines, notices)
    splits, told = clean_splits(name, splits, settings)
    return Corpus(name, splits, notices=(*notices, *told))


def _read_whole(settings: CorpusSettings) -> tuple[list[str], tuple[str, ...]]:
    """The lines of a corpus that nobody has split, in their order, and what to tell of them."""
    name = settings.path
    notices: tuple[str, ...] = ()
    if name == "pydoc":
        from textvae.data.pydoc import read_pydoc

        lines = read_pydoc()
    else:
        lines, notices = read_lines(Path(name), settings.column)
        require_text(Path(name), lines)
    lines, told = clean_lines(name, lines, settings)
    return lines, (*notices, *told)


ALL = "all"
"""In place of a split: every line of a corpus."""


@final
@dataclass(frozen=True)
class Lines:
    """Lines to measure, of one split of a corpus or of all of it."""

    corpus: str
    lines: list[str]
    source: Source | None
    notices: tuple[str, ...]


def load_lines(settings: CorpusSettings, split: str, seed: int = 0) -> Lines:
    """The lines of one split of a corpus, or with `ALL` every line, a lone file's in its own order.

    Raises:
        ConfigError: another split than train, valid, test and `ALL`.
        CorpusError: there is no such corpus, or it cannot be read.
    """
    require(split in get_args(Split), f"split is {split!r}: must be one of {', '.join(get_args(Split))}")
    path = Path(settings.path)
    if split == ALL and settings.path not in BUILT_IN and not path.is_dir():
        require_corpus(settings.path)
        lines, notices = _read_whole(settings)
        return Lines(settings.path, lines, None, notices)
    corpus = load_corpus(settings, seed)
    lines = [line for part in corpus.splits.values() for line in part] if split == ALL else corpus.splits[split]
    return Lines(corpus.name, lines, corpus.source, corpus.notices)


def require_corpus(name: str) -> None:
    """Raise `CorpusError` for a name that is neither a built-in nor a file or folder that is there."""
    if name in BUILT_IN:
        return
    if not name or not os.path.exists(name):  # unlike Path.exists, false also for a name too long to be a file's
        raise CorpusError(_not_found(name))


def _draw_splits(source: Source, settings: CorpusSettings, seed: int) -> Corpus:
    held_out = settings.held_out_draws
    splits = {
        "train": draw_training(source, settings.draws, seed, epoch=0),
        "valid": source.sample(held_out, np.random.default_rng([VALID_STREAM])),
        "test": source.sample(held_out, np.random.default_rng([TEST_STREAM])),
    }
    told = f"{source.name}: corpus.spaces, corpus.blank_lines and corpus.copies are of lines that are read; these are drawn, and stay"
    return Corpus(source.name, splits, source, notices=() if keeps_all(settings) else (told,), seed=seed)


def _split(name: str, lines: Sequence[str], notices: tuple[str, ...] = ()) -> Corpus:
    splits, reused = fill_empty_splits(split_by_hash(lines))
    return Corpus(name, splits, notices=notices + (reused or crowding_notices(splits)))


def _not_found(name: str) -> str:
    if not name:
        return f"no corpus is named: give a file, a folder, or one of {', '.join(sorted(BUILT_IN))}"
    told, asked = f"{name} is neither a file, a folder, nor a built-in corpus.", Path(name)
    try:
        beside = {entry.casefold(): str(asked.parent / entry) for entry in os.listdir(asked.parent)}
    except OSError:
        beside = {}
    near = get_close_matches(asked.name.casefold(), [*BUILT_IN, *beside], n=1)  # by its own name: all in a folder share the folder's
    if near and near[0] in beside:
        return f"{told} Did you mean {beside[near[0]]!r}?"
    return told + did_you_mean(name, BUILT_IN)


@final
@dataclass(frozen=True)
class Fitted:
    """Lines and their tokens, row by row the same sequences, none longer than max_length."""

    lines: list[str]
    table: TokenTable
    too_long: int
    """How many lines were longer, and so left out or cut."""

    longest: int
    """Tokens of the longest line before that, without `EOS`."""


def fit_length(lines: Sequence[str], table: TokenTable, tokenizer: Tokenizer, settings: CorpusSettings, max_length: int) -> Fitted:
    """Leave out or cut lines over `max_length` tokens (without `EOS`), as `settings.long_lines` says; `table` holds their tokens.

    A cut line's text is what its tokens decode to. The caller reports `too_long`.
    """
    bodies = table.lengths - 1
    longest = int(bodies.max(initial=0))
    over = np.flatnonzero(bodies > max_length)
    if not len(over):
        return Fitted(list(lines), table, 0, longest)
    if settings.long_lines == "skip":
        rows = np.flatnonzero(bodies <= max_length)
        return Fitted([lines[row] for row in rows.tolist()], table.select(rows), len(over), longest)
    table = table.cut(max_length)
    kept = list(lines)
    for row, text in zip(over.tolist(), tokenizer.decode(table.take(over)), strict=True):
        kept[row] = text
    return Fitted(kept, table, len(over), longest)


@final
@dataclass
class Prepared:
    """A corpus as the trainer and the evaluation use it: tokenised, every sequence at most `max_length` tokens."""

    corpus: Corpus
    settings: CorpusSettings
    tokenizer: Tokenizer

    max_length: int
    """Tokens of the longest sequence allowed, without `EOS`."""

    lines: Mapping[str, list[str]]
    """Lines of train, valid and test after leaving out or cutting; row i is row i of the table."""

    tables: Mapping[str, TokenTable]
    """Tokens of train, valid and test. With a source, train is the draw of epoch 0."""

    notices: tuple[str, ...]
    """What the user should be told about reading and preparing it, one line each."""

    fixed: bool = False
    """Whether tokenizer and length are those of a trained model, which no setting changes."""

    _long_draw_told: bool = field(default=False, init=False, repr=False)

    def training_table(self, epoch: int) -> TokenTable:
        """Return the training sequences of an epoch: drawn afresh from a source (a pure function of seed and epoch), else the same.

        A fresh draw over `max_length` is treated as `long_lines` says; the first epoch with one warns.
        """
        if self.corpus.source is None or epoch == 0:
            return self.tables["train"]
        lines = self.corpus.training_lines(epoch)
        fitted = fit_length(lines, self.tokenizer.encode(lines), self.tokenizer, self.settings, self.max_length)
        if fitted.too_long and not self._long_draw_told:
            self._long_draw_told = True
            told = _long_lines_notice(f"training draws of epoch {epoch}", fitted, self.settings, self.max_length, self.fixed)
            warnings.warn(f"{told}; later epochs are treated alike, without telling again", stacklevel=2)
        return fitted.table


def prepare(corpus: Corpus, settings: CorpusSettings, tokenizer: Tokenizer | None = None, max_length: int | None = None) -> Prepared:
    """Tokenise the splits of a corpus and hold every sequence to one length.

    `tokenizer` and `max_length` are those of a trained model, which the settings do not change.
    Without `tokenizer` one is fitted on the training lines. `settings.max_length` defaults to the longest
    training line, at most 512 tokens. For a source both come from a draw that is the same in every run,
    and the length of characters from `Source.longest` where it is known, so that no line is ever too long.

    Raises:
        CorpusError: no training line is left, or the lines hold no symbol.
        ConfigError: the tokenizer's settings are out of range.
    """
    fixed = tokenizer is not None
    if tokenizer is None:
        tokenizer = fit_tokenizer(lines_to_fit(corpus), settings)
    encoded = {split: tokenizer.encode(given) for split, given in corpus.splits.items()}
    max_length = max_length or settings.max_length or min(_longest(corpus, encoded["train"], tokenizer), LONGEST_BY_DEFAULT)
    fitted: dict[str, Fitted] = {}
    notices = list(corpus.notices)
    for split, given in corpus.splits.items():
        fitted[split], told = fit_split(split, given, encoded[split], tokenizer, settings, max_length, fixed)
        notices += told
    lines = {split: one.lines for split, one in fitted.items()}
    tables = {split: one.table for split, one in fitted.items()}
    notices += _refill(lines, tables, max_length, fixed)
    return Prepared(corpus, settings, tokenizer, max_length, lines, tables, tuple(notices), fixed)


def fit_split(
    split: str,
    given: Sequence[str],
    table: TokenTable,
    tokenizer: Tokenizer,
    settings: CorpusSettings,
    max_length: int,
    fixed: bool,
) -> tuple[Fitted, list[str]]:
    """The lines of a split as `fit_length` leaves them, and what to tell of those that are too long or have unknown symbols.

    `table` holds the lines' tokens; `fixed` says that tokenizer and length are a trained model's, which no setting changes.
    """
    fitted = fit_length(given, table, tokenizer, settings, max_length)
    told = [_long_lines_notice(split, fitted, settings, max_length, fixed)] if fitted.too_long else []
    read = given if settings.long_lines == "cut" else fitted.lines  # a cut line's text shows what is unknown as one sign
    return fitted, told + _unknown_notices(split, read, fitted.table, tokenizer, max_length)


def lines_to_fit(corpus: Corpus) -> list[str]:
    """Lines that vocabulary and length are read from: the training lines; for a source a draw of its own."""
    if corpus.source is None:
        return corpus.splits["train"]
    return corpus.source.sample(FIT_DRAWS, np.random.default_rng([FIT_STREAM]))


def _longest(corpus: Corpus, training: TokenTable, tokenizer: Tokenizer) -> int:
    """Tokens of the longest line to expect, without `EOS`; at least 1."""
    source = corpus.source
    if source is not None and source.longest is not None and isinstance(tokenizer, CharacterTokenizer):
        return source.longest
    table = training if source is None else tokenizer.encode(lines_to_fit(corpus))
    return max(int(table.lengths.max()) - 1, 1)


def _long_lines_notice(what: str, fitted: Fitted, settings: CorpusSettings, max_length: int, fixed: bool) -> str:
    skip = settings.long_lines == "skip"
    fate, other = ("left out", "cut") if skip else ("cut", "skip")
    total = len(fitted.lines) + (fitted.too_long if skip else 0)
    told = f"{what}: {fitted.too_long:,} of {total:,} lines are longer than {max_length} tokens"
    if fixed:
        return f"{told}, all that the model reads, and were {fate}"
    return f"{told} and were {fate}; set corpus.max_length to {fitted.longest} to keep them whole, or corpus.long_lines to {other}"


def _unknown_notices(split: str, lines: Sequence[str], table: TokenTable, tokenizer: Tokenizer, max_length: int) -> list[str]:
    """What to tell of symbols in the first `max_length` of each line that the tokenizer does not know; `table` holds what was read."""
    total, tokens = int((table.tokens == UNK).sum()), int((table.lengths - 1).sum())
    counts = tokenizer.unknown(lines, max_length) if total else {}
    if not counts:
        return []
    shown = ", ".join(repr(symbol) for symbol in list(counts)[:5]) + (", …" if len(counts) > 5 else "")
    share = f"{total:,} of {tokens:,} {tokenizer.kind} ({100 * total / tokens:.3g}%)"
    return [
        f"{split}: {share} are not in the vocabulary ({shown}): all are read as one unknown symbol, which costs less than to write the "
        "right one"
    ]


def _refill(lines: dict[str, list[str]], tables: dict[str, TokenTable], max_length: int, fixed: bool) -> list[str]:
    """Refuse a training split without a line; put the training lines where valid or test has none left, and say so."""
    if not lines["train"]:
        what = "give shorter lines" if fixed else "raise corpus.max_length, or cut (corpus.long_lines)"
        raise CorpusError(f"all training lines are longer than {max_length} tokens{', all that the model reads' if fixed else ''}: {what}")
    empty = [split for split in lines if not lines[split]]
    for split in empty:
        lines[split], tables[split] = lines["train"], tables["train"]
    return [f"{split}: no line is left, so the training lines stand in: it measures memory, not generalisation" for split in empty]
