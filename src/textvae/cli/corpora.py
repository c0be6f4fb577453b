"""`textvae corpora`."""

from __future__ import annotations

from typing import Literal

from textvae.cli.flags import CorpusFlags, given
from textvae.cli.output import note, print_columns
from textvae.config import CorpusSettings, require
from textvae.data.corpora import Prepared, built_in, load_corpus, prepare
from textvae.data.printable import shown
from textvae.data.tokens import RESERVED
from textvae.errors import ConfigError, CorpusError, did_you_mean
from textvae.settings import resolve

GLIMPSE = 200
"""Characters that are shown of a line."""


def corpora(action: Literal["list", "show", "fetch"] = "list", name: str | None = None, /, *, flags: CorpusFlags = None) -> None:
    """Built-in corpora: list them, show one or your own, or fetch the one that is downloaded.

    Parameters
    ----------
    action
        list; show NAME, as `textvae train` with the same settings would read it (a file or a folder will do as well): sizes, symbols,
        entropy where it is known, some lines; fetch NAME.
    name
        Which corpus.
    """
    settings = given(flags).get("corpus", {})
    if action != "show":
        chosen = ", ".join(f"corpus.{key}" for key in settings)
        require(not settings, f"textvae corpora {action} reads no lines: leave out {chosen}")
    if action == "list":
        require(name is None, f"textvae corpora list takes no name: textvae corpora show {name}")
        print_columns(list(built_in().items()))
    elif name is None:
        raise ConfigError(f"textvae corpora {action} needs a name: {', '.join(sorted(built_in()))}")
    elif action == "show":
        _show_corpus(resolve(flags={"corpus": {**settings, "path": name}}).corpus)
    else:
        _fetch_corpus(name)


def _show_corpus(settings: CorpusSettings) -> None:
    corpus = load_corpus(settings)
    prepared = prepare(corpus, settings)
    for notice in prepared.notices:
        note(notice)
    drawn = " (train is drawn afresh each epoch)" if corpus.source else ""
    rows = [("corpus", corpus.name), ("what", built_in().get(settings.path, "your own"))]
    rows += [("lines", ", ".join(f"{split} {len(lines):,}" for split, lines in prepared.lines.items()) + drawn)]
    lines = [line for split in _own(prepared) for line in prepared.lines[split]]
    rows += [("different", f"{len(set(lines)):,} of {len(lines):,}"), ("longest", f"{max(map(len, lines)):,} characters")]
    longest = max(int(table.lengths.max()) for table in prepared.tables.values()) - 1
    kinds = prepared.tokenizer.vocabulary_size - RESERVED
    rows += [("tokens", f"{settings.tokenizer}: up to {longest:,} a line, {kinds:,} kinds of them known")]
    if corpus.source:
        rows += [("entropy", f"{corpus.source.entropy:.3f} nats a line: no model costs less on average")]
    print_columns([*rows, *(("such as", _glimpse(line)) for line in prepared.lines["train"][:5])])


def _own(prepared: Prepared) -> list[str]:
    """The splits for which the training lines do not stand in."""
    read, kept = prepared.corpus.splits, prepared.lines
    return [split for split in kept if split == "train" or (read[split] is not read["train"] and kept[split] is not kept["train"])]


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
