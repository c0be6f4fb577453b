"""Layers, stacks, encoders and emitters on their own: shapes, positions, joints, and what they must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor, nn

from textvae.config import NormName
from textvae.errors import ConfigError
from textvae.model.assembly import recurrent_emitter, single_latent
from textvae.model.decoder import Decoder
from textvae.model.emitters import RecurrentCore, RecurrentEmitter
from textvae.model.encoder import MapEncoder, RecurrentEncoder
from textvae.model.text_model import LatentTextModel
from textvae.model.tokens import lengths_of, padded, scored, shifted
from textvae.nn.kernel.compiling import SWITCH
from textvae.nn.layers import (
    BidirectionalRecurrence,
    Chain,
    ChannelNorm,
    Convolution,
    Flatten,
    Pointwise,
    Repeat,
    TransposedConvolution,
    Unflatten,
)
from textvae.nn.recurrent import Recurrent, last_output, reverse
from textvae.nn.stacks import convolution_stack, mirrored_stack
from textvae.parts import ConvolutionSettings, LatentSettings, RecurrentDecoderSettings
from textvae.shapes import MapShape

sizes = st.integers(1, 20)
kernels = st.integers(1, 6)
strides = st.integers(1, 4)


def zeros(shape: MapShape, count: int = 2) -> Tensor:
    return torch.zeros(count, shape.positions, shape.channels)


def shape_of(x: Tensor) -> MapShape:
    return MapShape(x.shape[1], x.shape[2])


# ── what is scored ──


def test_scored_up_to_and_including_the_first_end() -> None:
    tokens = torch.tensor([[2, 3, 0, 0], [0, 0, 0, 0], [2, 0, 3, 0], [2, 3, 4, 5]])
    assert scored(tokens).tolist() == [[True] * 3 + [False], [True] + [False] * 3, [True] * 2 + [False] * 2, [True] * 4]
    assert lengths_of(tokens).tolist() == [3, 1, 2, 4]


def test_padded_and_shifted() -> None:
    tokens = torch.tensor([[2, 3, 0, 0]])
    assert padded(tokens, 6).tolist() == [[2, 3, 0, 0, 0, 0]]
    assert padded(tokens, 3).tolist() == [[2, 3, 0]]
    assert shifted(tokens).tolist() == [[0, 2, 3, 0]]


# ── layers ──


def test_a_chain_says_which_joint_does_not_fit_and_what_to_do() -> None:
    a, b = MapShape(4, 3), MapShape(4, 5)
    with pytest.raises(ConfigError) as told:
        Chain(a, [Pointwise(a, 5), Flatten(b), Pointwise(b, 2)])
    assert str(told.value) == (
        "layer 1 makes 1 positions x 20 channels, but layer 2 (Pointwise) takes 4 positions x 5 channels: "
        "give both the same shape in the architecture's build"
    )
    with pytest.raises(ConfigError, match=r"the input makes 4 .* x 3 channels, but layer 0 \(Flatten\) takes 4 positions x 5 channels"):
        Chain(a, [Flatten(b)])


@pytest.mark.parametrize("way", ["kernel", "off"])
def test_maps_of_another_shape_are_refused(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they have as many numbers: they are not cut into other maps."""
    monkeypatch.setenv(SWITCH, way)
    inlet = MapShape(4, 3)
    chain = Chain(inlet, [Pointwise(inlet, 5), Pointwise(MapShape(4, 5), 2)])
    for shape in ((2, 8, 3), (2, 3, 4), (2, 12), (8, 3)):
        with pytest.raises(RuntimeError, match=r"positions and channels, come to a layer that reads \(4, 3\)"):
            chain(torch.zeros(shape))


@pytest.mark.parametrize("way", ["kernel", "off"])
def test_parts_of_a_layer_may_be_replaced(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, way)
    inlet, x = MapShape(4, 3), torch.randn(2, 4, 3)
    chain = Chain(inlet, [Pointwise(inlet, 5), Pointwise(MapShape(4, 5), 3)])
    first = chain.layers[0]
    assert isinstance(first, Pointwise)
    first.linear = nn.Linear(3, 5)
    torch.testing.assert_close(chain(x), chain.layers[1](nn.functional.elu(first.linear(x))))
    chain.layers[1] = Pointwise(MapShape(4, 5), 3)
    torch.testing.assert_close(chain(x), chain.layers[1](nn.functional.elu(first.linear(x))))
    first.linear.weight = nn.Parameter(torch.randn(6, 3))
    with pytest.raises(RuntimeError):  # torch's own, not what lies behind the weights
        chain(x)


def test_an_empty_chain_passes_its_input_on() -> None:
    x = torch.randn(2, 4, 3)
    chain = Chain(MapShape(4, 3))
    assert chain(x) is x
    assert chain.outlet == chain.inlet


@examples(max_examples=60)
@given(sizes, kernels, strides)
def test_a_convolution_makes_the_positions_it_says(positions: int, kernel: int, stride: int) -> None:
    layer = Convolution(MapShape(positions, 2), 3, kernel, stride)
    assert shape_of(layer(zeros(layer.inlet))) == layer.outlet == MapShape(math.ceil(positions / stride), 3)


@examples(max_examples=60)
@given(sizes, kernels, strides, st.data())
def test_a_transposed_convolution_makes_the_positions_it_is_asked(positions: int, kernel: int, stride: int, data: st.DataObject) -> None:
    wanted = data.draw(st.integers(1, positions * stride))
    layer = TransposedConvolution(MapShape(positions, 2), MapShape(wanted, 3), kernel, stride)
    assert shape_of(layer(zeros(layer.inlet))) == layer.outlet == MapShape(wanted, 3)


def test_a_transposed_convolution_refuses_more_positions_than_it_can_reach() -> None:
    with pytest.raises(ConfigError, match=r"3 positions up to 6 by stride 2 makes 6 positions x 4 channels, but .* takes 7 positions"):
        TransposedConvolution(MapShape(3, 2), MapShape(7, 4), kernel=3, stride=2)


@examples(max_examples=40)
@given(st.integers(1, 40), st.lists(st.tuples(kernels, strides), min_size=1, max_size=4))
def test_a_mirrored_stack_comes_back_to_the_positions_the_stack_started_from(positions: int, layers: list[tuple[int, int]]) -> None:
    settings = ConvolutionSettings(channels=3, kernels=tuple(k for k, _ in layers), strides=tuple(s for _, s in layers))
    down = convolution_stack(MapShape(positions, 2), settings)
    assert shape_of(down(zeros(down.inlet))) == down.outlet
    for latent in (MapShape(down.outlet.positions, 2), MapShape(1, 2)):
        up = mirrored_stack(latent, positions, settings)
        assert shape_of(up(zeros(latent))) == up.outlet == MapShape(positions, 3)


def test_convolutions_see_their_neighbours_only() -> None:
    layer = Convolution(MapShape(9, 1), 1, kernel=3)
    x = torch.zeros(1, 9, 1)
    moved = x.clone()
    moved[0, 4] = 1.0
    changed = (layer(moved) != layer(x)).flatten().nonzero().flatten().tolist()
    assert changed == [3, 4, 5]


@given(sizes, sizes)
def test_repeat_keeps_the_order_and_gives_what_is_asked(positions: int, wanted: int) -> None:
    x = torch.arange(positions, dtype=torch.float32)[None, :, None]
    repeated = Repeat(MapShape(positions, 1), wanted)(x)[0, :, 0]
    assert len(repeated) == wanted
    assert repeated.tolist() == [i // math.ceil(wanted / positions) for i in range(wanted)]


def test_flatten_puts_positions_side_by_side() -> None:
    layer = Flatten(MapShape(2, 3))
    assert layer(torch.arange(6.0).view(1, 2, 3)).tolist() == [[[0, 1, 2, 3, 4, 5]]]
    assert layer.outlet == MapShape(1, 6)


def test_unflatten_spreads_one_position_and_refuses_several() -> None:
    layer = Unflatten(MapShape(1, 4), MapShape(3, 2))
    x = torch.randn(5, 1, 4)
    torch.testing.assert_close(layer(x).reshape(5, 6), nn.functional.elu(layer.linear(x[:, 0])))
    assert shape_of(layer(x)) == layer.outlet
    with pytest.raises(ConfigError, match="the latent makes 2 positions"):
        Unflatten(MapShape(2, 4), MapShape(3, 2))


@pytest.mark.parametrize("name", ["none", "batch", "layer"])
def test_norms(name: NormName) -> None:
    norm, x = ChannelNorm(name, 3), 5 + 2 * torch.randn(40, 4, 3)
    y = norm.train()(x)
    if name == "none":
        assert y is x
    over = {"none": None, "batch": (0, 1), "layer": (2,)}[name]
    if over is not None:
        torch.testing.assert_close(y.mean(over), torch.zeros_like(y.mean(over)), atol=1e-4, rtol=0)
        torch.testing.assert_close(y.var(over, unbiased=False), torch.ones_like(y.mean(over)), atol=1e-3, rtol=0)


def test_a_batch_of_one_value_a_channel_is_normalised_by_running_statistics() -> None:
    norm = ChannelNorm("batch", 3).train()
    norm(torch.randn(50, 1, 3))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    one = torch.randn(1, 1, 3, requires_grad=True)
    torch.testing.assert_close(norm(one), norm.eval()(one))
    norm.train()(one).sum().backward()
    assert one.grad is not None and one.grad.isfinite().all()
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_bidirectional_layer_reads_both_ways(cell: str) -> None:
    layer = BidirectionalRecurrence(MapShape(5, 2), 3, cell)
    x = torch.randn(1, 5, 2)
    moved = x.clone()
    moved[0, 2] += 1
    changed = (layer(moved) != layer(x))[0]
    assert shape_of(layer(x)) == layer.outlet == MapShape(5, 6)
    assert changed[:, :3].any(1).tolist() == [False, False, True, True, True]
    assert changed[:, 3:].any(1).tolist() == [True, True, True, False, False]


# ── recurrence ──


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_recurrent_stack_goes_on_from_its_state(cell: str) -> None:
    core = Recurrent(cell, 3, 4, layers=2)
    x = torch.randn(2, 6, 3)
    whole, after = core(x, core.zeros(x))
    first, state = core(x[:, :2], core.zeros(x))
    second, end = core(x[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    assert len(end) == core.states
    for a, b in zip(end, after, strict=True):
        assert a.shape == (2, 2, 4)
        torch.testing.assert_close(a, b)


def test_recurrent_weights_start_orthogonal_and_forget_gates_open() -> None:
    core = Recurrent("lstm", 3, 4)
    for gate in core.core.weight_hh_l0.split(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(4), atol=1e-5, rtol=0)
    assert (core.core.bias_ih_l0[4:8] == 1).all()


def test_reverse_and_last_output() -> None:
    x = torch.tensor([[1.0, 2, 3, 9], [4, 5, 6, 7]])[..., None]
    lengths = torch.tensor([3, 4])
    reversed_ = reverse(x, lengths)[..., 0]
    assert reversed_[0, :3].tolist() == [3, 2, 1]
    assert reversed_[1].tolist() == [7, 6, 5, 4]
    assert last_output(x, lengths).flatten().tolist() == [3, 7]


# ── encoders and emitters ──


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_recurrent_encoder_never_reads_padding(cell: str) -> None:
    encoder = RecurrentEncoder(6, 3, cell, 4).eval()
    tokens = torch.tensor([[2, 3, 4, 0], [5, 0, 0, 0]])
    junk = torch.tensor([[2, 3, 4, 0, 3, 3], [5, 0, 2, 4, 0, 2]])
    torch.testing.assert_close(encoder(tokens), encoder(padded(tokens, 9)))
    torch.testing.assert_close(encoder(tokens), encoder(junk))
    assert shape_of(encoder(tokens)) == encoder.outlet == MapShape(1, 8)
    assert not torch.allclose(encoder(tokens)[1], encoder(torch.tensor([[0, 0]]))[0])


def test_a_recurrent_encoder_reads_every_symbol() -> None:
    encoder = RecurrentEncoder(6, 3, "gru", 4).eval()
    line = torch.tensor([[2, 2, 2, 2, 0]])
    for position in range(4):
        other = line.clone()
        other[0, position] = 5
        assert not torch.allclose(encoder(line), encoder(other))


def test_a_map_encoder_pads_to_its_positions() -> None:
    encoder = MapEncoder(6, 3, 7, lambda shape: Chain(shape, [Convolution(shape, 4, 3, 2)])).eval()
    tokens = torch.tensor([[2, 3, 0]])
    torch.testing.assert_close(encoder(tokens), encoder(padded(tokens, 7)))
    assert shape_of(encoder(tokens)) == encoder.outlet == MapShape(4, 4)


def emitter_of(word_dropout: float) -> RecurrentEmitter:
    core = RecurrentCore(MapShape(8, 2), MapShape(1, 2), 6, "gru", 4, embedding=3)
    return RecurrentEmitter(core, word_dropout)


def test_word_dropout_hides_symbols_in_training_only() -> None:
    emitter = emitter_of(0.5)
    z, context, tokens = torch.randn(1, 1, 2), torch.randn(1, 8, 2), torch.tensor([[2, 3, 4, 5, 2, 3, 4, 0]])
    first, second = (emitter.train()(context, z, tokens) for _ in range(2))
    assert not torch.equal(first, second)
    for _ in range(20):  # the boundary symbol is never hidden
        torch.testing.assert_close(emitter(context, z, tokens)[:, 0], without_dropout(emitter)(context, z, tokens)[:, 0])
    emitter.eval()
    assert torch.equal(emitter(context, z, tokens), emitter(context, z, tokens))
    torch.testing.assert_close(emitter(context, z, tokens), without_dropout(emitter)(context, z, tokens))


def without_dropout(emitter: RecurrentEmitter) -> RecurrentEmitter:
    return RecurrentEmitter(emitter.core, 0.0).train()


def test_a_recurrent_emitter_starts_from_the_mean_of_a_map() -> None:
    core = RecurrentCore(MapShape(8, 2), MapShape(3, 2), 6, "lstm", 4, layers=2, embedding=3)
    z = torch.randn(5, 3, 2)
    state = core.initial_state(z)
    assert [part.shape for part in state] == [(2, 5, 4)] * 2
    permuted = core.initial_state(z[:, [2, 0, 1]])
    for a, b in zip(state, permuted, strict=True):
        torch.testing.assert_close(a, b)


def test_a_decoder_refuses_an_expander_that_is_not_on_the_bottom_rung() -> None:
    h = MapShape(1, 8)
    latents = single_latent(h, LatentSettings(channels=(2,)))
    wrong = MapShape(1, 3)
    expander = Chain(wrong, [Repeat(wrong, 5)])
    emitter = recurrent_emitter(expander.outlet, wrong, 6, RecurrentDecoderSettings(hidden=4, embedding=3))
    with pytest.raises(ConfigError, match=r"rung 1 makes 1 .* x 2 channels, but the decoder's expander takes 1 positions x 3 channels"):
        LatentTextModel(RecurrentEncoder(6, 3, "gru", 4), latents, Decoder(expander, emitter))
