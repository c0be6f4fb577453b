from __future__ import annotations

import sys

import pytest

from textvae.data.pydoc import LONGEST, SHORTEST, read_pydoc, split_sentences


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return read_pydoc()


def test_the_library_gives_enough_sentences_once_each(sentences: list[str]) -> None:
    assert 15_000 <= len(sentences) <= 18_000
    assert len(set(sentences)) == len(sentences)


def test_a_sentence_is_one_line_of_words(sentences: list[str]) -> None:
    assert all(SHORTEST <= len(sentence) <= LONGEST for sentence in sentences)
    assert all(sentence == sentence.strip() and sentence.isprintable() for sentence in sentences)
    assert not any(">>>" in sentence for sentence in sentences)


def test_known_sentences_are_there(sentences: list[str]) -> None:
    assert "Return a list of the words in the string, using sep as the delimiter string." not in sentences  # str.split: not in a file
    assert "Return a copy of the string with leading and trailing whitespace removed." not in sentences
    assert sum(sentence.startswith("Return True if ") for sentence in sentences) > 20


def test_nothing_of_the_library_is_imported(sentences: list[str]) -> None:
    assert sentences
    assert not {"antigravity", "this", "turtledemo"} & sys.modules.keys()


def test_sentences_are_split_joined_and_sifted() -> None:
    docstring = """Open a file, e.g. a text. Then
        close it! Is the "file" open?

        >>> open("x")
        <file>

        name    what it is
        ====    ==========

        read(size=-1) -> bytes

        Values, i.e. Numbers, are kept. No.
        """
    assert split_sentences(docstring) == [
        "Open a file, e.g. a text.",
        "Then close it!",
        'Is the "file" open?',
        "Values, i.e. Numbers, are kept.",
    ]
