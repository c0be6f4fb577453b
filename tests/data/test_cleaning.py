"""Blank lines, copies and spaces: kept and counted, or left out as the settings say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.config import CorpusSettings
from textvae.data.cleaning import clean_lines
from textvae.data.corpora import load_corpus, load_lines
from textvae.data.corpus import Corpus
from textvae.errors import CorpusError

LINES = ["oak", " elm", "", "oak", "elm ", "  ", "oak"]


def cleaned(**settings: str) -> tuple[list[str], tuple[str, ...]]:
    return clean_lines("trees.txt", LINES, CorpusSettings(**settings))  # type: ignore[arg-type]


def test_by_default_all_are_kept_and_blank_ones_are_counted() -> None:
    kept, told = cleaned()
    assert kept == LINES
    assert told == (
        "trees.txt: 3 of 7 lines have spaces around them: corpus.spaces strip takes them off",
        "trees.txt: 2 of 7 lines are blank, and lines like others: corpus.blank_lines skip leaves them out",
    )
    many = ["oak"] * 200
    assert clean_lines("x", [*many, "elm ", " "], CorpusSettings())[1] == (
        "x: 1 of 202 lines are blank, and lines like others: corpus.blank_lines skip leaves them out",
    )


def test_blank_ones_are_left_out() -> None:
    assert cleaned(blank_lines="skip") == (
        ["oak", " elm", "oak", "elm ", "oak"],
        (
            "trees.txt: 3 of 7 lines have spaces around them: corpus.spaces strip takes them off",
            "trees.txt: 2 of 7 lines are blank and were left out",
        ),
    )


def test_copies_are_those_of_lines_as_they_are_then() -> None:
    assert cleaned(copies="skip")[0] == ["oak", " elm", "", "elm ", "  "]
    kept, told = cleaned(spaces="strip", blank_lines="skip", copies="skip")
    assert kept == ["oak", "elm"]
    assert told == (
        "trees.txt: spaces around 3 of 7 lines were taken off",
        "trees.txt: 2 of 7 lines are blank and were left out",
        "trees.txt: 3 of 7 lines are copies of others and were left out",
    )


@given(st.lists(st.text(alphabet=" ab\t", max_size=3), min_size=1))
def test_what_is_clean_stays_so(lines: list[str]) -> None:
    settings = CorpusSettings(spaces="strip", blank_lines="skip", copies="skip")
    lines.append("a")
    once, _ = clean_lines("x", lines, settings)
    assert clean_lines("x", once, settings) == (once, ())
    assert len(set(once)) == len(once) and set(once) == {line.strip() for line in lines} - {""}


def test_nothing_but_blank_lines_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"x: all of its 2 lines are blank, which corpus.blank_lines skip leaves out: give others"):
        clean_lines("x", ["", " "], CorpusSettings(blank_lines="skip"))


def test_a_file_is_cleaned_before_it_is_split_and_where_all_of_it_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    path.write_text("code,n\n" + "".join(f"{'A' * (i % 30 + 1)} ,{i}\n" for i in range(300)) + ",300\n")
    settings = CorpusSettings(path=str(path), column="code", spaces="strip", blank_lines="skip", copies="skip")
    corpus = load_corpus(settings)
    lines = {line for split in ("train", "valid", "test") for line in corpus.splits[split]}
    assert lines == set(load_lines(settings, "all").lines) == {"A" * i for i in range(1, 31)}
    assert len(load_lines(settings, "all").lines) == 30
    assert len(corpus.notices) >= 3


def test_each_split_of_a_folder_is_cleaned_alone(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("oak\noak\n\nelm\n")
    corpus = load_corpus(CorpusSettings(path=str(tmp_path), blank_lines="skip", copies="skip"))
    assert set(map(tuple, corpus.splits.values())) == {("oak", "elm")}
    assert corpus.notices[0] == f"{tmp_path}, train: 1 of 4 lines are blank and were left out"


def test_sentences_that_are_built_in_are_cleaned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textvae.data.pydoc.read_pydoc", lambda: LINES)
    corpus = load_corpus(CorpusSettings(path="pydoc", copies="skip", spaces="strip", blank_lines="skip"))
    assert sorted(corpus.splits["train"]) == ["elm", "oak"]


def test_tweets_are_cleaned_split_by_split(monkeypatch: pytest.MonkeyPatch) -> None:
    tweets = Corpus("sentiment140", {"train": LINES, "valid": ["oak", "oak"], "test": ["elm"]}, notices=("kept 5 of 9",))
    monkeypatch.setattr("textvae.data.sentiment140.load_sentiment140", lambda settings: tweets)
    corpus = load_corpus(CorpusSettings(path="sentiment140", copies="skip"))
    assert corpus.splits == {"train": ["oak", " elm", "", "elm ", "  "], "valid": ["oak"], "test": ["elm"]}
    assert (
        corpus.notices[0] == "kept 5 of 9" and "sentiment140, valid: 1 of 2 lines are copies of others and were left out" in corpus.notices
    )


def test_what_is_drawn_stays_and_that_is_told() -> None:
    (notice,) = load_corpus(CorpusSettings(path="sinusoids", draws=9, held_out_draws=9, copies="skip")).notices
    assert notice.startswith("sinusoids: corpus.spaces, corpus.blank_lines and corpus.copies are of lines that are read")
