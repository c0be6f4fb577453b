"""Strings as flat latent vectors, and the lines and arcs between them.

A flat vector (D,) holds z of every rung side by side, the bottom rung first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from textvae.config import Way, require
from textvae.data.batches import in_order
from textvae.data.tokens import TokenTable
from textvae.errors import ConfigError
from textvae.model.inference import check_fits, inference, lines_at_once
from textvae.model.text_model import LatentTextModel


def encode(model: LatentTextModel, table: TokenTable) -> np.ndarray:
    """Posterior means of every rung as flat vectors (N, D), float32, in the caller's order; D = 0 without rungs.

    Rungs below the top follow the means of those above.

    Raises:
        ConfigError: a sequence is longer than the model's T_max.
    """
    check_fits(model, table)
    vectors = np.zeros((len(table), latent_width(model)), dtype=np.float32)
    if not model.latents.shapes:
        return vectors
    with inference(model):
        for rows, batch in in_order(table, lines_at_once(model), model.max_tokens):
            tokens = torch.from_numpy(batch).to(model.device)  # (B, T)
            steps = model.latents.descend(model.evidence(tokens), temperature=0)
            vectors[rows] = flatten_latents([step.sample for step in steps])
    return vectors


def latent_width(model: LatentTextModel) -> int:
    """D: numbers in a flat latent vector, all rungs together."""
    return sum(shape.positions * shape.channels for shape in model.latents.shapes)


def flatten_latents(latents: Sequence[Tensor]) -> np.ndarray:
    """z of every rung, bottom first, each (B, S, Z), as one flat vector a sequence: (B, D), float32."""
    return torch.cat([z.flatten(1) for z in latents], dim=1).float().cpu().numpy()  # (B, D)


def bottom_of(model: LatentTextModel, vectors: np.ndarray) -> Tensor:
    """The z (N, S, Z) that the decoder reads, from flat vectors (N, D): the bottom rung comes first in them.

    Raises:
        ConfigError: the vectors are not (N, D) for this model, or hold a number that is not finite.
    """
    expected = latent_width(model)
    require(vectors.dtype.kind in "fiu", f"latent vectors are of type {vectors.dtype}: give numbers of shape (N, {expected})")
    if vectors.ndim != 2 or vectors.shape[1] != expected:
        raise ConfigError(
            f"latent vectors are of shape {vectors.shape}: this model takes (N, {expected}); give vectors that this model encoded"
        )
    require(bool(np.isfinite(vectors).all()), "latent vectors hold a number that is not finite: remove those rows")
    shape = model.latents.bottom
    width = shape.positions * shape.channels
    flat = torch.from_numpy(np.ascontiguousarray(vectors[:, :width], dtype=np.float32))  # (N, S * Z)
    return flat.view(len(vectors), shape.positions, shape.channels).to(model.device)


def interpolate_linear(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    """Flat vectors (steps, D), float32, on the straight line from start (D,) to end (D,), both ends exact.

    Raises:
        ConfigError: fewer than two steps, or ends of different widths.
    """
    return _blend(start, end, steps, lambda share: (1 - share, share))


def interpolate_spherical(start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
    """Flat vectors (steps, D), float32, along the arc from start (D,) to end (D,), both ends exact (Shoemake 1985).

    Between samples of a Gaussian the norm stays typical, which it does not on the straight line. Where the arc is
    not defined (an end at zero, ends along one line) it is the straight line.

    Raises:
        ConfigError: fewer than two steps, or ends of different widths.
    """
    a, b = start.astype(np.float64), end.astype(np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / norms if a.shape == b.shape and norms > 0 else 1.0
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    if math.sin(angle) < 1e-4:
        return interpolate_linear(start, end, steps)
    return _blend(start, end, steps, lambda t: (np.sin((1 - t) * angle) / math.sin(angle), np.sin(t * angle) / math.sin(angle)))


WAYS: dict[Way, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {"linear": interpolate_linear, "spherical": interpolate_spherical}
"""By name."""


def _blend(start: np.ndarray, end: np.ndarray, steps: int, weights: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    require(steps >= 2, f"steps is {steps}: must be at least 2, the start and the end")
    require(start.shape == end.shape and start.ndim == 1, f"the ends have shapes {start.shape} and {end.shape}: give two of one width")
    of_start, of_end = weights(np.linspace(0.0, 1.0, steps))  # (steps,)
    path = (of_start[:, None] * start + of_end[:, None] * end).astype(np.float32)  # (steps, D)
    path[0], path[-1] = start, end
    return path
