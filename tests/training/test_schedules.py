"""Schedules of beta and of the learning rate against values worked out by hand, and what holds for all of them."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.config import ObjectiveSettings, TrainingSettings
from textvae.training.schedules import beta_at, learning_rate_at

schedules = st.sampled_from(["constant", "linear", "cyclical", "sigmoid"])
decays = st.sampled_from(["cosine", "linear", "constant", "plateau"])


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0), (10, 0.25), (20, 0.5), (40, 1.0), (41, 1.0), (100, 1.0)],
)
def test_linear_by_hand(step: int, expected: float) -> None:
    assert beta_at(step, 100, ObjectiveSettings(schedule="linear", warmup=0.4)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "expected"),
    # 4 cycles of 25 steps, each growing over its first half to 2.
    [(0, 0.0), (5, 0.8), (12, 1.92), (13, 2.0), (24, 2.0), (25, 0.0), (30, 0.8), (50, 0.0), (99, 2.0), (100, 2.0)],
)
def test_cyclical_by_hand(step: int, expected: float) -> None:
    settings = ObjectiveSettings(schedule="cyclical", beta=2.0, warmup=0.5, cycles=4)
    assert beta_at(step, 100, settings) == pytest.approx(expected)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (25, 0.5), (50, 1.0), (80, 1.0)])
def test_sigmoid_by_hand(step: int, expected: float) -> None:
    settings = ObjectiveSettings(schedule="sigmoid", warmup=0.5)
    assert beta_at(step, 100, settings) == pytest.approx(expected, abs=1e-12)
    low = 1 / (1 + math.exp(6))
    quarter = (1 / (1 + math.exp(3)) - low) / (1 - 2 * low)
    assert beta_at(10, 80, settings) == pytest.approx(quarter)


def test_constant_and_no_warm_up() -> None:
    assert beta_at(0, 10, ObjectiveSettings(schedule="constant", beta=0.3)) == 0.3
    assert beta_at(0, 10, ObjectiveSettings(schedule="linear", warmup=0.0, beta=0.3)) == 0.3


@given(schedules, st.floats(0, 20), st.floats(0, 1), st.integers(1, 9), st.integers(1, 3_000), st.data())
def test_beta_stays_within_its_bounds_and_ends_at_the_largest(
    schedule: str, beta: float, warmup: float, cycles: int, steps: int, data: st.DataObject
) -> None:
    settings = ObjectiveSettings(schedule=schedule, beta=beta, warmup=warmup, cycles=cycles)
    step = data.draw(st.integers(0, steps))
    assert 0 <= beta_at(step, steps, settings) <= beta * (1 + 1e-12)
    assert beta_at(steps, steps, settings) == pytest.approx(beta)
    if schedule != "cyclical":
        assert beta_at(step, steps, settings) <= beta_at(step + 1, steps, settings) + 1e-12


@given(st.integers(1, 8), st.integers(4, 200))
def test_a_cycle_starts_at_zero_and_grows(cycles: int, length: int) -> None:
    settings = ObjectiveSettings(schedule="cyclical", cycles=cycles, warmup=0.5)
    for cycle in range(cycles):
        values = [beta_at(cycle * length + i, cycles * length, settings) for i in range(length)]
        assert values == sorted(values)
        assert values[0] == 0 and values[-1] == 1


def test_no_cycle_starts_a_rounding_error_too_early() -> None:
    for cycles, length in itertools.product(range(1, 40), range(1, 60)):
        settings = ObjectiveSettings(schedule="cyclical", cycles=cycles)
        assert all(beta_at(cycle * length, cycles * length, settings) == 0 for cycle in range(cycles))


@pytest.mark.parametrize(
    ("decay", "step", "expected"),
    [
        ("cosine", 0, 0.25),
        ("cosine", 3, 1.0),
        ("cosine", 4, 1.0),
        ("cosine", 54, 0.01 + 0.99 * 0.5),
        ("cosine", 104, 0.01),
        ("linear", 29, 0.01 + 0.99 * 0.75),
        ("linear", 104, 0.01),
        ("constant", 80, 1.0),
    ],
)
def test_learning_rate_by_hand(decay: str, step: int, expected: float) -> None:
    settings = TrainingSettings(learning_rate=0.2, lr_warmup=4, decay=decay)
    assert learning_rate_at(step, 104, settings) == pytest.approx(0.2 * expected)


def test_a_plateau_halves() -> None:
    settings = TrainingSettings(learning_rate=0.2, lr_warmup=0, decay="plateau")
    assert [learning_rate_at(50, 100, settings, halvings) for halvings in range(3)] == pytest.approx([0.2, 0.1, 0.05])


@given(decays, st.integers(0, 300), st.integers(1, 300), st.integers(0, 300), st.integers(0, 5))
def test_the_learning_rate_is_positive_and_at_most_its_peak(decay: str, warmup: int, steps: int, step: int, halvings: int) -> None:
    settings = TrainingSettings(learning_rate=0.1, lr_warmup=warmup, decay=decay)
    rate = learning_rate_at(step, steps, settings, halvings)
    assert 0 < rate <= 0.1 + 1e-12
    if step >= warmup:
        assert learning_rate_at(step + 1, steps, settings, halvings) <= rate
