"""All figures of a set of strings at once, and real text as their scale."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from textvae.errors import ConfigError
from textvae.evaluation.text.diversity import distinct, self_bleu
from textvae.evaluation.text.metrics import real_metrics, text_metrics
from textvae.evaluation.text.novelty import nearest_distances

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "dog", "ran", "home", "with", "my", "old", "hat", "today", "so", "fast"]


def made(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(2, 8))) for _ in range(count)]


TRAIN, VALID, TEST = made(200, 0), made(60, 1), made(60, 2)


def test_figures_are_those_of_their_parts() -> None:
    samples = [*made(40, 3), TRAIN[0], "qqq " * 8]
    found = text_metrics(samples, TRAIN, TEST, compared=100)
    assert (found.samples, found.compared) == (42, 42)
    assert found.copied == pytest.approx(sum(s in TRAIN for s in samples) / 42) and found.copied > 0
    assert found.long_samples == sum(len(s) > 20 for s in samples)
    words = " ".join(samples).split()
    assert found.known_words == pytest.approx(1 - 8 / len(words)) and found.mean_words == pytest.approx(len(words) / 42)
    assert found.distinct == pytest.approx([distinct(samples, n, 500) for n in (1, 2, 3, 4)])
    assert found.self_bleu == pytest.approx(self_bleu(samples)) and found.nearest == pytest.approx(nearest_distances(samples, TRAIN).mean())
    assert json.loads(json.dumps(found.to_dict()))["characters"]["perplexity"] == found.characters.perplexity


def test_equal_numbers_of_lines_are_compared_and_the_seed_draws_them() -> None:
    samples = made(120, 3)
    found = text_metrics(samples, TRAIN, TEST, compared=50)
    assert found.compared == 50 and found == text_metrics(samples, TRAIN, TEST, compared=50)
    other = text_metrics(samples, TRAIN, TEST, seed=1, compared=50)
    assert other.characters == found.characters and other.words == found.words and other.copied == found.copied  # of all samples
    assert other.characters_reverse != found.characters_reverse and other.distinct != found.distinct


def test_more_of_the_same_text_does_not_change_what_is_compared_at_equal_numbers() -> None:
    few, many = (text_metrics(made(count, 3), TRAIN, TEST, compared=50) for count in (50, 1000))
    assert many.characters_reverse.perplexity == pytest.approx(few.characters_reverse.perplexity, rel=0.1)
    assert many.self_bleu == pytest.approx(few.self_bleu, abs=8)


def test_gibberish_and_a_single_line_stand_apart_from_real_text() -> None:
    real = real_metrics(TRAIN, VALID, TEST)
    assert list(real) == ["real valid text", "real test text"]
    valid = real["real valid text"]
    rng = random.Random(4)
    gibberish = text_metrics(["".join(rng.choices("abcdefghijklmnopqrst ", k=25)) for _ in range(60)], TRAIN, TEST)
    assert gibberish.known_words < 0.3 < valid.known_words
    assert gibberish.characters.perplexity > 2 * valid.characters.perplexity and gibberish.words.perplexity > 2 * valid.words.perplexity
    assert gibberish.nearest > valid.nearest and gibberish.self_bleu < valid.self_bleu
    same = text_metrics([VALID[0]] * 60, TRAIN, TEST)
    assert same.self_bleu == pytest.approx(100) and same.distinct[0] < valid.distinct[0]
    assert same.characters_reverse.perplexity > valid.characters_reverse.perplexity


def test_real_rows_measure_each_held_out_split_beside_the_other() -> None:
    real = real_metrics(TRAIN, VALID, TEST, compared=40)
    assert real["real test text"] == text_metrics(TEST, TRAIN, VALID, compared=40)
    assert replace(real["real valid text"], samples=0) == replace(text_metrics(VALID, TRAIN, TEST, compared=40), samples=0)


def test_too_few_lines_are_told() -> None:
    with pytest.raises(ConfigError, match="1 samples"):
        text_metrics(["a"], TRAIN, TEST)
    for train, test in (([], TEST), (TRAIN, [])):
        with pytest.raises(ConfigError, match="at least one of each"):
            text_metrics(VALID, train, test)
