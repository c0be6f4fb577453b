"""What the explorer's page can ask of a run: plain data in, plain data out."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from threading import Event, Lock
from typing import Any, final, get_args

import numpy as np
import torch

from textvae.api import TextVAE
from textvae.config import Way, require
from textvae.errors import ConfigError, did_you_mean
from textvae.evaluation.collapse import LatentUse, verdict_on
from textvae.generation import prior_latents
from textvae.training.metrics import kept_measures

MOST_STRINGS = 1_000
"""Strings, texts or vectors of one question."""

MOST_WORK = 20_000
"""Texts times importance samples, or texts times beams, of one question: others wait until it is answered."""

SPREAD_DRAWS = 500
"""Draws of z by which it is seen how far each of its numbers reaches."""


@final
class Explorer:
    """Answers one question at a time, whoever asks."""

    def __init__(self, vae: TextVAE, name: str) -> None:
        self._vae, self._name = vae, name
        self._lock, self._stopped = Lock(), Event()
        self._ways: dict[str, Callable[..., Any]] = {
            "run": self.run,
            "sample": self.sample,
            "reconstruct": self.reconstruct,
            "interpolate": self.interpolate,
            "score": self.score,
            "encode": self.encode,
            "decode": self.decode,
            "draw": self.draw,
        }

    def answer(self, way: str, question: Mapping[str, Any]) -> dict[str, Any]:
        """`{"result": ..., "notes": [str]}` to a question, whose fields are the arguments of the method of that name.

        Raises `ConfigError` for a question that has no answer, with what is wrong with it.
        """
        require(way in self._ways, f"there is no way {way!r}.{did_you_mean(way, self._ways)}")
        method = self._ways[way]
        _fits(way, method, question)
        with self._lock, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)
            self._go_on()
            result = method(**question)
        return {"result": result, "notes": [str(one.message) for one in told if issubclass(one.category, UserWarning)]}

    def stop(self) -> None:
        """Answer nothing more; what is being measured is left at the next batch."""
        self._stopped.set()

    def _go_on(self, *_: object) -> None:
        require(not self._stopped.is_set(), "the explorer is being stopped")

    def run(self) -> dict[str, Any]:
        """What the run is: sizes, measures on valid of the weights that are kept, and how far each number of the bottom z reaches."""
        vae, settings = self._vae, self._vae.settings
        valid = kept_measures(vae.folder.path, settings.training.keep) if vae.folder else None
        verdict = verdict_on(LatentUse.on_valid(valid), settings) if valid else None
        return {
            "name": self._name,
            "architecture": settings.architecture,
            "preset": settings.preset,
            "parameters": vae.model.parameter_count,
            "symbols": vae.tokenizer.vocabulary_size,
            "longest": vae.max_length,
            "valid": valid,
            "collapse": verdict.message if verdict and verdict.collapsed else None,
            "remark": verdict.message if verdict and not verdict.collapsed else None,
            "latent": self._latent,
        }

    def sample(
        self, n: int = 10, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, seed: int = 0
    ) -> list[str]:
        """New strings."""
        _number("n", n, 0, MOST_STRINGS, whole=True)
        _number("temperature", temperature, 0, 1e6)
        _number("seed", seed, 0, 2**53, whole=True)
        if top_k is not None:
            _number("top_k", top_k, 1, 1e9, whole=True)
        if top_p is not None:
            _number("top_p", top_p, 0, 1)
        return self._vae.sample(n, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)

    def reconstruct(self, texts: Sequence[str], beams: int = 1) -> list[dict[str, Any]]:
        """Texts through the latent and back: input, output, distortion, rate."""
        self._needs_latent()
        return [asdict(row) for row in self._vae.reconstructions(_texts(texts, "beams", beams), beams)]

    def interpolate(self, start: str, end: str, steps: int = 8, path: str = "linear") -> list[str]:
        """The strings met on the way."""
        self._needs_latent()
        _number("steps", steps, 2, MOST_STRINGS, whole=True)
        ways: dict[str, Way] = {way: way for way in get_args(Way)}
        require(path in ways, f"path is {path!r}: must be one of {', '.join(ways)}")
        return self._vae.interpolate(start, end, steps, ways[path])

    def score(self, texts: Sequence[str], importance_samples: int = 100) -> list[dict[str, Any]]:
        """How probable texts are: text, elbo, importance_bound, bits_per_character."""
        found = _texts(texts, "importance_samples", importance_samples)
        return [asdict(row) for row in self._vae.score(found, importance_samples, progress=self._go_on)]

    def encode(self, texts: Sequence[str]) -> list[list[float]]:
        """The bottom rung's part of the posterior means, S x Z numbers a text: all that the decoder reads."""
        self._needs_latent()
        bottom: list[list[float]] = self._vae.encode(_texts(texts))[:, : self._width].tolist()
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
        return self._vae.decode(whole)

    def draw(self, n: int = 1, seed: int = 0) -> list[list[float]]:
        """Bottom z from the prior, S x Z numbers each; a ladder's rungs above are drawn first."""
        self._needs_latent()
        _number("n", n, 0, MOST_STRINGS, whole=True)
        _number("seed", seed, 0, 2**53, whole=True)
        drawn: list[list[float]] = self._drawn(n, seed).tolist()
        return drawn

    def _drawn(self, n: int, seed: int) -> np.ndarray:
        generator = torch.Generator(self._vae.model.device).manual_seed(seed)
        flat: np.ndarray = prior_latents(self._vae.model, n, generator=generator).flatten(1).float().cpu().numpy()  # (N, S * Z)
        return flat

    @property
    def _width(self) -> int:
        bottom = self._vae.model.latents.bottom
        return bottom.positions * bottom.channels

    @cached_property
    def _latent(self) -> dict[str, Any] | None:
        """The shape of the bottom z; over draws of the prior and posterior means of the model's own strings, the ends of each of its
        numbers; and over those means alone, the standard deviation: which numbers say something of a string.
        """
        if not self._vae.model.latents.shapes:
            return None
        bottom = self._vae.model.latents.bottom
        means = self._vae.encode(self._vae.sample(SPREAD_DRAWS))[:, : self._width]
        both = np.concatenate([means, self._drawn(SPREAD_DRAWS, seed=0)])
        ends = {"low": both.min(axis=0).tolist(), "high": both.max(axis=0).tolist()}
        return {"positions": bottom.positions, "channels": bottom.channels, "spread": means.std(axis=0).tolist(), **ends}

    def _needs_latent(self) -> None:
        require(bool(self._vae.model.latents.shapes), f"{self._name} has no latent: it can be sampled and scored")


def _fits(way: str, method: Callable[..., Any], question: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a question with a field that the method does not take, or without one that it needs."""
    fields = inspect.signature(method).parameters
    for name in question:
        require(name in fields, f"{way} takes no {name!r}.{did_you_mean(name, fields)}")
    for name, field in fields.items():
        require(name in question or field.default is not inspect.Parameter.empty, f"{way} needs {name!r}, and it is not there")


def _texts(texts: Any, times: str | None = None, count: Any = 1) -> list[str]:
    """Texts that a question may have, whose number times `count` is bounded; whether they are strings the library sees."""
    require(isinstance(texts, list) and len(texts) <= MOST_STRINGS, f"texts is not a list of at most {MOST_STRINGS:,} strings")
    if times is not None:
        _number(times, count, 1, MOST_WORK // max(1, len(texts)), whole=True)
    found: list[str] = texts
    return found


def _number(name: str, value: Any, low: float, high: float, whole: bool = False) -> None:
    kind = int if whole else int | float
    right = isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high
    require(right, f"{name} is {value!r}: must be a {'whole ' if whole else ''}number from {low:,g} to {high:,g}")
