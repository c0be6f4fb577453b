"""A scikit-learn transformer: texts to latent vectors and back, for pipelines and grid searches. Needs the extra `sklearn`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, final

import numpy as np

from textvae.api import TextVAE, train
from textvae.architectures import find_architecture
from textvae.arguments import check_tables
from textvae.config import require
from textvae.data.files import LINE_END
from textvae.errors import ConfigError, RunError, extra
from textvae.layering import layered, nested
from textvae.settings import resolve
from textvae.storage import write_atomically
from textvae.training.hooks import Hook
from textvae.training.progress import ProgressLine
from textvae.training.run_folder import RunFolder

with extra("sklearn", "textvae.sklearn_transformer"):
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted


INNER = "settings__"
"""What the name of a single setting begins with, as scikit-learn names the parameters of parts."""


@final
class TextVAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Trains a model on texts (`fit`), encodes texts (`transform`) and decodes vectors (`inverse_transform`).

    Give at most one of steps, epochs and minutes. With `out` the run is kept in that folder, with the texts in `texts.jsonl`,
    and can be resumed and measured like any other; without, it lives as long as this object.
    """

    def __init__(
        self,
        preset: str = "default",
        out: str | Path | None = None,
        steps: int | None = None,
        epochs: float | None = None,
        minutes: float | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        importance_samples: int = 100,
        seed: int = 0,
        verbose: bool = False,
    ) -> None:
        """Keep the parameters.

        Args:
            preset: a preset's name, or an architecture's.
            out: the run's folder.
            steps: optimisation steps.
            epochs: passes over the texts.
            minutes: wall-clock budget.
            settings: `model`, `objective`, `training` and `corpus_settings` as `textvae.train` takes them.
            importance_samples: samples of z a text in `score_samples`.
            seed: of training and scoring.
            verbose: whether training shows its progress on stderr.
        """
        self.preset = preset
        self.out = out
        self.steps = steps
        self.epochs = epochs
        self.minutes = minutes
        self.settings = settings
        self.importance_samples = importance_samples
        self.seed = seed
        self.verbose = verbose

    def set_params(self, **params: Any) -> Self:
        """As of every estimator; `settings__model__hidden=16` sets one of the settings, and the others stay: a grid may search them."""
        whole = {name: value for name, value in params.items() if not name.startswith(INNER)}
        super().set_params(**whole)
        for name, value in params.items():
            if name not in whole:
                self.settings = layered(self.settings or {}, nested({name.removeprefix(INNER).replace("__", "."): value}))
        return self

    def fit(self, X: Iterable[str], y: object = None) -> Self:
        """Train on N texts; `y` is not looked at.

        Raises:
            UserError: what is wrong with the texts or the parameters, in one line.
        """
        texts = _texts(X)
        require(any(texts), "X holds no text: give at least one that is not empty")
        settings = self._settings()
        with TemporaryDirectory() as temporary:
            folder = Path(temporary) / "run" if self.out is None else Path(self.out)
            corpus = _written(texts, folder)
            self.vae_: TextVAE = train(
                corpus, preset=self.preset, out=folder, hooks=(ProgressLine() if self.verbose else Warnings(),), **settings
            )
        return self

    def transform(self, X: Iterable[str]) -> np.ndarray:
        """Posterior means of N texts, (N, D), float32."""
        check_is_fitted(self)
        return self.vae_.encode(_texts(X))

    def inverse_transform(self, X: np.ndarray) -> list[str]:
        """The most likely texts of N vectors (N, D)."""
        check_is_fitted(self)
        return self.vae_.decode(np.asarray(X))

    def score_samples(self, X: Iterable[str]) -> np.ndarray:
        """Importance bound on log p(x) of N texts, nats, (N,)."""
        check_is_fitted(self)
        scores = self.vae_.score(_texts(X), self.importance_samples, self.seed)
        return np.array([score.importance_bound for score in scores])

    def score(self, X: Iterable[str], y: object = None) -> float:
        """Mean importance bound, nats a text: what a grid search makes as large as it can."""
        return float(self.score_samples(X).mean())

    def _settings(self) -> dict[str, Any]:
        """What `train` is given; raises `ConfigError` for settings of a wrong shape, and for a model without a latent."""
        check_tables(self.settings or {})
        settings: dict[str, Any] = {name: dict(table) for name, table in (self.settings or {}).items()}
        budget = {"steps": self.steps, "epochs": self.epochs, "minutes": self.minutes}
        given = {name: value for name, value in budget.items() if value is not None}
        settings["training"] = {"seed": self.seed, **settings.get("training", {}), **given}
        settings["corpus_settings"] = {**settings.get("corpus_settings", {}), "column": "text"}
        model = {"model": settings["model"]} if "model" in settings else {}
        architecture = resolve(self.preset, flags={**model, "corpus": {"path": "texts.jsonl"}}).architecture
        require(
            bool(find_architecture(architecture).latents),
            f"{architecture} has no latent, so no vectors: give another preset or model.architecture",
        )
        return settings

    @property
    def _n_features_out(self) -> int:
        """D: how `get_feature_names_out` knows how many names to give."""
        return int(self.vae_.encode([""]).shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


@final
class Warnings(Hook):
    """Tells what the user should know, and nothing else, as Python's warnings."""

    def on_warning(self, message: str) -> None:
        """Tell it."""
        warnings.warn(message, stacklevel=2)

    def on_collapse(self, message: str) -> None:
        """Tell it."""
        warnings.warn(message, stacklevel=2)


def _written(texts: list[str], folder: Path) -> Path:
    """Write the texts into the folder of a run that is about to begin, and return their file; raises `RunError` where one stands."""
    RunFolder(folder).claim()
    path = folder / "texts.jsonl"  # JSON: an empty text is a line too
    content = "".join(f"{json.dumps({'text': text})}\n" for text in texts).encode()
    if path.exists() and path.read_bytes() != content:  # the same texts are left over from a fit that was refused or broke off
        raise RunError(f"{folder} holds a texts.jsonl of other texts: choose another folder with out")
    write_atomically(path, content)
    return path


def _texts(X: Iterable[str]) -> list[str]:
    """A list of texts, each on one line (as in every corpus), of a list, an array, a column, or a table of one column.

    Raises `ConfigError` for anything else.
    """
    shape: tuple[int, ...] = getattr(X, "shape", (0,))
    if isinstance(X, str | Mapping) or len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
        what = f"is an array of shape {tuple(shape)}" if len(shape) > 1 else f"is a {type(X).__name__}"
        raise ConfigError(f"X {what}: give a list, array or column of texts")
    texts = np.asarray(X)[:, 0].tolist() if len(shape) == 2 else list(X)
    for text in texts:
        require(isinstance(text, str), f"X holds {text!r}: give a list, array or column of texts")
    lines = [LINE_END.sub(" ", text) for text in texts]
    broken = sum(line != text for line, text in zip(lines, texts, strict=True))
    if broken:
        warnings.warn(f"{broken:,} texts hold line ends, which are read as spaces", stacklevel=3)
    return lines
