"""`textvae corpora`."""

from __future__ import annotations

from typing import Literal

from textvae.cli.output import note, print_columns
from textvae.cli.parameters import Column
from textvae.config import CorpusSettings, require
from textvae.data.corpora import built_in, load_corpus
from textvae.data.printable import shown
from textvae.errors import ConfigError, CorpusError, did_you_mean

GLIMPSE = 200
"""Characters that are shown of a line."""


def corpora(action: Literal["list", "show", "fetch"] = "list", name: str | None = None, /, *, column: Column = None) -> None:
    """Built-in corpora: list them, show one or your own, or fetch the one that is downloaded.

    Parameters
    ----------
    action
        list; show NAME: sizes, entropy where it is known, some lines (a file or a folder will do as well); fetch NAME.
    name
        Which corpus.
    """
    if action != "show":
        require(column is None, f"textvae corpora {action} reads no file: leave out --column")
    if action == "list":
        require(name is None, f"textvae corpora list takes no name: textvae corpora show {name}")
        print_columns(list(built_in().items()))
    elif name is None:
        raise ConfigError(f"textvae corpora {action} needs a name: {', '.join(sorted(built_in()))}")
    elif action == "show":
        _show_corpus(name, column)
    else:
        _fetch_corpus(name)


def _show_corpus(name: str, column: str | None) -> None:
    corpus = load_corpus(CorpusSettings(path=name, column=column))
    for notice in corpus.notices:
        note(notice)
    drawn = " (train is drawn afresh each epoch)" if corpus.source else ""
    rows = [("corpus", corpus.name), ("what", built_in().get(name, "your own"))]
    rows += [("lines", ", ".join(f"{split} {len(lines):,}" for split, lines in corpus.splits.items()) + drawn)]
    apart = {id(part): part for part in corpus.splits.values()}  # a split without lines of its own is another one
    lines = [line for part in apart.values() for line in part]
    rows += [("different", f"{len(set(lines)):,} of {len(lines):,}"), ("longest", f"{max(map(len, lines)):,} characters")]
    if corpus.source:
        rows += [("entropy", f"{corpus.source.entropy:.3f} nats a line: no model costs less on average")]
    print_columns([*rows, *(("such as", _glimpse(line)) for line in corpus.splits["train"][:5])])


def _glimpse(line: str) -> str:
    return shown(line) if len(line) <= GLIMPSE else f"{shown(line[:GLIMPSE])} … ({len(line):,} characters)"


def _fetch_corpus(name: str) -> None:
    from textvae.data.sentiment140 import NAME, fetch_sentiment140

    if name == NAME:
        print(fetch_sentiment140())
    elif name in built_in():
        note(f"{name} is made here: there is nothing to fetch")
    else:
        raise CorpusError(f"there is no built-in corpus {name!r}.{did_you_mean(name, built_in())}")
