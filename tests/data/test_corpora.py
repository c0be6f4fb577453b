from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.config import CorpusSettings
from textvae.data.batches import BucketedBatches
from textvae.data.corpora import Fitted, Prepared, built_in, fit_length, load_corpus, load_lines, prepare
from textvae.data.corpus import Corpus, fill_empty_splits, split_by_hash
from textvae.data.sources.source import Source
from textvae.data.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer
from textvae.errors import CorpusError

SPLITS = ("train", "valid", "test")


@final
class Coins(Source):
    """Heads before the first tail: "h" * n with probability 2^-(n + 1), so lengths have no bound."""

    name = "coins"
    description = "heads before the first tail"

    @property
    def entropy(self) -> float:
        return 2 * np.log(2)

    def sample(self, count: int, rng: np.random.Generator) -> list[str]:
        return ["h" * heads for heads in rng.geometric(0.5, count) - 1]

    def log_probability(self, lines: Sequence[str]) -> np.ndarray:
        return np.array([-(len(line) + 1) * np.log(2) if set(line) <= {"h"} else -np.inf for line in lines])


def coins(draws: int = 500, held_out: int = 10, seed: int = 0) -> Corpus:
    sizes = {"train": draws, "valid": held_out, "test": held_out}
    splits = {split: Coins().sample(size, np.random.default_rng([9, size])) for split, size in sizes.items()}
    return Corpus("coins", splits, Coins(), seed=seed)


def corpus_of(train: list[str], valid: list[str] | None = None, test: list[str] | None = None) -> Corpus:
    return Corpus("here", {"train": train, "valid": valid or train, "test": test or train})


def settings(**given: Any) -> CorpusSettings:
    return CorpusSettings(**given)


def fitted_to(lines: list[str], tokenizer: Tokenizer, max_length: int, **given: Any) -> Fitted:
    return fit_length(lines, tokenizer.encode(lines), tokenizer, settings(**given), max_length)


def assert_aligned(prepared: Prepared) -> None:
    """Row i of a split's lines is row i of its table, and none is too long."""
    for split in SPLITS:
        table = prepared.tables[split]
        assert len(prepared.lines[split]) == len(table) > 0
        assert table.lengths.max() <= prepared.max_length + 1
        assert prepared.tokenizer.decode(table.take(np.arange(len(table)))) == prepared.lines[split]


# --- splitting


@given(st.lists(st.text(max_size=3), max_size=60))
def test_hash_split_keeps_every_line_and_equal_lines_together(lines):
    splits = split_by_hash(lines)
    assert sorted(line for split in splits.values() for line in split) == sorted(lines)
    assert not set(splits["train"]) & set(splits["valid"]) and not set(splits["valid"]) & set(splits["test"])
    assert not set(splits["train"]) & set(splits["test"])
    for split in splits.values():  # a line's split does not depend on the other lines
        assert list(split_by_hash(split).values()).count([]) >= 2


def test_hash_split_is_ninety_five_five_and_never_changes():
    splits = split_by_hash([f"line {number}" for number in range(20_000)])
    assert [len(splits[split]) for split in SPLITS] == pytest.approx([18_000, 1_000, 1_000], abs=150)
    # Runs saved earlier are evaluated on these splits: the hash must never change.
    assert splits["valid"][:3] == ["line 24", "line 39", "line 65"]
    assert splits["test"][:3] == ["line 32", "line 36", "line 45"]


@pytest.mark.parametrize("lines", [["one"], ["same"] * 50, *([word] * 3 for word in "abcdefghijklmnopqrstuvwxyz")])
def test_too_few_different_lines_train_and_measure_on_the_same(lines):
    splits, notices = fill_empty_splits(split_by_hash(lines))
    assert all(splits[split] == lines for split in SPLITS)
    assert len(notices) == 1
    assert "not generalisation" in notices[0]


def test_full_splits_are_left_alone():
    splits = {"train": ["a"], "valid": ["b"], "test": ["c"]}
    assert fill_empty_splits(splits) == (splits, ())


def test_one_empty_split_is_named():
    splits, notices = fill_empty_splits({"train": ["a"], "valid": ["b"], "test": []})
    assert splits == {"train": ["a"], "valid": ["b"], "test": ["a"]}
    assert "stand in for test," in notices[0] and "valid" not in notices[0]


# --- loading by name


def test_a_lone_file_is_split_by_hash(tmp_path):
    lines = [f"line {number}" for number in range(300)]
    path = tmp_path / "x.txt"
    path.write_text("\n".join(lines))
    corpus = load_corpus(settings(path=str(path)))
    assert corpus.splits == split_by_hash(lines)
    assert corpus.name == str(path)
    assert corpus.source is None and corpus.notices == ()
    assert corpus.training_lines(0) is corpus.training_lines(7)
    told = load_corpus(settings(path=str(path), split="file-order"))
    assert told.splits == corpus.splits and "corpus.split file-order is that of sentiment140 alone" in told.notices[0]


@pytest.mark.parametrize("name", ["sinusoids", "pydoc", "sentiment140"])
def test_a_built_in_corpus_has_no_columns(name):
    with pytest.raises(CorpusError, match=f"{name}: column 'text' was asked for, but a built-in corpus has no columns"):
        load_corpus(settings(path=name, column="text"))


def test_a_one_line_file_trains_with_a_notice(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbfid,text\n1,hello\n")
    corpus = load_corpus(settings(path=str(path), column="text"))
    assert corpus.splits == {"train": ["hello"], "valid": ["hello"], "test": ["hello"]}
    assert len(corpus.notices) == 2


def test_a_folder(tmp_path):
    for split in SPLITS:
        (tmp_path / f"{split}.txt").write_text(split)
    assert load_corpus(settings(path=str(tmp_path))).splits == {split: [split] for split in SPLITS}
    with pytest.raises(CorpusError, match="column 'text' was asked for"):
        load_corpus(settings(path=str(tmp_path), column="text"))
    (tmp_path / "test.txt").unlink()
    with pytest.raises(CorpusError, match=r"has no test\.txt"):
        load_corpus(settings(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("sinusoid", "Did you mean 'sinusoids'?"),
        ("tweets.tx", "Did you mean 'tweets.txt'?"),
        (os.path.join("sub", "nmaes.csv"), "names.csv'?"),
        ("qqqq", "Known: messages, pydoc, sentiment140, sinusoids."),
        (os.path.join("no", "such", "folder"), "Known:"),
        ("x" * 5000, "neither a file, a folder, nor a built-in corpus"),
        ("", "no corpus is named"),
    ],
)
def test_a_name_that_is_nothing(tmp_path: Path, monkeypatch, name, told):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "names.csv").write_text("a")
    (tmp_path / "tweets.txt").write_text("a")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError) as caught:
        load_corpus(settings(path=name))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_built_in_corpora_have_a_line_each():
    described = built_in()
    assert set(described) == {"sinusoids", "messages", "pydoc", "sentiment140"}
    assert all(line and "\n" not in line for line in described.values())


@pytest.mark.parametrize("name", ["sinusoids", "messages"])
def test_built_in_sources(name):
    asked = settings(path=name, draws=300, held_out_draws=200)
    corpus, other = load_corpus(asked, seed=0), load_corpus(asked, seed=1)
    assert corpus.source is not None and corpus.source.name == corpus.name == name
    assert [len(corpus.splits[split]) for split in SPLITS] == [300, 200, 200]
    assert len({tuple(corpus.splits[split][:100]) for split in SPLITS}) == 3  # different streams
    assert corpus.splits["valid"] == other.splits["valid"] and corpus.splits["test"] == other.splits["test"]
    assert corpus.splits["train"] != other.splits["train"]
    assert np.isfinite(corpus.source.log_probability(corpus.splits["test"])).all()


def test_training_draws_are_fresh_each_epoch_and_repeatable():
    asked = settings(path="sinusoids", draws=50, held_out_draws=10)
    corpus = load_corpus(asked, seed=3)
    epochs = [corpus.training_lines(epoch) for epoch in range(3)]
    assert epochs[0] == corpus.splits["train"]
    assert len({tuple(lines) for lines in epochs}) == 3
    assert load_corpus(asked, seed=3).training_lines(2) == epochs[2]  # what a resumed run sees


def test_pydoc_is_split_by_hash(monkeypatch):
    lines = [f"Sentence {number}." for number in range(200)]
    monkeypatch.setattr("textvae.data.pydoc.read_pydoc", lambda: lines)
    corpus = load_corpus(settings(path="pydoc"))
    assert corpus.splits == split_by_hash(lines)
    assert corpus.name == "pydoc" and corpus.source is None


def test_a_file_with_the_name_of_a_built_in(tmp_path, monkeypatch):
    (tmp_path / "messages").write_text("hello")
    monkeypatch.chdir(tmp_path)
    assert load_corpus(settings(path="messages", draws=1, held_out_draws=1)).source is not None
    assert load_corpus(settings(path="./messages")).splits["train"] == ["hello"]


# --- one length


def test_long_lines_are_left_out():
    fitted = fitted_to(["abc", "", "abcd", "ab"], CharacterTokenizer("abcd"), 3)
    assert fitted.lines == ["abc", "", "ab"]
    assert fitted.table.lengths.tolist() == [4, 1, 3]
    assert (fitted.too_long, fitted.longest) == (1, 4)


def test_long_lines_are_cut():
    fitted = fitted_to(["abc", "", "abcd", "ab"], CharacterTokenizer("abcd"), 2, long_lines="cut")
    assert fitted.lines == ["ab", "", "ab", "ab"]
    assert fitted.table.lengths.tolist() == [3, 1, 3, 3]
    assert fitted.too_long == 2


def test_a_character_cut_in_its_bytes_shows():
    fitted = fitted_to(["aé"], ByteTokenizer(), 2, long_lines="cut")
    assert fitted.lines == ["a\N{REPLACEMENT CHARACTER}"]


@given(
    lines=st.lists(st.text("ab c", max_size=9), min_size=1, max_size=20).filter(lambda lines: any(line.strip() for line in lines)),
    max_length=st.integers(1, 9),
    kind=st.sampled_from(["characters", "bytes", "words"]),
    fate=st.sampled_from(["skip", "cut"]),
)
def test_lines_and_tables_stay_aligned(lines, max_length, kind, fate):
    lines = [" ".join(line.split()) for line in lines]
    asked = settings(tokenizer=kind, max_length=max_length, long_lines=fate)
    lengths = [len(line.split() if kind == "words" else line) for line in lines]
    if fate == "skip" and min(lengths) > max_length:
        with pytest.raises(CorpusError, match="all training lines are longer"):
            prepare(corpus_of(lines), asked)
        return
    prepared = prepare(corpus_of(lines), asked)
    assert_aligned(prepared)
    too_long = sum(length > max_length for length in lengths)
    assert len(prepared.lines["train"]) == len(lines) - too_long * (fate == "skip")
    assert len(prepared.notices) == 3 * bool(too_long)
    assert all(f"{too_long} of {len(lines)} lines" in notice and f"max_length to {max(lengths)}" in notice for notice in prepared.notices)


def test_the_longest_training_line_decides_for_all_splits():
    prepared = prepare(corpus_of(["abc", "a"], valid=["abcc", "b"], test=["c"]), settings())
    assert prepared.max_length == 3
    assert prepared.lines["valid"] == ["b"]
    assert prepared.notices[0].startswith("valid: 1 of 2 lines are longer than 3 tokens and were left out")


def test_length_is_at_most_512_unless_asked_for():
    lines = ["a" * 600, "a"]
    prepared = prepare(corpus_of(lines), settings())
    assert prepared.max_length == 512
    assert prepared.lines["train"] == ["a"]
    assert "set corpus.max_length to 600" in prepared.notices[0]
    assert prepare(corpus_of(lines), settings(max_length=600)).lines["train"] == lines


def test_a_split_left_empty_is_filled_and_told():
    prepared = prepare(corpus_of(["ab"], valid=["abab"], test=["a"]), settings())
    assert prepared.lines["valid"] == ["ab"]
    assert_aligned(prepared)
    assert any(notice.startswith("valid: no line is left") for notice in prepared.notices)


def test_unseen_symbols_are_counted_and_told():
    prepared = prepare(corpus_of(["abc"], valid=["axx", "y"], test=["a"]), settings())
    (notice,) = prepared.notices
    assert notice.startswith("valid: 3 of 4 characters (75%) are not in the vocabulary ('x', 'y'): all are read as one")
    (notice,) = prepare(corpus_of(["abc"], valid=["xy"], test=["a"]), settings()).notices
    assert notice.startswith("valid: 2 of 2 characters (100%) are not in the vocabulary")


def test_unseen_symbols_of_cut_lines_are_named_too():
    prepared = prepare(corpus_of(["ab"], valid=["xab", "ab"]), settings(long_lines="cut"))
    assert any("('x')" in notice for notice in prepared.notices)


def test_copies_that_crowd_a_split_are_told_with_what_helps(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    alone = next(f"beat {i}" for i in range(99) if split_by_hash([f"beat {i}"])["valid"])  # a line whose place is in valid
    path.write_text("\n".join([f"line {i}" for i in range(400)] + [alone] * 40))
    (notice,) = load_corpus(CorpusSettings(path=str(path))).notices
    assert notice.startswith("valid: 40 of ") and repr(alone) in notice and "corpus.copies skip" in notice
    path.write_text("\n".join([f"line {i}" for i in range(400)] + [alone] * 2))
    assert load_corpus(CorpusSettings(path=str(path))).notices == ()


def test_all_lines_of_a_file_are_measured_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("b\na\nb\n")
    found = load_lines(CorpusSettings(path=str(path)), "all")
    assert (found.lines, found.source, found.notices) == (["b", "a", "b"], None, ())
    for split in SPLITS:
        (tmp_path / f"{split}.txt").write_text(f"{split}\n")
    assert sorted(load_lines(CorpusSettings(path=str(tmp_path)), "all").lines) == ["test", "train", "valid"]
    drawn = load_lines(CorpusSettings(path="messages", draws=5, held_out_draws=2), "all")
    assert len(drawn.lines) == 9 and drawn.source is not None
    with pytest.raises(CorpusError, match="neither a file"):
        load_lines(CorpusSettings(path="no-such"), "all")


def test_a_given_tokenizer_is_kept():
    tokenizer = CharacterTokenizer("ab")
    prepared = prepare(corpus_of(["abc"]), settings(max_length=10), tokenizer)
    assert prepared.tokenizer is tokenizer
    assert prepared.max_length == 10
    assert prepared.lines["train"] == ["abc"]
    assert len(prepared.notices) == 3  # "c" is unknown in each split


def test_notices_of_reading_come_first():
    corpus = Corpus("here", {"train": ["a"], "valid": ["b"], "test": ["a"]}, notices=("a byte order mark",))
    assert prepare(corpus, settings()).notices[0] == "a byte order mark"


# --- sources


def test_a_source_has_the_same_vocabulary_and_length_in_every_run():
    first, second = (prepare(coins(seed=seed), settings()) for seed in (0, 1))
    assert first.max_length == second.max_length >= 10
    assert first.tokenizer.to_json() == second.tokenizer.to_json()
    assert first.lines["valid"] == first.corpus.splits["valid"]  # held-out draws are next to never too long by default


def test_a_sources_vocabulary_is_read_from_none_of_its_splits():
    splits = {split: ["hhth", "h" * 200] for split in SPLITS}
    prepared = prepare(Corpus("coins", splits, Coins()), settings())
    assert prepared.max_length < 200
    assert any(notice.startswith("test: 1 of 4 characters (25%) are not in the vocabulary ('t')") for notice in prepared.notices)


def test_a_source_that_knows_its_longest_line_sets_the_length(monkeypatch):
    monkeypatch.setattr(Coins, "longest", 70)
    assert prepare(coins(), settings()).max_length == 70
    assert prepare(coins(), settings(max_length=9)).max_length == 9
    assert prepare(coins(), settings(tokenizer="words")).max_length == 1  # a line is one word, however long


def test_each_epoch_of_a_source_is_tokenised_afresh():
    prepared = prepare(coins(), settings())
    assert prepared.training_table(0) is prepared.tables["train"]
    table = prepared.training_table(4)
    assert prepared.tokenizer.decode(table.take(np.arange(len(table)))) == prepared.corpus.training_lines(4)
    fixed = prepare(corpus_of(["ab", "b"]), settings())
    assert fixed.training_table(4) is fixed.tables["train"]


@pytest.mark.parametrize(("fate", "left"), [("skip", lambda lines: sum(len(line) <= 2 for line in lines)), ("cut", len)])
def test_fresh_draws_over_the_length_warn_once(fate, left):
    prepared = prepare(coins(), settings(max_length=2, long_lines=fate))
    lines = prepared.corpus.training_lines(1)
    too_long = sum(len(line) > 2 for line in lines)
    with pytest.warns(UserWarning, match=rf"training draws of epoch 1: {too_long} of 500 lines are longer than 2 tokens"):
        table = prepared.training_table(1)
    assert len(table) == left(lines)
    assert table.lengths.max() == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared.training_table(2)


# --- a corpus of real size


@pytest.mark.skipif("TEXTVAE_DATA" not in os.environ, reason="needs the corpora that $TEXTVAE_DATA points to")
def test_tweets_come_back_exactly_in_few_shapes_with_little_padding():
    asked = settings(path=os.path.join(os.environ["TEXTVAE_DATA"], "tweets"))
    prepared = prepare(load_corpus(asked), asked)
    assert prepared.notices == ()
    assert (prepared.max_length, prepared.tokenizer.vocabulary_size) == (127, 83)
    assert_aligned(prepared)
    batches = BucketedBatches(prepared.training_table, 128, 0, prepared.max_length + 1)
    assert batches.padding_share(0) <= 0.06
    assert len({batch.shape[1] for batch in batches.iterate(0)}) <= 16
