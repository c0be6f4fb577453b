"""Decoding, sampling, beam search and interpolation on tiny models whose strings can be enumerated."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from textvae.architectures import find_architecture
from textvae.data.tokenizers import ByteTokenizer, WordTokenizer
from textvae.data.tokens import EOS, UNK, TokenTable
from textvae.errors import ConfigError
from textvae.generation import (
    ROWS,
    Sampling,
    decode_beams,
    decode_greedy,
    decode_sampled,
    forbidden_tokens,
    keep_top_k,
    keep_top_p,
    prior_latents,
    prior_samples,
)
from textvae.latent_vectors import bottom_of, encode, flatten_latents, interpolate_linear, interpolate_spherical, latent_width
from textvae.model.text_model import LatentTextModel
from textvae.parts import ConvolutionSettings, LadderSettings, LatentSettings, RecurrentDecoderSettings

FAMILIES = ["rnn", "self-fed", "map", "cnn", "hybrid", "ladder", "ladder-cnn", "ladder-rnn", "lm"]


def tiny(kind: str, vocabulary: int = 5, max_tokens: int = 5, seed: int = 0, scale: float = 4.0) -> LatentTextModel:
    """A small untrained model; its decoder's weights are scaled up so that symbols have favourites."""
    torch.manual_seed(seed)
    decoder = RecurrentDecoderSettings(hidden=8, embedding=4, dropout=0.5, feeding="self" if kind == "self-fed" else "teacher")
    given: dict[str, object] = {"decoder": decoder}
    name = "rnn" if kind in ("rnn", "self-fed", "map") else kind
    if name == "rnn":
        given |= {"hidden": 6, "latent": LatentSettings(shape="map" if kind == "map" else "dense", channels=(2,))}
    elif name in ("cnn", "hybrid"):
        given |= {"convolutions": ConvolutionSettings(embedding=4, channels=6, kernels=(3, 2), strides=(1, 2))}
        given |= {"latent": LatentSettings(channels=(3,))}
    elif name != "lm":
        given |= {"ladder": LadderSettings(embedding=4, hidden=(6, 4), reconstruction=6)}
        given |= {"latent": LatentSettings(shape="dense" if name == "ladder" else "map", channels=(2, 1))}
    if name == "cnn":
        del given["decoder"]
    family = find_architecture(name)
    model = family.build(family.settings(**given), vocabulary, max_tokens)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(scale)
    return model


def latents(model: LatentTextModel, count: int, seed: int = 0) -> torch.Tensor:
    return prior_latents(model, count, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def log_probability(model: LatentTextModel, z: torch.Tensor, tokens: np.ndarray) -> np.ndarray:
    """log p(x|z) of tokens (N, T), as the model scores them."""
    model.eval()
    return -model.decoder(z, torch.from_numpy(tokens)).double().numpy()


def all_strings(symbols: range, max_tokens: int) -> np.ndarray:
    """Every string of the symbols that fits, (M, T_max)."""
    strings = [s for length in range(max_tokens) for s in product(symbols, repeat=length)]
    return np.array([[*s, *[EOS] * (max_tokens - len(s))] for s in strings], dtype=np.int64)


def padded(tokens: np.ndarray, width: int) -> np.ndarray:
    return np.pad(tokens, ((0, 0), (0, width - tokens.shape[1])), constant_values=EOS)


# Shape and order of what is decoded


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("way", ["greedy", "sampled", "beams"])
def test_every_family_generates_ended_strings_of_its_symbols(kind: str, way: str) -> None:
    model = tiny(kind)
    z = latents(model, 9)
    tokens = {
        "greedy": lambda: decode_greedy(model, z),
        "sampled": lambda: decode_sampled(model, z, Sampling(temperature=1.5), torch.Generator().manual_seed(0)),
        "beams": lambda: decode_beams(model, z, 3),
    }[way]()
    assert tokens.dtype == np.int64 and len(tokens) == 9 and tokens.shape[1] <= model.max_tokens
    assert (tokens[:, -1] == EOS).all()
    assert ((tokens >= 0) & (tokens < 5) & (tokens != UNK)).all()
    ended = np.maximum.accumulate(tokens == EOS, axis=1)
    assert (tokens[ended] == EOS).all()
    assert model.training


@pytest.mark.parametrize("kind", ["rnn", "cnn", "self-fed"])
@pytest.mark.parametrize("decode", [decode_greedy, partial(decode_beams, beams=3)])
def test_a_row_is_decoded_as_if_it_were_alone(kind: str, decode: partial) -> None:
    """Sequences that end early are left out while the others go on; none may lose its place."""
    model = tiny(kind, max_tokens=9, seed=2, scale=8.0)
    z = 3 * latents(model, 40)
    together = decode(model, z)
    assert len({int((row != EOS).sum()) for row in together}) > 2
    for n in range(40):
        np.testing.assert_array_equal(padded(decode(model, z[n : n + 1]), together.shape[1])[0], together[n])


def test_more_rows_than_are_decoded_at_once_keep_their_order() -> None:
    model = tiny("rnn", max_tokens=4)
    z = latents(model, ROWS + 20)
    whole = decode_greedy(model, z)
    np.testing.assert_array_equal(padded(decode_greedy(model, z.flip(0)), whole.shape[1])[::-1], whole)
    assert decode_greedy(model, z[:0]).shape == (0, 1)


def test_greedy_takes_the_most_likely_symbol_at_every_step() -> None:
    model = tiny("rnn", max_tokens=6).eval()
    z = latents(model, 5)
    tokens = decode_greedy(model, z)
    for n in range(5):
        state, previous = model.decoder.emitter.start(model.decoder.expander(z[n : n + 1]), z[n : n + 1]), EOS
        for position in range(tokens.shape[1]):
            logits, state = model.decoder.emitter.step(torch.tensor([previous]), state)
            logits[0, UNK] = -math.inf
            previous = int(logits.argmax()) if position < model.max_tokens - 1 else EOS
            assert tokens[n, position] == previous
            if previous == EOS:
                break


def test_unknown_is_generated_only_where_it_belongs() -> None:
    model = tiny("lm")
    with torch.no_grad():
        model.decoder.emitter.core.output.bias[UNK] = 50.0
    z = model.latents.empty(3, model.device)
    assert UNK not in decode_greedy(model, z)
    assert (decode_greedy(model, z, forbidden=())[:, :-1] == UNK).all()
    assert forbidden_tokens(ByteTokenizer()) == (UNK,)
    assert forbidden_tokens(WordTokenizer(("a",), unknown_in_training=True)) == ()


# Beam search


@pytest.mark.parametrize("kind", ["rnn", "cnn", "ladder", "lm"])
def test_one_beam_is_greedy(kind: str) -> None:
    model = tiny(kind)
    z = latents(model, 20)
    np.testing.assert_array_equal(decode_beams(model, z, 1), decode_greedy(model, z))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("kind", "beams"), [("rnn", 16), ("map", 16), ("lm", 16), ("cnn", 2), ("self-fed", 2)])
def test_enough_beams_find_the_best_of_all_strings(kind: str, beams: int, seed: int) -> None:
    """Two symbols and T_max 5: 31 strings. Where steps are independent given z, two beams are enough."""
    model = tiny(kind, vocabulary=4, seed=seed, scale=2.0)
    strings = all_strings(range(2, 4), model.max_tokens)
    assert len(strings) == 31
    z = latents(model, 12, seed)
    found = padded(decode_beams(model, z, beams), model.max_tokens)
    for n in range(12):
        scores = log_probability(model, z[n : n + 1].expand(len(strings), -1, -1), strings)
        best = log_probability(model, z[n : n + 1], found[n : n + 1])[0]
        assert best == pytest.approx(scores.max(), abs=1e-5)


@pytest.mark.parametrize("kind", ["rnn", "cnn", "hybrid", "ladder"])
def test_beams_find_likelier_strings_than_greedy(kind: str) -> None:
    model = tiny(kind, vocabulary=9, max_tokens=8, scale=2.0)
    z = latents(model, 60)
    greedy, beams = (log_probability(model, z, tokens) for tokens in (decode_greedy(model, z), decode_beams(model, z, 8)))
    assert (beams >= greedy - 1e-5).all()
    assert (beams > greedy + 1e-3).any()


def test_beams_that_outnumber_the_strings_do_no_harm() -> None:
    model = tiny("rnn", vocabulary=3, max_tokens=3)
    assert decode_beams(model, latents(model, 4), 50).shape[0] == 4
    with pytest.raises(ConfigError, match="beams is 0"):
        decode_beams(model, latents(model, 4), 0)


# Sampling


def test_top_k_by_hand() -> None:
    kept = keep_top_k(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), 2)
    assert kept.tolist() == [[-math.inf, 3.0, 2.0, -math.inf]]
    assert torch.equal(keep_top_k(kept, 9), kept)


@pytest.mark.parametrize(
    ("p", "kept"), [(0.01, [0]), (0.5, [0]), (0.51, [0, 2]), (0.79, [0, 2]), (0.81, [0, 2, 1]), (0.96, [0, 1, 2, 3]), (1.0, [0, 1, 2, 3])]
)
def test_top_p_by_hand(p: float, kept: list[int]) -> None:
    logits = torch.log(torch.tensor([[0.5, 0.15, 0.3, 0.05]], dtype=torch.float64))
    filtered = keep_top_p(logits, p)[0]
    assert sorted(torch.isfinite(filtered).nonzero()[:, 0].tolist()) == sorted(kept)
    assert torch.equal(filtered[kept], logits[0][kept])


def test_filters_compose_and_the_rest_is_renormalised() -> None:
    """Squared and renormalised by temperature 1/2, then the best three of four, then the two that reach 0.7."""
    logits = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64))
    drawn = Sampling(temperature=0.5, top_k=3, top_p=0.7).log_probabilities(logits).exp()
    torch.testing.assert_close(drawn, torch.tensor([[16 / 25, 9 / 25, 0, 0]], dtype=torch.float64))


@given(arrays(np.float64, (3, 6), elements=st.floats(-30, 30)), st.floats(0.0, 5.0), st.integers(1, 9), st.floats(0.01, 1.0))
@settings(deadline=None)
def test_what_is_drawn_from_is_a_distribution_that_holds_the_favourite(x: np.ndarray, temperature: float, k: int, p: float) -> None:
    drawn = Sampling(temperature=temperature, top_k=k, top_p=p).log_probabilities(torch.from_numpy(x)).exp()
    torch.testing.assert_close(drawn.sum(-1), torch.ones(3, dtype=torch.float64))
    assert ((drawn > 0).sum(-1) <= k).all()
    favourite = drawn.argmax(-1, keepdim=True).numpy()
    np.testing.assert_allclose(np.take_along_axis(x, favourite, -1)[:, 0], x.max(-1), atol=1e-9)


@pytest.mark.parametrize("sampling", [Sampling(top_k=1), Sampling(temperature=0), Sampling(temperature=1e-6), Sampling(top_p=1e-9)])
def test_the_most_cautious_sampling_is_greedy(sampling: Sampling) -> None:
    model = tiny("rnn")
    z = latents(model, 30)
    np.testing.assert_array_equal(decode_sampled(model, z, sampling), decode_greedy(model, z))


@pytest.mark.parametrize("kind", ["rnn", "cnn", "self-fed"])
def test_strings_are_drawn_with_the_probability_the_model_gives_them(kind: str) -> None:
    model = tiny(kind, vocabulary=4, max_tokens=3, scale=2.0)
    draws = 20_000
    z = latents(model, 1).expand(draws, -1, -1)
    drawn = decode_sampled(model, z, Sampling(), torch.Generator().manual_seed(0), forbidden=())
    counts = Counter(map(tuple, padded(drawn, 3).tolist()))
    for string in map(tuple, all_strings(range(1, 4), 3).tolist()):
        # A string that has not ended by itself is ended at T_max: two symbols stand for whatever the third would be.
        ways = [string] if string[1] == EOS else [(*string[:2], last) for last in range(4)]
        expected = np.exp(log_probability(model, z[: len(ways)], np.array(ways))).sum()
        assert counts[string] / draws == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / draws) + 1e-9)


def test_a_seed_gives_the_same_strings_whatever_comes_behind() -> None:
    model = tiny("rnn", vocabulary=9, max_tokens=8)
    z = latents(model, ROWS + 50)

    def drawn(count: int, seed: int) -> np.ndarray:
        return padded(decode_sampled(model, z[:count], Sampling(), torch.Generator().manual_seed(seed)), 8)

    np.testing.assert_array_equal(drawn(ROWS + 50, 1), drawn(ROWS + 50, 1))
    np.testing.assert_array_equal(drawn(ROWS + 50, 1)[:30], drawn(30, 1))
    assert (drawn(30, 1) != drawn(30, 2)).any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
    ],
)
def test_sampling_out_of_range_is_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sampling(**given)


# The prior


@pytest.mark.parametrize("kind", ["rnn", "ladder-cnn", "lm"])
def test_prior_samples_stream_and_repeat(kind: str) -> None:
    model = tiny(kind, vocabulary=9, max_tokens=6)

    def drawn(count: int) -> list[np.ndarray]:
        generator = torch.Generator().manual_seed(3)
        return list(prior_samples(model, count, partial(decode_sampled, sampling=Sampling(), generator=generator), generator=generator))

    chunks = drawn(2 * ROWS + 7)
    assert [len(chunk) for chunk in chunks] == [ROWS, ROWS, 7]
    np.testing.assert_array_equal(padded(drawn(5)[0], 6), padded(chunks[0], 6)[:5])
    np.testing.assert_array_equal(padded(drawn(ROWS + 3)[1], 6), padded(chunks[1], 6)[:3])
    assert len(np.unique(padded(chunks[0], 6), axis=0)) > 5
    assert drawn(0) == []


def test_a_stream_costs_nothing_before_it_is_read() -> None:
    model = tiny("rnn")
    stream = prior_samples(model, 10**12, decode_greedy)
    assert len(next(stream)) == ROWS
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_prior_temperature_scales_z() -> None:
    model = tiny("rnn")
    cold = prior_latents(model, 9, temperature=0)
    assert torch.equal(cold, torch.zeros(9, 1, 2))
    half, whole = (prior_latents(model, 9, t, torch.Generator().manual_seed(0)) for t in (0.5, 1.0))
    torch.testing.assert_close(2 * half, whole)
    with pytest.raises(ConfigError, match="temperature is -1"):
        prior_samples(model, 9, decode_greedy, temperature=-1)
    with pytest.raises(ConfigError, match="samples is -1"):
        prior_samples(model, -1, decode_greedy)


# Latent vectors


def lines() -> TokenTable:
    bodies = [[2, 3, 4], [], [4, 4, 2, 2], [3]]
    return TokenTable.ended(np.array([t for body in bodies for t in body], dtype=np.int64), np.array([len(body) for body in bodies]))


@pytest.mark.parametrize("kind", FAMILIES)
def test_vectors_are_the_posterior_means_bottom_rung_first(kind: str) -> None:
    model = tiny(kind)
    vectors = encode(model, lines())
    assert vectors.dtype == np.float32 and vectors.shape == (4, latent_width(model))
    z = bottom_of(model, vectors)
    assert tuple(z.shape[1:]) == (model.latents.bottom.positions, model.latents.bottom.channels)
    if kind == "lm":
        return
    model.eval()
    for n in range(4):
        with torch.no_grad():
            steps = model.latents.descend(model.evidence(torch.from_numpy(lines().take(np.array([n])))), temperature=0)
        torch.testing.assert_close(z[n], steps[0].posterior.mean[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(vectors[n], flatten_latents([s.posterior.mean for s in steps])[0], rtol=1e-4, atol=1e-5)


def test_vectors_of_another_width_are_refused() -> None:
    model = tiny("ladder-cnn")
    width = latent_width(model)
    with pytest.raises(ConfigError, match=rf"shape \(3, {width + 1}\): this model takes \(N, {width}\)"):
        bottom_of(model, np.zeros((3, width + 1), dtype=np.float32))
    with pytest.raises(ConfigError, match=rf"shape \({width},\)"):
        bottom_of(model, np.zeros(width, dtype=np.float32))
    with pytest.raises(ConfigError, match="not finite"):
        bottom_of(model, np.full((1, width), np.nan, dtype=np.float32))
    with pytest.raises(ConfigError, match="a line has 5 tokens"):
        encode(model, TokenTable.ended(np.full(5, 2), np.array([5])))


vectors = arrays(np.float32, 4, elements=st.floats(-10, 10, width=32))


@given(vectors, vectors, st.integers(2, 9))
def test_interpolation_keeps_its_ends_and_its_width(a: np.ndarray, b: np.ndarray, steps: int) -> None:
    for path in (interpolate_linear(a, b, steps), interpolate_spherical(a, b, steps)):
        assert path.shape == (steps, 4) and path.dtype == np.float32 and np.isfinite(path).all()
        np.testing.assert_array_equal(path[0], a)
        np.testing.assert_array_equal(path[-1], b)
    np.testing.assert_allclose(interpolate_linear(a, b, 3)[1], (a.astype(np.float64) + b) / 2, rtol=1e-5, atol=1e-6)


def test_the_arc_keeps_the_norm_and_turns_evenly() -> None:
    path = interpolate_spherical(np.array([2.0, 0.0]), np.array([0.0, 2.0]), 4)
    angles = np.arctan2(path[:, 1], path[:, 0])
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 2.0, rtol=1e-6)
    np.testing.assert_allclose(angles, np.linspace(0, math.pi / 2, 4), atol=1e-6)


@pytest.mark.parametrize("ends", [([0.0, 0.0], [1.0, 1.0]), ([1.0, 1.0], [2.0, 2.0]), ([1.0, 0.0], [-1.0, 0.0])])
def test_where_there_is_no_arc_the_path_is_straight(ends: tuple[list[float], list[float]]) -> None:
    a, b = map(np.array, ends)
    np.testing.assert_allclose(interpolate_spherical(a, b, 5), interpolate_linear(a, b, 5))


def test_a_path_needs_two_steps_and_two_ends_alike() -> None:
    for interpolate in (interpolate_linear, interpolate_spherical):
        with pytest.raises(ConfigError, match="steps is 1"):
            interpolate(np.ones(2), np.zeros(2), 1)
        with pytest.raises(ConfigError, match=r"shapes \(2,\) and \(3,\)"):
            interpolate(np.ones(2), np.zeros(3), 4)
