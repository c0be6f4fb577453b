"""English sentences from the docstrings of the running Python's standard library: real text on any machine, offline.

The library's files are parsed with `ast` and never imported. What comes out depends on the Python, so no
committed number is measured on it.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from textvae.errors import CorpusError

SHORTEST, LONGEST = 10, 180
"""Characters of a sentence that is kept."""

LETTERS = 0.8
"""Least share of letters and spaces in a sentence: what has fewer is code, a table or a signature."""

SKIPPED = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3", "__pycache__"})
"""Folders that are not the library's own prose, or not in every Python."""

_BLOCKS = ("body", "handlers", "orelse", "finalbody")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!vs\.)(?<!cf\.)\s+(?=[A-Z\"'`(])")
_NOT_PROSE = re.compile(r">>>|^\.\.\. |^[-+=*#|]|[-=~*_]{3,}|\S {2,}\S|^\w+[\w.]*\(.*\)( ->.*)?$|^:\w+|^@|[{}\\|]| = |==|->|::")


def read_pydoc() -> list[str]:
    """Return the sentences, one line each, in the order of the files and without repetition.

    Raises `CorpusError` where the standard library has no source files (a stripped Python).
    """
    library = Path(sysconfig.get_path("stdlib"))
    docstrings = (docstring for path in _sources(library) for docstring in _docstrings(path))
    sentences = dict.fromkeys(sentence for docstring in docstrings for sentence in split_sentences(docstring))
    if not sentences:
        raise CorpusError(f"No docstrings under {library}: this Python has no library sources. Use another, or a corpus of your own.")
    return list(sentences)


def split_sentences(docstring: str) -> list[str]:
    """Return the sentences of prose in a docstring, paragraph by paragraph, each on one line."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(docstring))
    return [
        sentence
        for paragraph in paragraphs
        for sentence in _SENTENCE_END.split(" ".join(line.strip() for line in paragraph.splitlines()).strip())
        if _is_prose(sentence)
    ]


def _is_prose(sentence: str) -> bool:
    if sentence.count(" ") < 2 or not SHORTEST <= len(sentence) <= LONGEST or _NOT_PROSE.search(sentence) or not sentence.isprintable():
        return False
    letters = sum(character.isalpha() or character == " " for character in sentence)
    return letters >= LETTERS * len(sentence)


def _sources(library: Path) -> Iterator[Path]:
    """Yield the library's Python files in a fixed order, without walking the folders that are skipped."""
    for folder, subfolders, files in os.walk(library):
        subfolders[:] = sorted(set(subfolders) - SKIPPED)  # what is left here is where the walk goes on
        yield from (Path(folder, file) for file in sorted(files) if file.endswith(".py"))


def _docstrings(path: Path) -> Iterator[str]:
    """Yield the docstrings of one file in the order of its text; none where the file does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a library file's invalid escape is no concern of ours
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            return
    yield from _docstrings_of(tree)


def _docstrings_of(node: ast.AST) -> Iterator[str]:
    """Yield the docstrings of a module, class, function or statement, its own before those inside it."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
        yield text
    for block in _BLOCKS:  # statements alone hold docstrings: expressions, most of a tree, are left out
        for statement in getattr(node, block, ()):
            yield from _docstrings_of(statement)
