"""What is counted on strings: known words, distinct n-grams, self-BLEU, copies and edit distances."""

from __future__ import annotations

import os
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from textvae.errors import ConfigError, PackageError
from textvae.evaluation.text import novelty
from textvae.evaluation.text.diversity import distinct, self_bleu, word_ngrams
from textvae.evaluation.text.novelty import copied, long_lines, nearest_distances
from textvae.evaluation.text.words import known_words

LINES = st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=5).map(" ".join), min_size=1, max_size=6)


def test_known_words_are_counted_as_often_as_they_stand_there() -> None:
    train = ["I like tea.", "no tea"]
    assert known_words(["I like tea", "no like."], train) == 4 / 5  # punctuation belongs to its word: "like." is another
    assert known_words(["i like  coffee"], train) == 1 / 3  # case counts, the number of spaces does not
    assert known_words(train, train) == 1 and known_words(["", " "], train) == 0


@pytest.mark.skipif("TEXTVAE_DATA" not in os.environ, reason="needs the corpora that $TEXTVAE_DATA points to")
@pytest.mark.parametrize(("corpus", "share"), [("tweets32", 0.846), ("tweets", 0.932)])
def test_the_share_of_known_words_in_real_test_text(corpus: str, share: float) -> None:
    folder = Path(os.environ["TEXTVAE_DATA"]) / corpus
    train, test = ((folder / f"{split}.txt").read_text(encoding="utf-8").splitlines() for split in ("train", "test"))
    assert round(known_words(test, train), 3) == share
    assert copied(test, train) == 0


def test_distinct_by_hand() -> None:
    lines = ["a b a", "b a"]
    assert word_ngrams("a b a", 2) == [("a", "b"), ("b", "a")]
    assert distinct(lines, 1, drawn=5) == 2 / 5
    assert distinct(lines, 2, drawn=3) == 2 / 3  # a b, b a, b a: n-grams do not reach across lines
    assert distinct(lines, 2, drawn=100) == 2 / 3
    assert distinct(lines, 4, drawn=2) == 0 and distinct([], 1, drawn=2) == 0
    for n, drawn in ((0, 1), (1, 0)):
        with pytest.raises(ConfigError):
            distinct(lines, n, drawn)


@given(LINES, st.integers(1, 3), st.integers(1, 6))
def test_distinct_is_the_mean_over_all_ways_to_draw(lines: list[str], n: int, drawn: int) -> None:
    ngrams = [ngram for line in lines for ngram in word_ngrams(line, n)][:9]
    lines = [" ".join(ngram) for ngram in ngrams]
    drawn = min(drawn, len(ngrams))
    if drawn:
        every = [len(set(chosen)) / drawn for chosen in combinations(ngrams, drawn)]
        assert distinct(lines, n, drawn) == pytest.approx(float(np.mean(every)))


def test_self_bleu_is_full_for_equal_lines_and_none_for_lines_that_share_no_word() -> None:
    assert self_bleu(["one two three four five"] * 3) == pytest.approx(100)
    assert self_bleu(["one two"] * 2) == pytest.approx(100)  # shorter than four words
    assert self_bleu(["a b c d", "e f g h", "i j k l"]) < 1e-6
    assert self_bleu(["", "a b"]) == 0


def test_self_bleu_by_hand() -> None:
    # "a b c" beside "a b d": 2 of 3 words and 1 of 2 pairs are there, no triple of 1: smoothed to 1/2, no brevity penalty.
    assert self_bleu(["a b c", "a b d"]) == pytest.approx(100 * (2 / 3 * 1 / 2 * 1 / 2) ** (1 / 3))


def test_self_bleu_tells_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="at least two"):
        self_bleu(["a"])
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(PackageError, match=r"pip install '.\[study\]'"):
        self_bleu(["a", "b"])


def test_copies_and_long_lines() -> None:
    train = ["good morning", "x" * 21]
    assert copied(["good morning", "good morning ", "Good morning", "x" * 21], train) == 1 / 2
    assert copied([], train) == 0
    assert long_lines(["x" * 20, "y" * 21]) == ["y" * 21]


def test_nearest_by_hand() -> None:
    found = nearest_distances(["kitten", "sitting", "", "zzz"], ["sitting", "kitchen"], workers=1)
    assert found.dtype == np.float32
    assert found == pytest.approx([2 / 7, 0, 1, 1])  # kitten, kitchen: one other letter, one more
    assert len(nearest_distances([], ["a"])) == 0
    with pytest.raises(ConfigError, match="no training line"):
        nearest_distances(["a"], [])


TEXTS = st.lists(st.text("ab ", max_size=6), min_size=1, max_size=6)


@given(TEXTS, TEXTS, st.integers(1, 12))
def test_nearest_does_not_depend_on_the_parts_it_is_made_in(samples: list[str], train: list[str], cells: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(novelty, "CELLS", cells)
        found = nearest_distances(samples, train, workers=1)
    expected = [min(Levenshtein.distance(a, b) / max(1, len(a), len(b)) for b in train) for a in samples]
    assert found == pytest.approx(expected)
