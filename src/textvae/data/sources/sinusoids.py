"""The study's toy set: sinusoids cut into digits, with the exact probability of every line.

A line is sixteen digits x_u = floor(10 (0.5 + 0.499 sin(3.14 u a + 3.14 b))) at sixteen evenly spaced u of
[-1, 1], for a frequency a and a phase b drawn from U(-1, 1). Nothing but (a, b) is random, so the
probability of a line is the share of the square [-1, 1] x [-1, 1] whose points draw it.

That share is an area with straight sides: the digit at u depends on (a, b) only through u a + b, and it
changes where u a + b crosses one of a few constants. The square is cut along those lines, one position
after another, and each piece left at the end is a convex polygon of points that draw one line.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import final

import numpy as np

from textvae.data.sources.source import Source

POSITIONS = 16
"""Digits of a line."""

LEVELS = 10
"""Values of a digit."""

TURN = 3.14
"""The study's factor of a and b: 3.14, not pi."""

AMPLITUDE = 0.499
"""Just below a half: the digits stay within 0 to 9."""

Polygon = list[tuple[float, float]]
"""Corners (a, b) of a convex polygon, in order around it."""

SLIVER = 1e-14
"""Areas below are rounding where three lines meet in one point; the smallest true piece is ten times larger."""

SQUARE: Polygon = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]


@final
class Sinusoids(Source):
    """Lines of sixteen digits from randomly drawn sinusoids: 8.506 nats a line."""

    name = "sinusoids"
    description = "the study's toy set: sinusoids as lines of 16 digits, exact entropy known"
    paper_positions = POSITIONS
    longest = POSITIONS

    def sample(self, count: int, rng: np.random.Generator) -> list[str]:
        """Draw `count` independent lines; a pure function of `rng`."""
        a, b = rng.uniform(-1, 1, (2, count, 1))
        digits = _digits(np.linspace(-1, 1, POSITIONS) * a + b)  # (N, 16)
        return (digits + ord("0")).astype(np.uint8).view(f"S{POSITIONS}").ravel().astype(str).tolist()

    @property
    def entropy(self) -> float:
        """Entropy of a line in nats, from the exact areas."""
        return -sum(p * math.log(p) for p in self._probabilities.values())

    def log_probability(self, lines: Sequence[str]) -> np.ndarray:
        """Return log p of each line in nats, (N,); -inf for a line that no (a, b) draws."""
        probabilities = self._probabilities
        return np.array([math.log(probabilities[line]) if line in probabilities else -math.inf for line in lines])

    @cached_property
    def _probabilities(self) -> dict[str, float]:
        """Probability of every line there is (13,636 of them). Takes about a second, once."""
        edges = _crossings()
        middles = (np.array([-2.0, *edges]) + np.array([*edges, 2.0])) / 2
        names = [str(digit) for digit in _digits(middles)]
        pieces = [("", SQUARE)]
        for u in np.linspace(-1, 1, POSITIONS).tolist():
            pieces = [(line + names[strip], part) for line, polygon in pieces for strip, part in _cut_at(polygon, u, edges)]
        areas: defaultdict[str, float] = defaultdict(float)
        for line, polygon in pieces:
            areas[line] += _area(polygon)
        return {line: area / _area(SQUARE) for line, area in areas.items() if area > SLIVER}


def _digits(phases: np.ndarray) -> np.ndarray:
    """Return the digit drawn at each phase u a + b, in the same shape."""
    return np.floor(LEVELS * (0.5 + AMPLITUDE * np.sin(TURN * phases))).astype(np.int64)


def _crossings() -> list[float]:
    """Return, in order, the phases u a + b in [-2, 2] at which the digit changes."""
    rising = np.arcsin((np.arange(1, LEVELS) / LEVELS - 0.5) / AMPLITUDE)
    angles = np.concatenate([rising, np.pi - rising])
    phases = np.add.outer(2 * np.pi * np.arange(-2, 3), angles).ravel() / TURN
    return np.sort(phases[np.abs(phases) < 2]).tolist()


def _cut_at(polygon: Polygon, u: float, edges: list[float]) -> list[tuple[int, Polygon]]:
    """Cut a polygon along every line u a + b = edge that crosses it; return each part with its strip's number."""
    phases = [u * a + b for a, b in polygon]
    highest = max(phases)
    strip = bisect_right(edges, min(phases))
    parts = []
    while strip < len(edges) and edges[strip] < highest:
        below, polygon = _halves(polygon, u, edges[strip])
        parts.append((strip, below))
        strip += 1
    return [*parts, (strip, polygon)]


def _halves(polygon: Polygon, u: float, edge: float) -> tuple[Polygon, Polygon]:
    """Split a convex polygon along u a + b = edge into the part below and the part above."""
    below, above = [], []
    a0, b0 = polygon[-1]
    side0 = u * a0 + b0 - edge
    for a1, b1 in polygon:
        side1 = u * a1 + b1 - edge
        if side0 * side1 < 0:
            share = side0 / (side0 - side1)
            corner = (a0 + share * (a1 - a0), b0 + share * (b1 - b0))
            below.append(corner)
            above.append(corner)
        if side1 <= 0:
            below.append((a1, b1))
        if side1 >= 0:
            above.append((a1, b1))
        a0, b0, side0 = a1, b1, side1
    return below, above


def _area(polygon: Polygon) -> float:
    """Return the area of a polygon (shoelace formula, from its first corner so that thin pieces keep their digits)."""
    a0, b0 = polygon[0]
    corners = [(a - a0, b - b0) for a, b in polygon[1:]]
    return sum(a1 * b2 - a2 * b1 for (a1, b1), (a2, b2) in pairwise(corners)) / 2
