from __future__ import annotations

import math
import re
import string
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from textvae.data.sources.messages import Messages


@pytest.fixture(scope="module")
def messages() -> Iterator[Messages]:
    yield Messages()  # shared: its automaton is built once


@pytest.fixture(scope="module")
def lines(messages: Messages) -> list[str]:
    return messages.sample(20_000, np.random.default_rng(0))


def words(line: str) -> list[str]:
    return re.findall(r"[a-z']+", line.lower())


def test_there_is_enough_to_learn(messages: Messages, lines: list[str]) -> None:
    assert 18.05 <= messages.entropy <= 18.5
    assert 31 <= messages.grammar.automaton.mean_length <= 34
    assert messages.grammar.automaton.longest == Messages.longest <= 47
    assert len({word for line in lines for word in words(line)}) >= 300
    assert len(set(lines)) > 0.999 * len(lines)


def test_characters_are_those_of_the_studys_tweets(lines: list[str]) -> None:
    assert set("".join(lines)) <= set(string.ascii_letters + string.digits + " !#$'()*+,-./:;=?@^")
    assert all(line == line.strip() and "  " not in line for line in lines)


def test_surprise_of_a_large_sample_agrees_with_the_entropy(messages: Messages, lines: list[str]) -> None:
    log_p = messages.log_probability(lines)
    assert log_p.shape == (len(lines),)
    assert np.isfinite(log_p).all()
    assert -log_p.mean() == pytest.approx(messages.entropy, abs=4 * log_p.std() / math.sqrt(len(lines)))
    assert np.mean([len(line) for line in lines]) == pytest.approx(messages.grammar.automaton.mean_length, abs=0.3)


def test_opening_words_are_as_frequent_as_the_automaton_says(messages: Messages, lines: list[str]) -> None:
    # log p of a line splits into one factor a character; the two lines below differ in "@user " and what that rules in.
    share = np.mean([line.startswith("@user ") for line in lines])
    assert share == pytest.approx(2 / 7, abs=4 * math.sqrt(2 / 7 * 5 / 7 / len(lines)))
    short, long = messages.log_probability(["@user loved the match, we won!!", "loved the match, we won!!"])
    assert short - long == pytest.approx(math.log(2 / 5) - math.log(3 / 5))  # a long one adds no detail three times of five


@pytest.mark.parametrize(
    ("line", "possible"),
    [
        ("loved the match, we won!!", True),
        ("Loved the match, we won!", True),
        ("dreading the exam, bet we fail :(", True),
        ("loved the match, we failed!!", False),  # an exam's ending
        ("loved the exam, we won!!", False),
        ("loved the match, we win!!", False),  # another tense
        ("loved the match tomorrow, so fast!!", False),
        ("loved the match, we lost!!", False),  # another mood
        ("loved the match, we won :(", False),
        ("Loved the match, we won xx", False),  # another style
        ("loved the match, I aced it!!", False),
        ("loved the match, we won!! ", False),
        ("loved the match", False),
        ("good morning", False),
        ("", False),
    ],
)
def test_topic_tense_mood_and_style_hold_to_the_end(messages: Messages, line: str, possible: bool) -> None:
    assert messages.accepts([line]).tolist() == [possible]
    assert (messages.log_probability([line])[0] > -math.inf) == possible


def test_the_first_half_tells_the_topic_of_the_second(lines: list[str]) -> None:
    said: dict[str, Counter[str]] = {"match": Counter(), "pizza": Counter(), "exam": Counter()}
    for line in lines:
        start, remark = re.split(r", |\.+ | - |! |; |: ", line, maxsplit=1)
        for noun in said.keys() & set(words(start)):
            said[noun].update(words(remark))
    own = {"match": "scored", "pizza": "dad", "exam": "failed"}
    counts = {(noun, word): said[noun][word] for noun in own for word in own.values()}
    assert all((count > 0) == (own[noun] == word) for (noun, word), count in counts.items()), counts


def test_damaged_sentences_are_not_sentences(messages: Messages, lines: list[str]) -> None:
    swapped = [line.replace("e", "q", 1) for line in lines[:500] if "e" in line]
    assert not messages.accepts(swapped).any()
    assert messages.accepts([]).shape == (0,)


def test_sampling_and_scoring_are_quick(messages: Messages) -> None:
    assert messages.entropy > 0  # builds the automaton, once
    start = time.process_time()
    lines = messages.sample(20_000, np.random.default_rng(5))
    sampled = time.process_time()
    messages.log_probability(lines[:5000])
    assert sampled - start < 2  # about 0.2 s on an idle core
    assert time.process_time() - sampled < 2  # about 0.1 s
