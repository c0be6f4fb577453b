"""What the explorer's page can ask of a run: plain data in, plain data out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from threading import Lock
from typing import Any, final

import numpy as np

from textvae.api import TextVAE
from textvae.config import require
from textvae.data.printable import shown
from textvae.errors import ConfigError, did_you_mean
from textvae.evaluation.collapse import collapse_warning
from textvae.training.metrics import MetricsLog

MOST_STRINGS = 1_000
"""Strings, texts or vectors of one question."""

MOST_SAMPLES = 1_000
"""Importance samples of one question."""

SPREAD_DRAWS = 300
"""The model's own strings by which it is seen how far each number of z moves."""


@final
class Explorer:
    """Answers one question at a time, whoever asks."""

    def __init__(self, vae: TextVAE, name: str) -> None:
        self._vae, self._name, self._lock = vae, name, Lock()
        self._ways: dict[str, Callable[..., Any]] = {
            "run": self.run,
            "sample": self.sample,
            "reconstruct": self.reconstruct,
            "interpolate": self.interpolate,
            "score": self.score,
            "encode": self.encode,
            "decode": self.decode,
        }

    def answer(self, way: str, question: Mapping[str, Any]) -> dict[str, Any]:
        """`{"result": ..., "notes": [str]}` to a question, whose fields are the arguments of the method of that name.

        Raises `ConfigError` for a question that has no answer, with what is wrong with it.
        """
        require(way in self._ways, f"there is no way {way!r}.{did_you_mean(way, self._ways)}")
        with self._lock, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)
            try:
                result = self._ways[way](**question)
            except TypeError as error:
                raise ConfigError(f"{way} cannot be asked like that: {error}") from error
        return {"result": result, "notes": [str(one.message) for one in told if issubclass(one.category, UserWarning)]}

    def run(self) -> dict[str, Any]:
        """What the run is: sizes, measures on valid of the weights that are kept, and how far each number of the bottom z moves."""
        vae, settings = self._vae, self._vae.settings
        log = MetricsLog(vae.folder.path / "metrics.jsonl").read() if vae.folder else []
        kept = log[-1:] if settings.training.keep == "last" else log
        valid = min((line["valid"] for line in kept), key=lambda valid: float(valid["loss"]), default=None)
        return {
            "name": self._name,
            "architecture": settings.architecture,
            "preset": settings.preset,
            "parameters": vae.model.parameter_count,
            "symbols": vae.tokenizer.vocabulary_size,
            "longest": vae.max_length,
            "valid": valid,
            "collapse": valid and collapse_warning(valid["rate_per_rung"], sum(valid["active_units_per_rung"]), settings),
            "latent": self._latent,
        }

    def sample(
        self, n: int = 10, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, seed: int = 0
    ) -> list[str]:
        """New strings, as people see them."""
        _number("n", n, 0, MOST_STRINGS, whole=True)
        _number("temperature", temperature, 0, 1e6)
        _number("seed", seed, 0, 2**53, whole=True)
        if top_k is not None:
            _number("top_k", top_k, 1, 1e9, whole=True)
        if top_p is not None:
            _number("top_p", top_p, 0, 1)
        return [shown(text) for text in self._vae.sample(n, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)]

    def reconstruct(self, texts: Sequence[str], beams: int = 1) -> list[dict[str, Any]]:
        """Texts through the latent and back: input, output, distortion, rate."""
        self._needs_latent()
        _number("beams", beams, 1, 64, whole=True)
        return [asdict(row) for row in self._vae.reconstructions(_texts(texts), beams)]

    def interpolate(self, start: str, end: str, steps: int = 8, path: str = "linear") -> list[str]:
        """The strings met on the way."""
        self._needs_latent()
        _number("steps", steps, 2, MOST_STRINGS, whole=True)
        return self._vae.interpolate(start, end, steps, path)  # type: ignore[arg-type]  # which paths there are it says itself

    def score(self, texts: Sequence[str], importance_samples: int = 100) -> list[dict[str, Any]]:
        """How probable texts are: text, elbo, importance_bound, bits_per_character."""
        _number("importance_samples", importance_samples, 1, MOST_SAMPLES, whole=True)
        return [asdict(row) for row in self._vae.score(_texts(texts), importance_samples)]

    def encode(self, texts: Sequence[str]) -> list[list[float]]:
        """The bottom rung's part of the posterior means, S x Z numbers a text: all that the decoder reads."""
        self._needs_latent()
        width: int = self._width
        bottom: list[list[float]] = self._vae.encode(_texts(texts))[:, :width].tolist()
        return bottom

    def decode(self, z: Sequence[Sequence[float]]) -> list[str]:
        """The most likely string of each bottom z, S x Z numbers."""
        self._needs_latent()
        require(isinstance(z, list) and len(z) <= MOST_STRINGS, f"z is not a list of at most {MOST_STRINGS:,} vectors")
        try:
            bottom = np.array(z, dtype=np.float32).reshape(len(z), self._width)
        except (TypeError, ValueError):
            raise ConfigError(f"z is not made of vectors of {self._width} numbers") from None
        whole = np.zeros((len(bottom), self._vae.encode([""]).shape[1]), dtype=np.float32)
        whole[:, : self._width] = bottom
        return [shown(text) for text in self._vae.decode(whole)]

    @property
    def _width(self) -> int:
        bottom = self._vae.model.latents.bottom
        return bottom.positions * bottom.channels

    @cached_property
    def _latent(self) -> dict[str, Any] | None:
        """The shape of the bottom z, and the standard deviations of its posterior means over strings that the model itself writes."""
        if not self._vae.model.latents.shapes:
            return None
        bottom = self._vae.model.latents.bottom
        vectors = self._vae.encode(self._vae.sample(SPREAD_DRAWS))[:, : self._width]
        return {"positions": bottom.positions, "channels": bottom.channels, "spread": vectors.std(axis=0).tolist()}

    def _needs_latent(self) -> None:
        require(bool(self._vae.model.latents.shapes), f"{self._name} has no latent: it can be sampled and scored")


def _texts(texts: Any) -> list[str]:
    require(isinstance(texts, list) and len(texts) <= MOST_STRINGS, f"texts is not a list of at most {MOST_STRINGS:,} strings")
    found: list[str] = texts
    return found


def _number(name: str, value: Any, low: float, high: float, whole: bool = False) -> None:
    kind = int if whole else int | float
    right = isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high
    require(right, f"{name} is {value!r}: must be a {'whole ' if whole else ''}number from {low:g} to {high:g}")
