from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from textvae.data.sources.sinusoids import Sinusoids


@pytest.fixture(scope="module")
def sinusoids() -> Iterator[Sinusoids]:
    yield Sinusoids()  # shared: its areas are computed once


def drawn(a: float, b: float) -> str:
    """The study's formula, one digit at a time."""
    return "".join(str(math.floor(10 * (0.5 + 0.499 * math.sin(3.14 * u * a + 3.14 * b)))) for u in np.linspace(-1, 1, 16))


def test_a_line_is_the_studys_formula_at_the_two_uniform_draws(sinusoids: Sinusoids) -> None:
    frequencies, phases = np.random.default_rng(7).uniform(-1, 1, (2, 50))
    assert sinusoids.sample(50, np.random.default_rng(7)) == [drawn(a, b) for a, b in zip(frequencies, phases, strict=True)]


def test_entropy_is_the_two_dimensional_integral(sinusoids: Sinusoids) -> None:
    assert sinusoids.entropy == pytest.approx(8.506, abs=1e-3)
    assert sinusoids.entropy == pytest.approx(8.5062, abs=1e-4)  # the 8000 x 8000 grid's figure


def test_surprise_of_a_large_sample_agrees_with_the_entropy(sinusoids: Sinusoids) -> None:
    log_p = sinusoids.log_probability(sinusoids.sample(50_000, np.random.default_rng(0)))
    assert log_p.shape == (50_000,)
    assert np.isfinite(log_p).all()
    assert log_p.std() == pytest.approx(1.47, abs=0.03)
    assert -log_p.mean() == pytest.approx(sinusoids.entropy, abs=4 * log_p.std() / math.sqrt(50_000))


def test_every_line_of_a_grid_is_possible_and_the_probabilities_of_all_lines_sum_to_one(sinusoids: Sinusoids) -> None:
    middles = (np.arange(1500) + 0.5) / 750 - 1
    a, b = (axis.reshape(-1, 1) for axis in np.meshgrid(middles, middles))
    digits = np.floor(10 * (0.5 + 0.499 * np.sin(3.14 * (np.linspace(-1, 1, 16) * a + b)))).astype(np.int64)
    codes, counts = np.unique(digits @ 10 ** np.arange(15, -1, -1), return_counts=True)
    p = np.exp(sinusoids.log_probability([f"{code:016d}" for code in codes]))
    assert p.sum() <= 1 + 1e-9
    assert p.sum() == pytest.approx(1, abs=1e-4)  # cells too small for the grid are missing
    assert np.abs(p - counts / len(a)).sum() < 0.05  # the grid's own error


def test_the_area_of_a_cell_cut_by_hand(sinusoids: Sinusoids) -> None:
    # The phase u a + b stays where the digit is 9 for every u in [-1, 1]: |a| + |b - middle| <= half, a diamond of area 2 half^2.
    # That digit is drawn where sin >= 0.4 / 0.499, around middle = (pi / 2) / 3.14; a turn lower is outside the square.
    half = (math.pi / 2 - math.asin(0.4 / 0.499)) / 3.14
    assert math.exp(sinusoids.log_probability(["9" * 16])[0]) == pytest.approx(2 * half**2 / 4, rel=1e-9)


def test_frequencies_agree_with_probabilities(sinusoids: Sinusoids) -> None:
    count = 100_000
    common = Counter(sinusoids.sample(count, np.random.default_rng(1))).most_common(100)
    held_out = Counter(sinusoids.sample(count, np.random.default_rng(2)))  # not the sample that chose the lines
    expected = count * np.exp(sinusoids.log_probability([line for line, _ in common]))
    observed = np.array([held_out[line] for line, _ in common])
    chi_square = ((observed - expected) ** 2 / expected).sum()
    assert chi_square < 160  # 100 degrees of freedom: above this once in ten thousand


@pytest.mark.parametrize("line", ["0909090909090909", "", "12", "999999999999999", "99999999999999999", "hello"])
def test_a_line_that_no_sinusoid_draws_is_impossible(sinusoids: Sinusoids, line: str) -> None:
    assert sinusoids.log_probability([line])[0] == -math.inf


def test_a_hundred_thousand_lines_are_quick(sinusoids: Sinusoids) -> None:
    start = time.process_time()
    lines = sinusoids.sample(100_000, np.random.default_rng(0))
    assert time.process_time() - start < 2  # about 0.2 s on an idle core
    assert len(lines) == 100_000 and {len(line) for line in lines} == {16}


def test_nothing_asked_nothing_drawn(sinusoids: Sinusoids) -> None:
    assert sinusoids.sample(0, np.random.default_rng(0)) == []
    assert sinusoids.log_probability([]).shape == (0,)
