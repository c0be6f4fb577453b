"""Odd lines are those that cost more than lines of their length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.evaluation.oddness import excess, oddest
from textvae.evaluation.single import Score


def test_a_line_is_held_against_lines_of_its_length_not_against_short_ones() -> None:
    lengths = np.repeat(np.arange(1, 31), 20)
    nats = 5.0 + 2.0 * lengths  # the end costs 5, whatever the length: bits per character are highest for the shortest
    nats[7] += 1.0
    nats[-3] += 9.0
    beyond = excess(nats, lengths)
    assert beyond[-3] == pytest.approx(9.0) and beyond[7] == pytest.approx(1.0)
    assert np.delete(beyond, [7, 597]) == pytest.approx(0.0, abs=1e-9)


def test_copies_are_usual_for_their_length() -> None:
    rng = np.random.default_rng(0)
    lengths = np.concatenate([np.ones(60), rng.integers(20, 60, 200)])
    nats = np.where(lengths == 1, 10.0, 1.5 * lengths + rng.normal(size=260))
    assert np.abs(excess(nats, lengths)[:60]).max() < 1e-9


@given(st.lists(st.tuples(st.floats(0, 1e3), st.integers(1, 40)), min_size=1, max_size=120), st.randoms(use_true_random=False))
def test_the_excess_is_the_lines_own_whatever_their_order(lines: list[tuple[float, int]], random: np.random.Generator) -> None:
    shuffled = random.sample(range(len(lines)), len(lines))  # type: ignore[attr-defined]
    nats, lengths = np.array([nats for nats, _ in lines]), np.array([length for _, length in lines])
    beyond = excess(nats, lengths)
    assert beyond[shuffled] == pytest.approx(excess(nats[shuffled], lengths[shuffled]), rel=1e-6, abs=1e-6)
    assert excess(nats + 3.0, lengths) == pytest.approx(beyond, rel=1e-6, abs=1e-6)


def test_the_oddest_come_first_with_their_numbers() -> None:
    scores = [Score(text, -nats, -nats, 0.0, {}) for text, nats in (("ab", 4.0), ("cd", 4.0), ("xy", 9.0), ("ef", 6.0))]
    found = oddest(scores, np.full(4, 3), 2)
    assert [(one.number, one.text, one.excess, one.importance_bound) for one in found] == [(3, "xy", 4.0, -9.0), (4, "ef", 1.0, -6.0)]
    assert oddest([], np.zeros(0), 5) == []
