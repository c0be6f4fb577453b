from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.config import CorpusSettings
from textvae.data.tokenizers import (
    BPETokenizer,
    ByteTokenizer,
    CharacterTokenizer,
    Tokenizer,
    WordTokenizer,
    fit_tokenizer,
)
from textvae.data.tokens import EOS, UNK, TokenTable
from textvae.errors import ConfigError, CorpusError, PackageError, RunError

TEXT = ["the cat sat", "the dog", "", "a cat é 😀"]

# Any string a file can hold, and a few that only an API or the command line can give.
lines_of_text = st.lists(st.text(max_size=12), min_size=1, max_size=8)
with_surrogates = st.lists(st.text(st.characters(codec=None, categories=None), max_size=8), min_size=1, max_size=4)


def rows(table: TokenTable) -> list[list[int]]:
    return [table.tokens[start:end].tolist() for start, end in zip(table.offsets, table.offsets[1:], strict=False)]


def decoded(tokenizer: Tokenizer, table: TokenTable) -> list[str]:
    return tokenizer.decode(table.take(np.arange(len(table))))


def fitted(kind: Any, lines: list[str] = TEXT, vocabulary: int = 300) -> Tokenizer:
    return fit_tokenizer(lines, CorpusSettings(tokenizer=kind, vocabulary=vocabulary))


KINDS = ["characters", "bytes", "words", "bpe"]


def test_characters_are_numbered_in_code_point_order():
    tokenizer = fitted("characters", ["ba", "c"])
    assert tokenizer.vocabulary_size == 5
    assert rows(tokenizer.encode(["abc", "", "b"])) == [[2, 3, 4, EOS], [EOS], [3, EOS]]


def test_bytes_are_utf8():
    assert rows(ByteTokenizer().encode(["é", "\0"])) == [[0xC3 + 2, 0xA9 + 2, EOS], [2, EOS]]
    assert ByteTokenizer().vocabulary_size == 258


def test_words_are_ranked_by_count_then_alphabet():
    tokenizer = WordTokenizer.fit(["b b c a", "a d"], vocabulary=3)
    assert tokenizer.symbols == ("a", "b", "c")
    assert rows(tokenizer.encode(["  a d\tc "])) == [[2, UNK, 4, EOS]]
    assert decoded(tokenizer, tokenizer.encode(["  a b\tc "])) == ["a b c"]


def test_the_word_unk_is_unknown():
    tokenizer = WordTokenizer.fit(["a <unk> <unk>"], vocabulary=10)
    assert tokenizer.symbols == ("a",)
    assert rows(tokenizer.encode(["<unk> a"])) == [[UNK, 2, EOS]]
    assert tokenizer.generates_unknown
    assert tokenizer.unknown(["<unk> b b c"]) == {"b": 2, "c": 1}


@pytest.mark.parametrize(("vocabulary", "generates"), [(3, True), (4, False)])
def test_words_beyond_the_vocabulary_make_unknown_part_of_the_text(vocabulary, generates):
    assert WordTokenizer.fit(["a b c d"], vocabulary).generates_unknown is generates


@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe"])
def test_only_words_generate_unknown(kind):
    assert not fitted(kind).generates_unknown


def test_bpe_learns_merges_up_to_the_vocabulary():
    tokenizer = fitted("bpe", ["hello hello hello"] * 5, vocabulary=260)
    assert tokenizer.vocabulary_size == 2 + 260
    assert len(tokenizer.encode(["hello"]).tokens) < len("hello") + 1
    assert fitted("bpe", ["ab"], vocabulary=5000).vocabulary_size < 300  # there is nothing left to merge


def test_bpe_needs_a_symbol_for_each_byte():
    with pytest.raises(ConfigError, match="at least 256"):
        fitted("bpe", vocabulary=255)


def test_bpe_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(PackageError, match=r"pip install '\.\[bpe\]'"):
        fitted("bpe")


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_shows_as_replacement_character_and_decoding_stops_at_the_first_end(kind):
    tokenizer = fitted(kind)
    first, second = rows(tokenizer.encode(["the cat"]))[0][:2]
    texts = tokenizer.decode(np.array([[UNK, EOS, first], [first, second, EOS], [EOS, first, UNK]]))
    assert texts[0] == "\N{REPLACEMENT CHARACTER}"
    assert texts[1] and texts[1] in "the cat"
    assert texts[2] == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_an_end_is_decoded_whole(kind):
    tokenizer = fitted(kind)
    tokens = tokenizer.encode(["the cat"]).take(np.array([0]))
    assert tokenizer.decode(tokens[:, :-1]) == ["the cat"]
    assert tokenizer.decode(np.zeros((2, 0), dtype=np.int64)) == ["", ""]


@pytest.mark.parametrize("kind", KINDS)
def test_no_lines_at_all_encode_to_an_empty_table(kind):
    table = fitted(kind).encode([])
    assert len(table) == 0
    assert table.tokens.size == 0


def test_unseen_characters_are_counted_most_frequent_first():
    tokenizer = CharacterTokenizer.fit(["abc"])
    assert list(tokenizer.unknown(["axxa", "yx", ""]).items()) == [("x", 3), ("y", 1)]
    assert decoded(tokenizer, tokenizer.encode(["axb"])) == ["a\N{REPLACEMENT CHARACTER}b"]


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_where_every_byte_is_a_symbol_nothing_is_unknown(kind):
    tokenizer = fitted(kind)
    assert tokenizer.unknown(["ж"]) == {}
    assert UNK not in tokenizer.encode(["ж"]).tokens


@given(lines_of_text)
def test_character_round_trips_are_exact(lines):
    tokenizer = CharacterTokenizer.fit([*lines, "a"])
    table = tokenizer.encode(lines)
    assert decoded(tokenizer, table) == lines
    assert table.lengths.tolist() == [len(line) + 1 for line in lines]
    assert tokenizer.vocabulary_size == 2 + len(set("".join([*lines, "a"])))


@given(lines_of_text)
def test_byte_round_trips_are_exact(lines):
    assert decoded(ByteTokenizer(), ByteTokenizer().encode(lines)) == lines


BPE = BPETokenizer.fit(TEXT * 3, 290)


@given(lines_of_text)
def test_bpe_round_trips_are_exact_on_text_it_never_saw(lines):
    assert decoded(BPE, BPE.encode(lines)) == lines


@given(lines_of_text)
def test_word_round_trips_keep_words(lines):
    tokenizer = WordTokenizer.fit([*lines, "a"], vocabulary=1000)
    expected = [" ".join("\N{REPLACEMENT CHARACTER}" if word == "<unk>" else word for word in line.split()) for line in lines]
    assert decoded(tokenizer, tokenizer.encode(lines)) == expected


@given(with_surrogates)
def test_halves_of_surrogate_pairs_never_crash_and_never_come_back(lines):
    for tokenizer in (CharacterTokenizer.fit([*lines, "a"]), ByteTokenizer(), WordTokenizer.fit([*lines, "a"], 100), BPE):
        tokenizer.unknown(lines)
        texts = decoded(tokenizer, tokenizer.encode(lines))
        assert len(texts) == len(lines)
        "".join(texts).encode()  # what reaches a terminal must be UTF-8


@pytest.mark.parametrize("kind", KINDS)
def test_plain_json_brings_the_same_tokenizer_back(kind):
    tokenizer = fitted(kind)
    again = Tokenizer.from_json(json.loads(json.dumps(tokenizer.to_json())))
    lines = [*TEXT, "unseen Ωords"]
    assert again.kind == kind
    assert again.vocabulary_size == tokenizer.vocabulary_size
    assert again.generates_unknown == tokenizer.generates_unknown
    assert rows(again.encode(lines)) == rows(tokenizer.encode(lines))
    assert again.to_json() == tokenizer.to_json()


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        {"kind": "letters"},
        {"kind": ["characters"]},
        {"kind": "characters"},
        {"kind": "characters", "symbols": ["a"]},
        {"kind": "characters", "symbols": "aa"},
        {"kind": "characters", "symbols": ""},
        {"kind": "characters", "symbols": "\ud800"},
        {"kind": "words", "symbols": "abc", "unknown_in_training": True},
        {"kind": "words", "symbols": ["a", "a"], "unknown_in_training": True},
        {"kind": "words", "symbols": ["a", 1], "unknown_in_training": True},
        {"kind": "words", "symbols": ["a"]},
        {"kind": "words", "symbols": ["a"], "unknown_in_training": "no"},
        {"kind": "bpe"},
        {"kind": "bpe", "model": {"version": "1.0"}},
        {"kind": "bpe", "model": 3},
    ],
)
def test_damaged_json_is_told_in_one_line(content):
    with pytest.raises(RunError, match=r"tokenizer\.json is damaged") as caught:
        Tokenizer.from_json(content)
    assert "\n" not in str(caught.value)


def test_bpe_with_a_gap_in_its_numbers_is_damaged():
    content = json.loads(json.dumps(BPE.to_json()))
    vocabulary = content["model"]["model"]["vocab"]
    vocabulary[next(iter(vocabulary))] = 100_000
    with pytest.raises(RunError, match="damaged"):
        Tokenizer.from_json(content)


@pytest.mark.parametrize(("kind", "lines"), [("characters", ["", ""]), ("words", ["  ", "\t"]), ("words", ["<unk>"])])
def test_lines_without_a_symbol_are_refused(kind, lines):
    with pytest.raises(CorpusError, match="the training lines hold no"):
        fitted(kind, lines)
