"""What every architecture keeps, with every latent, prior and feeding it comes in; a new file in `architectures/` is tested unasked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from textvae.architectures import Architecture, architectures
from textvae.config import CorpusSettings, ObjectiveSettings, TrainingSettings
from textvae.data.tokenizers import fit_tokenizer
from textvae.data.tokens import EOS, RESERVED, UNK, TokenTable
from textvae.evaluation.bounds import measure_bounds
from textvae.generation import Sampling, decode_beams, decode_greedy, decode_sampled, prior_latents, prior_samples
from textvae.model.emitters import RecurrentEmitter
from textvae.model.text_model import LatentTextModel
from textvae.model.tokens import distortion_of, padded
from textvae.nn.priors import StandardNormalPrior
from textvae.settings import RunSettings
from textvae.training.checkpoint import read_tensors, write_tensors
from textvae.training.objective import loss_of
from textvae.training.run_folder import RunConfig, RunFolder

ALPHABET = "abcde"
V, T_MAX = RESERVED + len(ALPHABET), 7

LINES = torch.tensor(
    [
        [2, 3, 4, 5, EOS, EOS],
        [EOS, EOS, EOS, EOS, EOS, EOS],
        [6, 6, 2, UNK, 3, EOS],
        [5, EOS, EOS, EOS, EOS, EOS],
    ]
)  # (B, T)


@dataclass(frozen=True)
class Case:
    """One way in which an architecture comes."""

    family: Architecture
    latent: str | None
    prior: str | None
    feeding: str | None

    def __str__(self) -> str:
        return "-".join(part for part in (self.family.name, self.latent, self.prior, self.feeding) if part)

    @property
    def settings(self) -> Any:
        return shrunk(self.family.settings(), self)

    def model(self, vocabulary: int = V, max_tokens: int = T_MAX, seed: int = 0) -> LatentTextModel:
        torch.manual_seed(seed)
        return self.family.build(self.settings, vocabulary, max_tokens)


def shrunk(settings: Any, case: Case) -> Any:
    """The settings with small widths: the known groups by their fields, any other whole number cut to 6."""
    small: dict[str, Any] = {}
    for name in (field.name for field in fields(settings)):
        value = getattr(settings, name)
        if name == "latent":
            channels = tuple(2 + i % 2 for i in range(len(value.channels)))
            small[name] = replace(value, shape=case.latent, prior=case.prior, channels=channels, components=3)
        elif name == "decoder":
            small[name] = replace(value, hidden=7, embedding=3, feeding=case.feeding)
        elif name == "convolutions":
            small[name] = replace(value, embedding=3, channels=5, kernels=(3, 2), strides=(1, 2))
        elif name == "ladder":
            small[name] = replace(value, embedding=4, hidden=tuple(6 for _ in value.hidden), reconstruction=6)
        elif is_dataclass(value):
            small[name] = shrunk(value, case)
        elif isinstance(value, int) and not isinstance(value, bool):
            small[name] = min(value, 6)
    return replace(settings, **small)


def cases() -> Iterator[Case]:
    for family in architectures().values():
        latents: list[tuple[str, str] | tuple[None, None]] = list(itertools.product(family.latents, family.priors))
        feedings = ("teacher", "self") if hasattr(family.settings(), "decoder") else (None,)
        for (latent, prior), feeding in itertools.product(latents or [(None, None)], feedings):
            if (prior, feeding) != ("mixture", "self"):  # they never meet: one is read at the top, the other below the bottom
                yield Case(family, latent, prior, feeding)


ALL = list(cases())
every = pytest.mark.parametrize("case", ALL, ids=str)
with_latent = pytest.mark.parametrize("case", [case for case in ALL if case.latent], ids=str)


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def at_means(model: LatentTextModel, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Distortion and log ratios with every z at its posterior's mean: no noise, so that lines compare across batches."""
    steps = model.latents.descend(model.evidence(tokens), temperature=0)
    distortion = model.decoder(model.bottom(steps, len(tokens)), tokens)
    return distortion, [step.log_ratio for step in steps]


def test_there_are_architectures_to_test() -> None:
    assert {"rnn", "cnn", "hybrid", "ladder", "ladder-cnn", "ladder-rnn", "lm"} <= set(architectures())
    assert {case.latent for case in ALL} == {None, "dense", "map"}


@every
def test_shapes(case: Case) -> None:
    model = case.model().eval()
    evidence = model.evidence(LINES)
    steps = model.latents.descend(evidence)
    assert len(evidence) == len(steps) == len(model.latents.shapes) == (len(case.settings.latent.channels) if case.latent else 0)
    for seen, step, shape in zip(evidence, steps, model.latents.shapes, strict=True):
        map_shape = (len(LINES), shape.positions, shape.channels)
        assert seen.mean.shape == seen.log_variance.shape == step.sample.shape == step.posterior.mean.shape == map_shape
        assert step.rate.shape == step.log_ratio.shape == (len(LINES),)
    if case.latent:
        assert (model.latents.bottom.positions == 1) == (case.latent == "dense")
    z = model.bottom(steps, len(LINES))
    logits = model.decoder.emitter(model.decoder.expander(z), z, LINES)
    assert logits.shape == (*LINES.shape, V)
    terms = model(LINES)
    assert terms.distortion.shape == terms.elbo.shape == (len(LINES),)
    assert model.max_tokens == T_MAX


@every
def test_every_parameter_has_a_gradient(case: Case) -> None:
    # Evaluation mode: batch normalisation by running statistics, so that the bias before it counts.
    model = case.model().eval()
    terms = model(LINES)
    loss_of(terms, 1.0, ObjectiveSettings(alpha=0.5 if terms.auxiliary is not None else 0.0)).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert silent == []


@with_latent
def test_the_reconstruction_alone_has_a_gradient_at_every_rung(case: Case) -> None:
    model = case.model().eval()
    heads = [rung.evidence.weight for rung in model.latents.rungs]
    gradients = torch.autograd.grad(model(LINES).distortion.sum(), heads)
    for gradient, head in zip(gradients, heads, strict=True):
        mean, log_variance = gradient.split(head.shape[0] // 2)
        assert mean.abs().max() > 1e-9
        assert log_variance.abs().max() > 1e-9


@every
def test_padding_never_moves_the_loss(case: Case) -> None:
    model = case.model().eval()
    narrow, wide = model(LINES, noise()), model(padded(LINES, T_MAX), noise())
    torch.testing.assert_close(wide.distortion, narrow.distortion, rtol=1e-5, atol=1e-5)
    for a, b in zip(wide.rates, narrow.rates, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    if narrow.auxiliary is not None:
        torch.testing.assert_close(wide.auxiliary(), narrow.auxiliary(), rtol=1e-5, atol=1e-5)


@every
def test_a_line_costs_the_same_alone_and_in_a_batch(case: Case) -> None:
    model = case.model().eval()
    together, ratios = at_means(model, LINES)
    for row, line in enumerate(LINES):
        width = int((line != EOS).sum()) + 1
        alone, alone_ratios = at_means(model, line[None, :width])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)
        for a, b in zip(alone_ratios, ratios, strict=True):
            torch.testing.assert_close(a[0], b[row], rtol=1e-4, atol=1e-4)


@every
def test_the_elbo_is_at_most_the_importance_bound(case: Case) -> None:
    model, samples = case.model().eval(), 16
    table = TokenTable.ended(np.array([2, 3, 4, 5]), np.array([4]))
    bounds = measure_bounds(model, table, samples, noise())
    if not case.latent:
        assert bounds.elbo[0] == bounds.importance_bound[0] == pytest.approx(-model(torch.tensor([[2, 3, 4, 5, EOS]])).distortion.item())
        return
    tokens = torch.tensor([[2, 3, 4, 5, EOS]]).repeat(samples, 1)
    steps = model.latents.descend([rung.repeat(samples) for rung in model.evidence(tokens[:1])], generator=noise())
    log_w = -model.decoder(steps[0].sample, tokens) - sum(step.log_ratio for step in steps)
    assert bounds.elbo[0] == pytest.approx(log_w.mean().item(), rel=1e-5)
    assert bounds.importance_bound[0] == pytest.approx(log_w.exp().mean().log().item(), rel=1e-5)
    assert bounds.elbo[0] < bounds.importance_bound[0]
    assert bounds.elbo[0] == pytest.approx(-bounds.distortion[0] - bounds.rates[0].sum(), rel=1e-6)


@pytest.mark.parametrize("case", [c for c in ALL if c.prior == "normal" and len(c.settings.latent.channels) == 1], ids=str)
def test_the_rate_of_one_rung_is_the_closed_form(case: Case) -> None:
    model = case.model().eval()
    if not isinstance(model.latents.prior, StandardNormalPrior):
        pytest.skip("it has a prior of its own")
    (evidence,) = model.evidence(LINES)
    mu, variance = evidence.mean, evidence.log_variance.exp()
    by_hand = 0.5 * (mu**2 + variance - 1 - variance.log()).sum((1, 2))
    torch.testing.assert_close(model(LINES).rates[0], by_hand, rtol=1e-4, atol=1e-5)


def outputs(model: LatentTextModel) -> list[Tensor]:
    with torch.no_grad():
        terms = model.eval()(LINES, noise())
    return [terms.distortion, *terms.rates, *([] if terms.auxiliary is None else [terms.auxiliary()])]


def same(model: LatentTextModel, other: LatentTextModel) -> bool:
    return all(torch.equal(a, b) for a, b in zip(outputs(model), outputs(other), strict=True))


@every
def test_saved_and_loaded_it_is_the_same_bit_for_bit(case: Case, tmp_path: Path) -> None:
    model, other = case.model(seed=1), case.model(seed=2)
    model.train()(LINES)  # moves the running statistics, where there are any
    assert not same(model, other)
    write_tensors(tmp_path / "w.safetensors", model.state_dict(), {"note": "kept"})
    tensors, metadata = read_tensors(tmp_path / "w.safetensors")
    other.load_state_dict(tensors)
    assert same(model, other)
    assert metadata == {"note": "kept"}


@every
def test_a_run_folder_brings_the_model_back(case: Case, tmp_path: Path) -> None:
    model = case.model(seed=1)
    corpus = CorpusSettings(path="lines.txt")
    tokenizer = fit_tokenizer([ALPHABET], corpus)
    settings = RunSettings(
        corpus=corpus, architecture=case.family.name, model=case.settings, objective=ObjectiveSettings(), training=TrainingSettings()
    )
    config = RunConfig(settings, tokenizer.vocabulary_size, T_MAX - 1, "fingerprint", 10)
    folder = RunFolder(tmp_path / "run")
    folder.save(config, tokenizer)
    write_tensors(folder.path / "weights.safetensors", model.state_dict())
    loaded, loaded_tokenizer = RunFolder(tmp_path / "run").load()
    assert loaded == config
    assert loaded_tokenizer.to_json() == tokenizer.to_json()
    other = loaded.build()
    folder.load_weights(other)
    assert same(model, other)


WAYS: dict[str, Callable[[LatentTextModel, Tensor], np.ndarray]] = {
    "greedy": decode_greedy,
    "sampled": lambda model, z: decode_sampled(model, z, Sampling(), noise(1)),
    "beams": lambda model, z: decode_beams(model, z, 3),
}


@every
def test_what_is_generated_are_valid_strings(case: Case) -> None:
    model = case.model()
    tokenizer = fit_tokenizer([ALPHABET], CorpusSettings())
    for way in WAYS.values():
        (tokens,) = prior_samples(model, 12, way, generator=noise())
        assert tokens.dtype == np.int64
        assert len(tokens) == 12 and 1 <= tokens.shape[1] <= T_MAX
        ended = np.cumsum(tokens == EOS, axis=1) > 0
        assert ended[:, -1].all()
        assert (tokens[ended] == EOS).all()
        assert ((tokens[~ended] >= RESERVED) & (tokens[~ended] < V)).all()
        for text, row in zip(tokenizer.decode(tokens), ended, strict=True):
            assert len(text) == (~row).sum()
            assert set(text) <= set(ALPHABET)


@every
@pytest.mark.parametrize("line", [[[2, 3, 4, EOS]], [[EOS]]], ids=["a line", "an empty line"])
def test_a_batch_of_one_works_in_training_and_evaluation(case: Case, line: list[list[int]]) -> None:
    model, tokens = case.model(), torch.tensor(line)
    for mode in (True, False):
        terms = model.train(mode)(tokens)
        loss = loss_of(terms, 1.0, ObjectiveSettings())
        loss.backward()
        assert loss.isfinite()
        assert terms.distortion.item() > 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def strings(symbols: int, longest: int) -> Tensor:
    """All strings of up to `longest` symbols (tokens 1 to `symbols`), each with its end, (N, longest + 1)."""
    rows = [[*body, *[EOS] * (longest + 1 - n)] for n in range(longest + 1) for body in itertools.product(range(1, symbols + 1), repeat=n)]
    return torch.tensor(rows)


@every
def test_the_probabilities_of_all_strings_sum_to_one(case: Case) -> None:
    symbols, steps = 3, 4
    model = case.model(symbols + 1, steps)
    finished = strings(symbols, steps - 1)
    unfinished = torch.tensor(list(itertools.product(range(1, symbols + 1), repeat=steps)))  # prefixes that have not ended in time
    z = prior_latents(model, 1, generator=noise())

    def probability(tokens: Tensor) -> float:
        with torch.no_grad():
            distortion = model.eval().decoder(z.expand(len(tokens), -1, -1), tokens)
        return torch.exp(-distortion).double().sum().item()

    assert len(finished) == 1 + 3 + 9 + 27
    assert probability(finished) < 1
    assert probability(finished) + probability(unfinished) == pytest.approx(1, abs=1e-5)


def logits_of(model: LatentTextModel, z: Tensor, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval().decoder.emitter(model.decoder.expander(z), z, tokens)


@every
def test_a_decoder_never_sees_the_symbol_it_predicts(case: Case) -> None:
    model, changed_at = case.model(), 2
    z = prior_latents(model, 1, generator=noise())
    tokens = torch.tensor([[2, 3, 4, 5, 6, 2, EOS]])
    other = tokens.clone()
    other[0, changed_at] = 6
    before, after = logits_of(model, z, tokens), logits_of(model, z, other)
    assert torch.equal(before[:, : changed_at + 1], after[:, : changed_at + 1])
    reads_the_text = isinstance(model.decoder.emitter, RecurrentEmitter)
    assert reads_the_text == (case.feeding == "teacher")
    assert torch.equal(before[:, changed_at + 1 :], after[:, changed_at + 1 :]) != reads_the_text


@every
def test_one_step_at_a_time_is_the_same_as_all_at_once(case: Case) -> None:
    model = case.model()
    z = prior_latents(model, 2, generator=noise())
    tokens = torch.tensor([[2, 3, 4, EOS], [5, UNK, 2, 6]])
    previous, steps = torch.zeros(2, dtype=torch.long), []
    with torch.no_grad():
        state = model.eval().decoder.emitter.start(model.decoder.expander(z), z)
        for position in range(tokens.shape[1]):
            logits, state = model.decoder.emitter.step(previous, state)
            steps.append(logits)
            previous = tokens[:, position]
    torch.testing.assert_close(torch.stack(steps, dim=1), logits_of(model, z, tokens), rtol=1e-4, atol=1e-5)


@every
def test_training_lowers_the_loss(case: Case) -> None:
    model = case.model().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    objective = ObjectiveSettings()
    losses = []
    for _ in range(10):
        loss = loss_of(model(LINES), 0.1, objective)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.98 * sum(losses[:3])


def test_distortion_is_the_sum_of_scored_steps_by_hand() -> None:
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05]]]))
    assert distortion_of(logits, torch.tensor([[1, 0, 0]])).item() == pytest.approx(-np.log(0.25) - np.log(0.2))
    assert distortion_of(logits, torch.tensor([[0, 0, 0]])).item() == pytest.approx(-np.log(0.5))
    assert distortion_of(logits, torch.tensor([[2, 2, 0]])).item() == pytest.approx(-np.log(0.25) - np.log(0.6) - np.log(0.9))
