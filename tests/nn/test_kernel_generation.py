"""Generation by the compiled kernel beside generation step by step: the same strings, whatever the cell, the context and the choice.

In fp32; by products in bf16 nearly all strings are the same, and what is most likely stays so.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from textvae.architectures import find_architecture
from textvae.data.tokens import EOS
from textvae.generation import Sampling, decode_beams, decode_greedy, decode_sampled, prior_latents
from textvae.model.text_model import LatentTextModel
from textvae.nn.kernel import generation
from textvae.nn.kernel.compiling import SWITCH, kernel
from textvae.parts import LadderSettings, LatentSettings, RecurrentDecoderSettings

from .conftest import with_bf16

pytestmark = pytest.mark.skipif(kernel().library is None, reason=kernel().reason)

COUNT, VOCABULARY, MAX_TOKENS = 150, 37, 9
"""More rows than walk together; symbols and units that fill no vector."""


@pytest.fixture(autouse=True)
def products_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32, whatever the processor has, or what a test asks for by `products_in`; bf16 is computed from fp32 where it is not there."""
    with_bf16(getattr(request, "param", "fp32") == "bf16", monkeypatch)


in_bf16 = pytest.mark.parametrize("products_in", ["bf16"], indirect=True)
in_both = pytest.mark.parametrize("products_in", ["fp32", "bf16"], indirect=True)


def model_of(kind: str = "dense", cell: str = "lstm", feeding: str = "teacher", layers: int = 1) -> LatentTextModel:
    """A small untrained model whose symbols have favourites."""
    torch.manual_seed(1)
    decoder = RecurrentDecoderSettings(cell=cell, hidden=20, embedding=7, feeding=feeding, layers=layers, dropout=0.5)  # type: ignore[arg-type]
    given: dict[str, object] = {"decoder": decoder}
    if kind in ("dense", "map"):
        given |= {"hidden": 6, "latent": LatentSettings(shape=kind, channels=(3,))}  # type: ignore[arg-type]
    elif kind != "lm":
        given |= {"ladder": LadderSettings(embedding=4, hidden=(6, 4), reconstruction=6), "latent": LatentSettings(channels=(2, 1))}
    family = find_architecture("rnn" if kind in ("dense", "map") else kind)
    model = family.build(family.settings(**given), VOCABULARY, MAX_TOKENS)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(3.0)
        model.decoder.emitter.core.output.bias[EOS] += 2.0  # so that some end early
    return model


def generated(model: LatentTextModel, sampling: Sampling | None = None) -> np.ndarray:
    """Strings (N, T_max), greedy where no sampling is given."""
    z = prior_latents(model, COUNT, generator=torch.Generator().manual_seed(2))
    tokens = decode_greedy(model, z) if sampling is None else decode_sampled(model, z, sampling, torch.Generator().manual_seed(3))
    return np.pad(tokens, ((0, 0), (0, MAX_TOKENS - tokens.shape[1])), constant_values=EOS)


def both(model: LatentTextModel, sampling: Sampling | None, patch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """By the kernel, and step by step."""
    calls = []
    whole = generation.Walk.draw
    patch.setattr(generation.Walk, "draw", lambda *given: calls.append(1) or whole(*given))
    fused = generated(model, sampling)
    assert calls
    patch.setenv(SWITCH, "off")
    plain = generated(model, sampling)
    patch.delenv(SWITCH)
    assert len(model.latents.shapes) == 0 or len(set((plain != EOS).sum(1))) > 2  # some end early; all strings of an `lm` may be one
    return fused, plain


def assert_same_strings(fused: np.ndarray, plain: np.ndarray) -> None:
    """All but a string that rounding may have turned at a tie."""
    assert (fused != plain).any(1).sum() <= 1


EMITTERS = [("lm", "teacher"), *((kind, feeding) for kind in ("dense", "map", "ladder") for feeding in ("teacher", "self"))]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(("kind", "feeding"), EMITTERS)
@pytest.mark.parametrize("sampling", [None, Sampling()], ids=["greedy", "sampled"])
def test_every_recurrent_emitter_generates_what_it_does_step_by_step(
    kind: str, feeding: str, cell: str, sampling: Sampling | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_same_strings(*both(model_of(kind, cell, feeding), sampling, monkeypatch))


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.5),
        Sampling(temperature=2.0),
        Sampling(temperature=1e-6),
        Sampling(temperature=0),
        Sampling(top_k=3),
        Sampling(top_k=99),
        Sampling(top_p=0.8),
        Sampling(top_p=1e-9),
        Sampling(temperature=1.5, top_k=6, top_p=0.7),
    ],
    ids=str,
)
def test_every_choice_is_the_one_made_step_by_step(sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_same_strings(*both(model_of(), sampling, monkeypatch))


@in_bf16
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("kind", ["lm", "dense", "map", "ladder"])
def test_strings_drawn_in_bf16_are_nearly_those_of_fp32(kind: str, cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in ten may turn where a uniform number falls between two symbols."""
    fused, plain = both(model_of(kind, cell), Sampling(temperature=0.7, top_k=8), monkeypatch)
    assert (fused != plain).any(1).mean() < 0.1
    assert kind == "lm" or (fused != plain).any()


@in_bf16
@pytest.mark.parametrize(
    ("feeding", "sampling"),
    [
        ("teacher", None),
        ("self", Sampling()),
        *(("teacher", Sampling(**told)) for told in ({"temperature": 0}, {"temperature": 0.1}, {"top_k": 1}, {"top_p": 0.1})),
    ],
)
def test_what_is_most_likely_is_told_in_fp32(feeding: str, sampling: Sampling | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_same_strings(*both(model_of(feeding=feeding), sampling, monkeypatch))


@in_both
def test_threads_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("map")
    whole = generated(model, Sampling())
    monkeypatch.setattr(generation, "threads_for", lambda work: 2)
    np.testing.assert_array_equal(generated(model, Sampling()), whole)
    monkeypatch.setattr(generation, "WIDEST", 1)
    np.testing.assert_array_equal(generated(model, Sampling()), whole)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(("kind", "feeding"), EMITTERS)
@pytest.mark.parametrize("beams", [2, 7, 60])
def test_beam_search_finds_what_it_does_step_by_step(
    kind: str, feeding: str, cell: str, beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More beams than symbols among them, some of them forbidden; sequences end at different steps."""
    model = model_of(kind, cell, feeding)
    z, forbidden = prior_latents(model, COUNT, generator=torch.Generator().manual_seed(2)), (1, 4)
    calls = []
    whole = generation.Walk.search
    monkeypatch.setattr(generation.Walk, "search", lambda *given: calls.append(1) or whole(*given))
    fused = decode_beams(model, z, beams, forbidden)
    assert calls
    monkeypatch.setattr(generation, "threads_for", lambda work: 2)
    np.testing.assert_array_equal(decode_beams(model, z, beams, forbidden), fused)
    monkeypatch.setenv(SWITCH, "off")
    plain = decode_beams(model, z, beams, forbidden)
    assert fused.shape == plain.shape
    assert_same_strings(fused, plain)
    assert not np.isin(fused, forbidden).any()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("products_in", "feeding"), [("fp32", "self"), ("bf16", "teacher")], indirect=["products_in"])
def test_threads_that_walk_a_few_rows_together_change_nothing(cell: str, rows: int, feeding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some rows end before others; a self-fed emitter's path too."""
    torch.manual_seed(1)
    family, positions = find_architecture("rnn"), 40
    decoder = RecurrentDecoderSettings(cell=cell, hidden=256, feeding=feeding)  # type: ignore[arg-type]
    settings = family.settings(hidden=6, decoder=decoder, latent=LatentSettings(shape="dense", channels=(3,)))
    model = family.build(settings, VOCABULARY, positions).eval()
    z, text = prior_latents(model, rows, generator=torch.Generator().manual_seed(2)), torch.ones(rows, positions, dtype=torch.int64)

    def drawn(threads: int) -> tuple[np.ndarray, torch.Tensor]:
        monkeypatch.setattr(generation, "threads_for", lambda work: threads)
        with torch.no_grad():
            return decode_sampled(model, z, Sampling(), torch.Generator().manual_seed(3)), model.decoder(z, text)

    alone, distortion = drawn(1)
    assert alone.shape[1] > 5
    for threads in (rows + 1, 4):
        strings, ours = drawn(threads)
        np.testing.assert_array_equal(strings, alone)
        torch.testing.assert_close(ours, distortion, rtol=0, atol=0)


@in_both
@pytest.mark.parametrize("sampling", [None, Sampling()], ids=["greedy", "sampled"])
def test_weights_that_change_are_packed_anew(sampling: Sampling | None) -> None:
    model = model_of()
    generated(model, sampling)
    with torch.no_grad():
        model.decoder.emitter.core.output.bias[5] = 1e4
    assert (generated(model, sampling)[:, :-1] == 5).all()


def test_forbidden_symbols_are_never_chosen_but_a_self_fed_emitter_still_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(feeding="self")
    with torch.no_grad():
        model.decoder.emitter.core.output.bias[1] = 10.0
    fused, plain = both(model, Sampling(), monkeypatch)
    assert (fused != 1).all()
    assert_same_strings(fused, plain)


def test_several_layers_and_dropout_go_step_by_step() -> None:
    deep, one = model_of(layers=2).eval(), model_of()
    for model in (deep, one.train()):
        z = prior_latents(model, 3)
        with torch.no_grad():
            assert model.decoder.emitter.walk(model.decoder.expander(z), z) is None
    assert generated(deep, Sampling()).shape == (COUNT, MAX_TOKENS)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weights_that_are_no_numbers_still_give_symbols(cell: str) -> None:
    model = model_of(cell=cell)
    with torch.no_grad():
        model.decoder.emitter.core.output.weight.fill_(torch.nan)
    for sampling in (None, Sampling(), Sampling(top_k=2, top_p=0.5)):
        tokens = generated(model, sampling)
        assert ((tokens >= 0) & (tokens < VOCABULARY)).all()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("kind", ["dense", "map", "ladder"])
def test_a_self_fed_emitter_walks_the_same_path_and_learns_the_same(kind: str, cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(kind, cell, "self").eval()
    z, tokens = prior_latents(model, COUNT).clone(), torch.randint(0, VOCABULARY, (COUNT, MAX_TOKENS - 2))
    found = []
    for switch in ("", "off"):
        monkeypatch.setenv(SWITCH, switch)
        model.zero_grad()
        distortion = model.decoder(z, tokens)
        distortion.sum().backward()
        found.append((distortion.detach(), model.decoder.emitter.core.recurrent.core.weight_hh_l0.grad.clone()))
    (fused, fused_gradient), (plain, plain_gradient) = found
    assert ((fused - plain).abs() > 1e-3).sum() <= 1  # but for a tie that rounding may turn
    torch.testing.assert_close(fused_gradient, plain_gradient, rtol=0.02, atol=0.02 * float(plain_gradient.abs().max()))


def test_a_self_fed_emitter_that_drops_walks_step_by_step_in_training() -> None:
    model = model_of(feeding="self")
    context, z = torch.zeros(3, 4, model.decoder.expander.outlet.channels), torch.zeros(3, 1, 3)
    assert model.eval().decoder.emitter.walk(context, z) is None  # gradients are wanted
    with torch.no_grad():
        assert model.decoder.emitter.walk(context, z).path().shape == (3, 4)
        assert model.train().decoder.emitter.walk(context, z) is None


def by_optimizer(model: LatentTextModel) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, fused=True)
    loss = model.decoder(prior_latents(model, 4).clone(), torch.full((4, 5), 7)).sum()
    generated(model)  # a look between forward and backward
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def by_data(model: LatentTextModel) -> None:
    model.decoder.emitter.core.output.weight.data.mul_(-1.0)


def one_number(model: LatentTextModel) -> None:
    model.decoder.emitter.core.output.bias.data[7] += 100.0  # the symbol that is written from now on


@pytest.mark.parametrize("change", [by_optimizer, by_data, one_number])
@pytest.mark.parametrize("trains", [True, False])
def test_what_is_generated_follows_the_weights(change: Callable[[LatentTextModel], None], trains: bool) -> None:
    model = model_of().eval()
    before = generated(model)
    change(model.train(trains))
    after = generated(model.eval())
    again = model_of().eval()
    again.load_state_dict(model.state_dict())
    assert (after != before).any()
    assert (after == generated(again)).all()


def test_a_model_built_in_inference_mode_generates() -> None:
    with torch.inference_mode():
        model = model_of().eval()
        assert (generated(model) == generated(model)).all()
