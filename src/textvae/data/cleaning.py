"""What becomes of lines that not everybody wants: blank ones, copies, spaces around a text. All of it is counted and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textvae.config import CorpusSettings
from textvae.errors import CorpusError

FEW = 0.01
"""Share of lines up to which spaces around them, which are kept, are not worth telling."""


def keeps_all(settings: CorpusSettings) -> bool:
    """Whether no line is changed or left out."""
    return {settings.spaces, settings.blank_lines, settings.copies} == {"keep"}


def clean_lines(place: str, lines: Sequence[str], settings: CorpusSettings) -> tuple[list[str], tuple[str, ...]]:
    """The lines as `spaces`, `blank_lines` and `copies` say, in their order, and what to tell of those that are not as they were.

    `place` names the file or the split they are of.

    Raises:
        CorpusError: all of them are blank, and so left out.
    """
    kept, told = list(lines), []
    bare = list(map(str.strip, lines))
    changed = sum(map(str.__ne__, bare, lines))
    if settings.spaces == "strip":
        kept = bare
        told += [f"spaces around {changed:,} of {len(lines):,} lines were taken off"] if changed else []
    elif changed > FEW * len(lines):
        told.append(f"{changed:,} of {len(lines):,} lines have spaces around them: corpus.spaces strip takes them off")
    blank = sum(map(str.isspace, kept)) + kept.count("")
    if blank and settings.blank_lines == "keep":
        told.append(f"{blank:,} of {len(lines):,} lines are blank, and lines like others: corpus.blank_lines skip leaves them out")
    elif blank:
        kept = [line for line in kept if line and not line.isspace()]
        told.append(f"{blank:,} of {len(lines):,} lines are blank and were left out")
    if not kept:
        raise CorpusError(f"{place}: all of its {len(lines):,} lines are blank, which corpus.blank_lines skip leaves out: give others")
    if settings.copies == "skip":
        once = list(dict.fromkeys(kept))
        copies = len(kept) - len(once)
        told += [f"{copies:,} of {len(lines):,} lines are copies of others and were left out"] if copies else []
        kept = once
    return kept, tuple(f"{place}: {what}" for what in told)


def clean_splits(name: str, splits: Mapping[str, Sequence[str]], settings: CorpusSettings) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """`clean_lines` of each split of the corpus of that name; a line of one may still have copies in another."""
    cleaned: dict[str, list[str]] = {}
    notices: tuple[str, ...] = ()
    for split, lines in splits.items():
        cleaned[split], told = clean_lines(f"{name}, {split}", lines, settings)
        notices += told
    return cleaned, notices
