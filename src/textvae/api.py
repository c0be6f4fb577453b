"""TextVAE: a trained model with its tokenizer and settings, and everything one does with it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, final, get_args

import numpy as np
import torch

from textvae import hub
from textvae.arguments import check_measuring, check_string, check_tables, check_whole, corpus_name, listed_texts, named_run
from textvae.config import CorpusSettings, Device, Split, Way, require
from textvae.data.corpora import BUILT_IN, Prepared, fit_split, load_corpus, load_lines, prepare
from textvae.data.files import usual_column
from textvae.data.reading import read_texts
from textvae.data.tokenizers import Tokenizer
from textvae.data.tokens import TokenTable
from textvae.errors import ConfigError, CorpusError, UserError
from textvae.evaluation.bounds import Progress, measure_bounds
from textvae.evaluation.comparison import Comparison, compare
from textvae.evaluation.familiar import known_lines, training_lines_among, training_lines_told
from textvae.evaluation.measure import Evaluation, Measured, measure
from textvae.evaluation.oddness import oddest
from textvae.evaluation.posterior_means import terms_at_means
from textvae.evaluation.single import Odd, Reconstruction, Score, scores
from textvae.generation import Decode, Sampling, decode_beams, decode_greedy, decode_sampled, forbidden_tokens, prior_samples
from textvae.latent_vectors import WAYS, bottom_of, encode
from textvae.layering import dotted
from textvae.model.text_model import LatentTextModel
from textvae.settings import RunSettings
from textvae.training import session
from textvae.training.hooks import Hook
from textvae.training.model_card import CARD, for_use
from textvae.training.progress import ProgressLine
from textvae.training.run_folder import RunFolder, fingerprint_of
from textvae.training.starting import run_settings


@final
class TextVAE:
    """A trained model of strings. Made by `textvae.train` or `TextVAE.from_pretrained`.

    Texts go in and results come out in the same order. Randomness is seeded: the same seed gives the same strings.
    """

    def __init__(
        self, model: LatentTextModel, tokenizer: Tokenizer, settings: RunSettings, max_length: int, folder: RunFolder | None = None
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.settings = settings
        self.max_length = max_length
        self.folder = folder

    def __repr__(self) -> str:
        """What it is at a glance: family, sizes and where it lies."""
        weights = sum(parameter.numel() for parameter in self.model.parameters())
        sizes = f"{weights:,} parameters, {self.tokenizer.vocabulary_size} symbols, lines of up to {self.max_length}"
        return f"TextVAE({self.settings.architecture}: {sizes}{f', in {self.folder.path}' if self.folder else ''})"

    @classmethod
    def from_pretrained(cls, name: str | Path, device: Device = "cpu") -> TextVAE:
        """Load a run from its folder, or from the hub as `user/model` where no such folder exists, onto a device.

        Raises:
            RunError: no run of that name, a damaged one, or one of a newer version.
            ConfigError: another device than cpu and cuda, or a GPU that is not there.
        """
        require(device in get_args(Device), f"device is {device!r}: must be one of {', '.join(get_args(Device))}")
        require(device != "cuda" or torch.cuda.is_available(), "device is 'cuda', but torch sees no GPU here: leave it out for the CPU")
        folder = RunFolder(hub.located(named_run(name)))
        config, tokenizer = folder.load()
        model = config.build()
        folder.load_weights(model)
        return cls(model.to(device), tokenizer, config.settings, config.max_length, folder)

    def push_to_hub(self, name: str) -> str:
        """Publish the run as `user/model`; returns its address. Its card says how to use it by that name; corpus and starting run go by
        their names, not by where they lie on this machine.

        Raises:
            ConfigError: the model has no folder.
            RunError: the hub refuses it.
        """
        require(self.folder is not None, "this model has no run folder to publish: train it with out=..., or load it from its folder")
        assert self.folder is not None
        instead = {"config.json": self.folder.published_config()}
        card = self.folder.path / CARD
        if card.exists():
            instead[card.name] = for_use(card.read_text(encoding="utf-8"), name)
        return hub.publish(self.folder.path, name, instead)

    # ── text to latent and back ──

    def encode(self, texts: Iterable[str]) -> np.ndarray:
        """Posterior means of all rungs, bottom rung first, as flat vectors (N, D), float32."""
        return encode(self.model, self.table(texts))

    def decode(self, z: np.ndarray, beams: int = 1) -> list[str]:
        """The most likely strings of latent vectors (N, D), greedily or by beam search.

        The decoder reads the bottom rung's part of each vector. Raises `ConfigError` for vectors of another width.
        """
        return self.tokenizer.decode(self._best(beams)(self.model, bottom_of(self.model, np.atleast_2d(z))))

    def reconstruct(self, texts: Iterable[str], beams: int = 1) -> list[str]:
        """Each text through its posterior mean and back."""
        return self.decode(self.encode(texts), beams)

    def reconstructions(self, texts: Iterable[str], beams: int = 1) -> list[Reconstruction]:
        """Each text through its posterior mean and back, with the distortion and the rate it costs."""
        table = self.table(texts)
        distortion, rate = terms_at_means(self.model, table)
        outputs = self.decode(encode(self.model, table), beams)
        rows = zip(self._as_read(table), outputs, distortion.tolist(), rate.tolist(), strict=True)
        return [Reconstruction(*row) for row in rows]

    def interpolate(self, start: str, end: str, steps: int = 8, path: Way = "linear") -> list[str]:
        """The strings met on the way from one text's posterior mean to another's, both ends included."""
        require(path in WAYS, f"path is {path!r}: must be one of {', '.join(WAYS)}")
        check_string(start=start, end=end)
        check_whole(2, steps=steps)  # both ends
        a, b = self.encode([start, end])
        return self.decode(WAYS[path](a, b, steps))

    # ── generation ──

    def sample(
        self,
        n: int = 10,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        beams: int | None = None,
        seed: int = 0,
    ) -> list[str]:
        """`n` strings of z from the prior: drawn (temperature, top_k, top_p), or each z's best by beam search."""
        return list(self.samples(n, temperature=temperature, top_k=top_k, top_p=top_p, beams=beams, seed=seed))

    def samples(
        self,
        n: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        beams: int | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """As `sample`, one string after another: any number fits in memory."""
        check_whole(0, n=n, seed=seed)
        if beams is not None and (temperature != 1.0 or top_k is not None or top_p is not None):
            raise ConfigError("beams searches for the most likely string and draws nothing: leave out temperature, top_k and top_p")
        sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
        generator = torch.Generator(self.model.device).manual_seed(seed)
        way = (
            partial(decode_sampled, sampling=sampling, generator=generator, forbidden=forbidden_tokens(self.tokenizer))
            if beams is None
            else self._best(beams)
        )
        for tokens in prior_samples(self.model, n, way, generator=generator):
            yield from self.tokenizer.decode(tokens)

    def _best(self, beams: int) -> Decode:
        forbidden = forbidden_tokens(self.tokenizer)
        check_whole(1, beams=beams)
        return partial(decode_beams, beams=beams, forbidden=forbidden) if beams > 1 else partial(decode_greedy, forbidden=forbidden)

    # ── measuring ──

    def score(self, texts: Iterable[str], importance_samples: int = 100, seed: int = 0, progress: Progress | None = None) -> list[Score]:
        """ELBO and importance bound of each text, nats, from the same samples, and how far these leave them open."""
        texts = listed_texts(texts)
        if not texts:
            return []
        check_measuring(importance_samples, seed)
        generator = torch.Generator(self.model.device).manual_seed(seed)
        table = self.table(texts)
        bounds = measure_bounds(self.model, table, importance_samples, generator, progress=progress)
        return scores(texts, self._as_read(table), bounds)

    def oddest(
        self, texts: Iterable[str], n: int = 10, importance_samples: int = 100, seed: int = 0, progress: Progress | None = None
    ) -> list[Odd]:
        """The `n` texts that cost most above what those of their length here do, the oddest first."""
        check_whole(1, n=n)
        texts = listed_texts(texts)
        lengths = read_texts(texts, self.tokenizer, self.max_length, self.settings.corpus.spaces)[0].lengths
        return oddest(self.score(texts, importance_samples, seed, progress), lengths, n)

    def evaluate(
        self,
        corpus: str | Path | None = None,
        *,
        split: Split = "test",
        importance_samples: int = 100,
        column: str | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Measure the model on a split of a corpus (by default the one it was trained on), or on `all` its lines.

        Warns of lines that are left out or cut, and of symbols that the model does not know.

        Raises:
            CorpusError: there is no such corpus, or no line in it that the model can read.
        """
        return self._measure(corpus, split, importance_samples, column, seed, progress).evaluation

    def measure(
        self,
        corpus: str | Path | None = None,
        *,
        split: Split = "test",
        importance_samples: int = 100,
        column: str | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Measured:
        """As `evaluate`, with the lines that were measured and the bounds of each of them."""
        return self._measure(corpus, split, importance_samples, column, seed, progress)

    def _measure(
        self, corpus: str | Path | None, split: Split, importance_samples: int, column: str | None, seed: int, progress: Progress | None
    ) -> Measured:
        check_measuring(importance_samples, seed)
        settings = self._corpus_to_measure(corpus, column)
        found = load_lines(settings, split, self.settings.training.seed)
        encoded = self.tokenizer.encode(found.lines)
        fitted, told = fit_split(split, found.lines, encoded, self.tokenizer, settings, self.max_length, fixed=True)
        told += [*training_lines_told(settings, split, self.settings), *training_lines_among(settings, fitted.lines, self)]
        for notice in (*found.notices, *told):
            warnings.warn(notice, stacklevel=3)  # of who called what calls this
        if not fitted.lines:
            raise CorpusError(f"{found.corpus}, {split}: no line has at most {self.max_length} tokens: give another split or corpus")
        return measure(
            self.model,
            self.tokenizer,
            fitted.table,
            fitted.lines,
            corpus_name=found.corpus,
            split=split,
            source=found.source,
            importance_samples=importance_samples,
            seed=seed,
            training_seconds=self.folder.training_seconds if self.folder else 0.0,
            progress=progress,
        )

    def compare(
        self,
        other: TextVAE,
        corpus: str | Path | None = None,
        *,
        split: Split = "test",
        importance_samples: int = 100,
        column: str | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Comparison:
        """Measure this model and another on the same lines: those of a corpus (by default this one's) that both read whole.

        Warns where one of them was trained on another corpus, whose training lines these may be.

        Raises:
            ConfigError: no model to compare with, or no line that both read whole.
        """
        require(isinstance(other, TextVAE), f"other is a {type(other).__name__}: give a model, such as textvae.load('runs/other')")
        check_measuring(importance_samples, seed)
        settings = self._corpus_to_measure(corpus, column)
        found = load_lines(settings, split, self.settings.training.seed)
        told = [*training_lines_told(settings, split, self.settings)]
        told += known_lines(settings, split, found.lines, (self, other))
        for notice in (*found.notices, *told):
            warnings.warn(notice, stacklevel=2)
        return compare(
            self,
            other,
            found.lines,
            corpus_name=found.corpus,
            split=split,
            drawn=found.source is not None,
            importance_samples=importance_samples,
            seed=seed,
            progress=progress,
        )

    def training_lines(self) -> Sequence[str] | None:
        """The lines it was trained on; None where these are drawn, fetched, a starting run's as well, or lie no longer where they did."""
        if self.folder is None or self.settings.corpus.path in BUILT_IN or self.settings.training.start_from is not None:
            return None
        try:
            data = self.prepared()
        except UserError:
            return None
        return data.lines["train"] if fingerprint_of(data.tables["train"]) == self.folder.load()[0].fingerprint else None

    def prepared(self, corpus: str | Path | None = None, column: str | None = None) -> Prepared:
        """A corpus read as this model reads: its tokenizer, its longest line."""
        settings = self._settings_of(corpus, column)
        return prepare(load_corpus(settings, self.settings.training.seed), settings, self.tokenizer, self.max_length)

    def _corpus_to_measure(self, corpus: str | Path | None, column: str | None) -> CorpusSettings:
        """The settings of a corpus to measure. Raises `CorpusError` where it is not named, and what lies at its path is not what the
        model was trained on: a path may be read in another folder, and a file may have changed.
        """
        settings = self._settings_of(corpus, column)
        if corpus is not None or settings.path in BUILT_IN or self.folder is None:
            return settings
        which = f"{self.folder.path} was trained on {settings.path}"
        if not Path(settings.path).exists():
            raise CorpusError(f"{which}, which is not here: name the corpus to measure it on, or go to the folder it was trained in")
        if fingerprint_of(self.prepared().tables["train"]) != self.folder.load()[0].fingerprint:
            raise CorpusError(f"{which}, and that file has other training lines: name the corpus to measure it on these all the same")
        return settings

    def _settings_of(self, corpus: str | Path | None, column: str | None) -> CorpusSettings:
        """The settings of a corpus, by default of this model's own; of another file its column, where that is not named and there."""
        require(corpus is not None or column is None, f"column is {column!r}, but no corpus is named: give the corpus that has it")
        settings: CorpusSettings = self.settings.corpus
        if corpus is None:
            return settings
        return replace(settings, path=(path := corpus_name(corpus)), column=column or usual_column(Path(path), settings.column))

    def table(self, texts: Iterable[str]) -> TokenTable:
        """Texts as tokens, row i of text i. Longer ones than the model reads are cut and unseen symbols read as unknown, with a warning."""
        table, told = read_texts(listed_texts(texts), self.tokenizer, self.max_length, self.settings.corpus.spaces)
        for notice in told:
            warnings.warn(notice, stacklevel=3)
        return table

    def _as_read(self, table: TokenTable) -> list[str]:
        """The texts of a table as the model reads them: cut where they were too long, � for what it does not know."""
        return self.tokenizer.decode(table.take(np.arange(len(table))))


def load(name: str | Path, device: Device = "cpu") -> TextVAE:
    """Load a run from its folder, or from the hub as `user/model` (the same as `TextVAE.from_pretrained`)."""
    return TextVAE.from_pretrained(name, device)


def train(
    corpus: str | Path | None = None,
    *,
    preset: str | None = None,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    hooks: Sequence[Hook] | None = None,
    **settings: Mapping[str, Any],
) -> TextVAE:
    """Train a model on a corpus and return it; the run's folder keeps everything.

    Args:
        corpus: a file, a folder, or a built-in name; may also stand in the preset or the config file.
        preset: a preset's name, or an architecture's for its general preset.
        config: a TOML or JSON file of settings, laid over the preset.
        out: the run's folder; by default a new one under `runs`.
        resume: go on with the run in `out`, with the settings it began with.
        hooks: what watches the run; by default a progress line on stderr.
        settings: `corpus_settings=`, `model=`, `objective=`, `training=` as nested dicts, laid over all others.

    Raises:
        UserError: anything the user can mend, told in one line.
        KeyboardInterrupt: Ctrl-C or SIGTERM stopped it; `out` holds a checkpoint to resume from.
    """
    watching = (ProgressLine(),) if hooks is None else tuple(hooks)
    require(out is None or isinstance(out, str | Path), f"out is a {type(out).__name__} ({out!r:.20}): give the folder of the run")
    check_tables(settings)
    flags = {("corpus" if name == "corpus_settings" else name): dict(value) for name, value in settings.items()}
    if resume:
        require(out is not None, "resume needs out, the folder of the run to go on with")
        assert out is not None
        named = {"corpus": corpus, "preset": preset, "config": config}
        given = [*(name for name, value in named.items() if value), *dotted(flags)]
        require(
            not given,
            f"a resumed run keeps its settings, its number of steps too: leave out {', '.join(given)}, or train a new run (it may "
            "start from this one)",
        )
        return _finished(session.resume(out, watching), Path(out))
    if corpus is not None:
        flags["corpus"] = {**flags.get("corpus", {}), "path": corpus_name(corpus)}
    resolved = run_settings(preset, Path(config) if config else None, flags)
    folder = Path(out) if out is not None else session.free_folder(resolved)
    return _finished(session.start(resolved, folder, watching), folder)


def _finished(done: bool, folder: Path) -> TextVAE:
    """The trained model; raises `KeyboardInterrupt` where the user stopped the training, which may not have weights to keep yet."""
    if not done:
        raise KeyboardInterrupt(f"stopped; {folder} holds a checkpoint to resume from")
    return load(folder)
