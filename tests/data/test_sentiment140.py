"""Sentiment140: the original format, the study's cleaning and selection, both splits, where the file comes from."""

from __future__ import annotations

import csv
import os
import string
import zipfile
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.config import CorpusSettings
from textvae.data.sentiment140 import (
    ARCHIVE,
    STUDY_TEST,
    STUDY_TRAIN,
    TABLE,
    clean,
    fetch_sentiment140,
    load_sentiment140,
    read_sentiment140,
    select,
    split_in_file_order,
)
from textvae.errors import CorpusError

CHARACTERS = set(string.ascii_letters + string.digits + " !#$'()*+,-./:;=?@^")

ORIGINAL = (
    b'"0","1467810369","Mon Apr 06 22:19:45 PDT 2009","NO_QUERY","_TheOne_","@switchfoot http://twitpic.com/2y1zl - Awww, that\'s bad"\n'
    b'"0","1467810672","Mon Apr 06 22:19:49 PDT 2009","NO_QUERY","caf\xe9","he said ""no"", and na\xefve me &lt;3 it  "\n'
    b'"4","1467811193","Mon Apr 06 22:19:57 PDT 2009","NO_QUERY","joe","line one\nline two"\n'
)
ORIGINAL_TEXTS = [
    "@switchfoot http://twitpic.com/2y1zl - Awww, that's bad",
    'he said "no", and na\u00efve me &lt;3 it  ',
    "line one\nline two",
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test an empty cache, and an address where nobody answers."""
    for name in ("TEXTVAE_SENTIMENT140", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEXTVAE_SENTIMENT140_URL", "http://127.0.0.1:9/nobody.zip")
    monkeypatch.setenv("TEXTVAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def write_table(path: Path, texts: list[str]) -> Path:
    with open(path, "w", encoding="latin-1", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(("0", i, "date", "NO_QUERY", "user", text) for i, text in enumerate(texts))
    return path


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


# Reading


def test_reads_the_original_format_from_a_csv(tmp_path: Path) -> None:
    (tmp_path / "tweets.csv").write_bytes(ORIGINAL)
    assert read_sentiment140(tmp_path / "tweets.csv") == ORIGINAL_TEXTS


def test_reads_the_training_table_of_a_zip_and_not_its_test_table(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"testdata.manual.2009.06.14.csv": b'"4","3","d","q","u","test"\n', f"in/{TABLE}": ORIGINAL})
    assert read_sentiment140(archive) == ORIGINAL_TEXTS


def test_reads_a_zip_whose_only_csv_has_another_name(tmp_path: Path) -> None:
    assert read_sentiment140(write_zip(tmp_path / "a.zip", {"tweets.csv": ORIGINAL, "README": b"hello"})) == ORIGINAL_TEXTS


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'"0","1","d","q","u","fine"\n"0","two"\n', "line 2"),
        (b'"target","ids","date","flag","user","text"\n', "line 1"),
        (b"", "is empty"),
        (b'"0","1","d","q","u","' + b"x" * 200_000 + b'"\n', "field larger"),
    ],
)
def test_another_format_is_told_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "tweets.csv"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=says) as caught:
        read_sentiment140(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_corpus_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path / "none.zip", tmp_path):
        with pytest.raises(CorpusError, match="cannot read"):
            read_sentiment140(path)


def test_a_zip_with_a_flipped_byte_is_a_damaged_archive(tmp_path: Path) -> None:
    noise = os.urandom(3000).hex()  # hardly compressible: the middle of the file is the middle of the data
    row = f'"0","1","d","q","u","{noise}"\n'.encode()
    path = write_zip(tmp_path / "a.zip", {TABLE: row})
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(CorpusError, match="damaged archive"):
        read_sentiment140(path)


@pytest.mark.parametrize("size", [0, 10, 200])
def test_a_zip_that_was_cut_is_a_damaged_archive(tmp_path: Path, size: int) -> None:
    path = write_zip(tmp_path / "a.zip", {TABLE: ORIGINAL})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorpusError, match="damaged archive"):
        read_sentiment140(path)


def test_a_zip_without_a_table_is_told_with_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds cat\.png"):
        read_sentiment140(write_zip(tmp_path / "a.zip", {"cat.png": b"meow"}))


# Cleaning


@pytest.mark.parametrize(
    ("tweet", "cleaned"),
    [
        ("@switchfoot http://twitpic.com/2y1zl - Awww", "@user @url - Awww"),
        ("thanks @under_score_9, see you", "thanks @user, see you"),
        ("is at @joe's house (with @ann)", "is at @user's house (with @user)"),
        ("cleaned @user before @url", "cleaned @user before @url"),
        ("@urlich and @userin", "@user and @user"),
        ("dinner @ home @8", "dinner @ home @8"),
        ("look(https://a.b/c?d=e@fg)now more", "look(@url more"),
        ("http and www.site.com stay", "http and www.site.com stay"),
        ('I &lt;3 you &amp; "him"', "I lt;3 you amp; him"),
        ("na\u00efve caf\u00e9 \u20ac5 ~10% <b> [x] {y} a_b c|d e\\f", "nave caf 5 10 b x y ab cd ef"),
        ("tab\tand\nnewline", "tabandnewline"),
        ("@joe\nhttp://a.b\nx", "@user@urlx"),
        ("  two  spaces inside  ", "two  spaces inside"),
        ("! # $ ' ( ) * + , - . / : ; = ? @ ^", "! # $ ' ( ) * + , - . / : ; = ? @ ^"),
        ('\u00e9"%', ""),
    ],
)
def test_cleaning_by_hand(tweet: str, cleaned: str) -> None:
    assert clean([tweet]) == [cleaned]


@given(st.lists(st.text(st.characters(codec="latin-1"))))
def test_cleaning_keeps_one_line_a_tweet_of_81_characters(tweets: list[str]) -> None:
    lines = clean(tweets)
    assert len(lines) == len(tweets)
    assert len(CHARACTERS) == 81 and all(set(line) <= CHARACTERS and line == line.strip() for line in lines)


@given(st.lists(st.text(st.characters(codec="latin-1")), min_size=1))
def test_a_tweet_is_cleaned_by_itself(tweets: list[str]) -> None:
    assert clean(tweets) == [line for tweet in tweets for line in clean([tweet])]


def test_cleaning_many_blocks_keeps_the_order() -> None:
    tweets = [f"tweet {i}" for i in range(120_000)]
    assert clean(tweets) == tweets


def test_lines_the_study_prepared_stay_as_they_are() -> None:
    folder = os.environ.get("TEXTVAE_DATA")
    if not folder:
        pytest.skip("TEXTVAE_DATA is unset")
    for split in ("train", "valid", "test"):
        lines = (Path(folder) / "tweets32" / f"{split}.txt").read_text("utf-8").splitlines()
        assert clean(lines) == lines and len(lines) > 500


# Selection


def test_words_that_occur_once_take_their_line_with_them() -> None:
    lines = ["good day", "good night", "good day all", "Good night", "all"]
    kept, notice = select(lines, 31)
    assert kept == ["good day", "good night", "good day all", "all"]  # "Good" is not "good"
    assert notice == "4 of 5 tweets kept: 0 are longer than 31 characters, 1 have a word that occurs once, 0 are empty"


def test_words_are_counted_over_the_lines_that_are_too_long_as_well() -> None:
    assert select(["hi", "hi" + " hi" * 20, ""], 31) == (
        ["hi"],
        "1 of 3 tweets kept: 1 are longer than 31 characters, 0 have a word that occurs once, 1 are empty",
    )


def test_a_word_twice_in_one_line_occurs_twice() -> None:
    assert select(["bye bye"], 31)[0] == ["bye bye"]


def test_exactly_the_longest_is_kept() -> None:
    assert select(["a" * 31, "a" * 31, "b" * 32, "b" * 32], 31)[0] == ["a" * 31] * 2


# Splits


def test_file_order_is_the_studys_with_a_twentieth_of_train_held_out() -> None:
    lines = [f"line {i}" for i in range(STUDY_TRAIN + STUDY_TEST + 7)]
    splits = split_in_file_order(lines)
    assert splits["test"] == lines[150_000:202_990]
    assert sorted(splits["train"] + splits["valid"]) == sorted(lines[:150_000])
    assert splits["train"] == sorted(splits["train"], key=lambda line: int(line[5:]))
    assert 0.045 < len(splits["valid"]) / 150_000 < 0.055
    assert split_in_file_order(lines) == splits


def test_file_order_needs_more_lines_than_the_study_trains_on() -> None:
    with pytest.raises(CorpusError, match="only 150,000"):
        split_in_file_order(["line"] * STUDY_TRAIN)


def test_random_splits_by_the_line_and_keeps_equal_lines_together(cache: Path) -> None:
    tweets = [f"say {i} say {i}" for i in range(4_000)] * 2
    write_table(cache / TABLE, tweets)
    splits = load_sentiment140(CorpusSettings(path="sentiment140")).splits
    assert sorted(chain(*splits.values())) == sorted(tweets)
    assert not set(splits["train"]) & (set(splits["valid"]) | set(splits["test"])) and not set(splits["valid"]) & set(splits["test"])
    assert [len(splits[name]) / 8_000 for name in ("train", "valid", "test")] == pytest.approx([0.9, 0.05, 0.05], abs=0.02)


def test_load_in_file_order_through_the_settings(cache: Path) -> None:
    write_table(cache / TABLE, [f"@somebody says {i % 1000}" for i in range(STUDY_TRAIN)] + ["http://late.com says 7"] * 3)
    corpus = load_sentiment140(CorpusSettings(path="sentiment140", split="file-order"))
    assert corpus.name == "sentiment140" and corpus.source is None
    assert corpus.splits["test"] == ["@url says 7"] * 3
    assert set(corpus.splits["train"] + corpus.splits["valid"]) == {f"@user says {i}" for i in range(1000)}
    assert not set(corpus.splits["train"]) & set(corpus.splits["valid"])
    assert len(corpus.notices) == 1 and corpus.notices[0].startswith("150,003 of 150,003 tweets kept")


def test_max_length_counts_characters_where_a_token_is_one(cache: Path) -> None:
    write_table(cache / TABLE, ["aa aa", "bbbb bbbb", "cc " * 20 + "cc"] * 50)

    def kept(**settings: object) -> set[str]:
        corpus = load_sentiment140(CorpusSettings(path="sentiment140", **settings))  # type: ignore[arg-type]
        return set(chain(*corpus.splits.values()))

    assert kept() == {"aa aa", "bbbb bbbb"}
    assert kept(max_length=5) == {"aa aa"}
    assert len(kept(max_length=62)) == 3
    assert len(kept(max_length=5, tokenizer="words")) == 3  # five words: for the tokens to decide


def test_no_tweet_left_is_a_corpus_error(cache: Path) -> None:
    write_table(cache / TABLE, ["\u00e9", "once"])
    with pytest.raises(CorpusError, match="no tweet is left"):
        load_sentiment140(CorpusSettings(path="sentiment140"))


# Where the file comes from


def test_the_cache_is_asked_before_the_network_and_the_archive_before_the_csv(cache: Path) -> None:
    with pytest.raises(CorpusError, match=r"127\.0\.0\.1:9.*TEXTVAE_SENTIMENT140"):
        fetch_sentiment140()
    write_table(cache / TABLE, ["hi"])
    assert fetch_sentiment140() == cache / TABLE
    write_zip(cache / ARCHIVE, {TABLE: ORIGINAL})
    assert fetch_sentiment140() == cache / ARCHIVE


def test_a_file_named_by_the_environment_is_used(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(cache / ARCHIVE, {TABLE: ORIGINAL})
    monkeypatch.setenv("TEXTVAE_SENTIMENT140", str(tmp_path / "mine.csv"))
    with pytest.raises(CorpusError, match="is no file"):
        fetch_sentiment140()
    write_table(tmp_path / "mine.csv", ["hi"])
    assert fetch_sentiment140() == tmp_path / "mine.csv"


def test_without_a_setting_the_cache_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEXTVAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "textvae").mkdir()
    write_table(tmp_path / "textvae" / TABLE, ["hi"])
    assert fetch_sentiment140() == tmp_path / "textvae" / TABLE


def test_the_archive_is_downloaded_into_the_cache_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_zip(tmp_path / "source.zip", {TABLE: ORIGINAL})
    monkeypatch.setenv("TEXTVAE_SENTIMENT140_URL", source.as_uri())
    assert fetch_sentiment140() == cache / ARCHIVE
    source.unlink()
    assert read_sentiment140(fetch_sentiment140()) == ORIGINAL_TEXTS


def test_a_login_page_in_place_of_the_archive_is_not_kept(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "login.html").write_text("<html>Please log in to the hotel's network</html>")
    monkeypatch.setenv("TEXTVAE_SENTIMENT140_URL", (tmp_path / "login.html").as_uri())
    with pytest.raises(CorpusError, match="no zip archive"):
        fetch_sentiment140()
    assert list(cache.iterdir()) == []
