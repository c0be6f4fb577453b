"""Linear layers and convolutions of channels-last maps, by the kernel and without it, beside torch's own in float64."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from textvae.nn.affine import Affine, applied, convolution, convolution_back, linear, pointwise
from textvae.nn.dropout import EluDropout
from textvae.nn.kernel.compiling import SWITCH, kernel

from .conftest import needs_kernel, threads, with_bf16

shapes = {"batch": st.integers(1, 3), "positions": st.integers(1, 9), "kernel": st.integers(1, 6), "stride": st.integers(1, 4)}
ways = pytest.mark.parametrize("way", ["kernel", "off"])


def convolve(x: Tensor, layer: nn.Conv1d, outlet: int, after: EluDropout | None = None) -> Tensor:
    return applied(x, [convolution(layer, x.shape[1], outlet, after)])


def convolve_transposed(x: Tensor, layer: nn.ConvTranspose1d, outlet: int, after: EluDropout | None = None) -> Tensor:
    return applied(x, [convolution_back(layer, x.shape[1], outlet, after)])


def gradients(y: Tensor, x: Tensor, convolution: nn.Module) -> list[Tensor]:
    draws = torch.Generator().manual_seed(1)
    weights = torch.randn(y.shape, generator=draws).bfloat16().double()  # the same in any dtype
    return [y, *torch.autograd.grad((y.double() * weights).sum(), [x, *convolution.parameters()])]


def compare(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=2e-5)


@ways
@given(**shapes)
@settings(max_examples=60, deadline=None)
def test_a_convolution_is_torchs(way: str, batch: int, positions: int, kernel: int, stride: int) -> None:
    outlet = -(-positions // stride)
    convolution = nn.Conv1d(3, 5, kernel, stride, padding=kernel // 2)
    exact, x = copy.deepcopy(convolution).double(), torch.randn(batch, positions, 3, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, way)
        ours = gradients(convolve(x, convolution, outlet), x, convolution)
    z = x.detach().double().requires_grad_()
    compare(ours, gradients(exact(z.transpose(1, 2))[..., :outlet].transpose(1, 2), z, exact))
    assert ours[0].shape == (batch, outlet, 5)


@ways
@given(**shapes, shorter=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_transposed_convolution_is_torchs(way: str, batch: int, positions: int, kernel: int, stride: int, shorter: int) -> None:
    outlet, crop = max(1, positions * stride - min(shorter, stride - 1)), kernel // 2
    missing = max(0, crop + outlet - ((positions - 1) * stride + kernel))
    convolution = nn.ConvTranspose1d(3, 5, kernel, stride, output_padding=missing)
    exact, x = copy.deepcopy(convolution).double(), torch.randn(batch, positions, 3, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, way)
        ours = gradients(convolve_transposed(x, convolution, outlet), x, convolution)
    z = x.detach().double().requires_grad_()
    compare(ours, gradients(exact(z.transpose(1, 2))[..., crop : crop + outlet].transpose(1, 2), z, exact))


@ways
@given(rows=st.integers(1, 70), inputs=st.sampled_from([1, 5, 32, 50, 130]), outputs=st.sampled_from([1, 7, 48, 83]))
@settings(max_examples=60, deadline=None)
def test_a_linear_layer_is_torchs(way: str, rows: int, inputs: int, outputs: int) -> None:
    layer, x = nn.Linear(inputs, outputs), torch.randn(2, rows, inputs, requires_grad=True)
    exact, z = copy.deepcopy(layer).double(), x.detach().double().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, way)
        ours = gradients(linear(x, layer), x, layer)
    compare(ours, gradients(exact(z), z, exact))


@needs_kernel
@given(rows=st.integers(1, 70), inputs=st.sampled_from([1, 5, 32, 50, 130]), outputs=st.sampled_from([1, 7, 48, 83]))
@settings(max_examples=60, deadline=None)
def test_a_linear_layer_in_bf16_is_near_float64(rows: int, inputs: int, outputs: int) -> None:
    layer, x = nn.Linear(inputs, outputs), torch.randn(2, rows, inputs).bfloat16().requires_grad_()
    exact, z = copy.deepcopy(layer).double(), x.detach().double().requires_grad_()
    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", dtype=torch.bfloat16):
        with_bf16(True, patch)
        ours = gradients(linear(x, layer), x, layer)
    assert ours[0].dtype == torch.bfloat16 and ours[2].dtype == torch.float32
    for one, other in zip(ours, gradients(exact(z), z, exact), strict=True):
        assert (one.double() - other).abs().max() <= 2e-2 * other.abs().max() + 1e-6


@ways
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_elu_and_dropout_stand_after_a_layer(way: str, bf16: bool, p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is dropped, the rest is what the layer would give without it, scaled, and has its gradient."""
    monkeypatch.setenv(SWITCH, way)
    if bf16:
        with_bf16(way == "kernel" and kernel().library is not None, monkeypatch)
    layers = nn.Linear(6, 20), nn.Conv1d(6, 20, 3, 2, padding=1), nn.ConvTranspose1d(6, 20, 3, 2)
    calls: list[Any] = [
        lambda x, after: linear(x, layers[0], after),
        lambda x, after: convolve(x, layers[1], 4, after),
        lambda x, after: convolve_transposed(x, layers[2], 13, after),
    ]
    for call, layer in zip(calls, layers, strict=True):
        x = torch.randn(3, 7, 6, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            y, whole = call(x, EluDropout(p)), torch.nn.functional.elu(call(x, None))
        kept = (y != 0) / (1 - p)
        assert p == 0 or 0 < int((y == 0).count_nonzero()) < y.numel()
        tolerance = 2e-2 if bf16 else 1e-5
        for one, other in zip(gradients(y, x, layer), gradients(whole * kept, x, layer), strict=True):
            assert (one.double() - other.double()).abs().max() <= tolerance * other.abs().max() + 1e-6


@needs_kernel
@pytest.mark.parametrize("bf16", [False, True])
def test_depths_beyond_one_chunk_and_several_threads_are_summed(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with_bf16(bf16, monkeypatch)
    layer, x = nn.Conv1d(700, 20, 5, padding=2), torch.randn(6, 60, 700, requires_grad=True)
    with threads(2), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        ours = gradients(convolve(x, layer, 60), x, layer)
    exact, z = copy.deepcopy(layer).double(), x.detach().double().requires_grad_()
    for one, other in zip(ours, gradients(exact(z.transpose(1, 2)).transpose(1, 2), z, exact), strict=True):
        assert (one.double() - other).abs().max() <= (1e-2 if bf16 else 5e-6) * other.abs().max()


def stacked(widths: list[int]) -> tuple[list[Affine], nn.ModuleList]:
    """A linear layer over 5 positions, a convolution to 3, one back, and so on, through so many channels; every sixth does not bend."""
    steps = list[Affine]()
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        after = EluDropout(0.0) if i % 6 != 5 else None
        if i % 3 == 0:
            steps.append(pointwise(nn.Linear(inputs, outputs), 5, after))
        elif i % 3 == 1:
            steps.append(convolution(nn.Conv1d(inputs, outputs, 3, 2, padding=1), 5, 3, after))
        else:
            steps.append(convolution_back(nn.ConvTranspose1d(inputs, outputs, 3, 2), 3, 5, after))
    return steps, nn.ModuleList([step.layer for step in steps])


@needs_kernel
@given(widths=st.lists(st.sampled_from([3, 16, 37]), min_size=2, max_size=7), batch=st.sampled_from([1, 7, 90]), bf16=st.booleans())
@settings(max_examples=40, deadline=None)
def test_layers_one_after_another_are_those_layers(widths: list[int], batch: int, bf16: bool) -> None:
    """Outputs with and without gradients, and all gradients: beside each layer by torch in float64."""
    steps, modules = stacked(widths)
    x = torch.randn(batch, 5, widths[0], requires_grad=True)
    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        with_bf16(bf16, patch)
        y = applied(x, steps)
        with torch.no_grad():
            assert torch.equal(applied(x, steps), y)
        ours = gradients(y, x, modules)
    exact, z = copy.deepcopy(modules).double(), x.detach().double().requires_grad_()
    theirs = z
    for step, module in zip(steps, exact, strict=True):
        theirs = step._replace(layer=module).by_torch(theirs)
    for one, other in zip(ours, gradients(theirs, z, exact), strict=True):
        assert (one.double() - other).abs().max() <= (6e-2 if bf16 else 2e-5) * other.abs().max() + 1e-6


@ways
def test_only_what_is_asked_for_has_a_gradient(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of several layers is frozen, and backward is asked again, for less."""
    monkeypatch.setenv(SWITCH, way)
    steps, modules = stacked([4, 4, 4, 4])
    x = torch.randn(3, 5, 4, requires_grad=True)
    everything = torch.autograd.grad(applied(x, steps).sum(), [x, *modules.parameters()])
    modules[1].requires_grad_(False)
    y = applied(x, steps)
    first, last = modules[0].weight, modules[2].weight
    some = torch.autograd.grad(y.sum(), [first, last], retain_graph=True)
    kept = [gradient.clone() for gradient in some]
    for _ in range(3):  # what was given before is not written over
        (again,) = torch.autograd.grad(2 * y.sum(), [x], retain_graph=True)
        torch.testing.assert_close(again, 2 * everything[0])
    (alone,) = torch.autograd.grad(applied(x.detach(), steps).sum(), [last])
    for one, other in zip([*kept, *some, alone], [everything[1], everything[5]] * 2 + [everything[5]], strict=True):
        torch.testing.assert_close(one, other)


@ways
def test_maps_of_any_layout_are_read(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, way)
    down, up = nn.Conv1d(4, 4, 3, padding=1), nn.ConvTranspose1d(4, 4, 3, output_padding=0)
    x = torch.randn(4, 6, 2).permute(2, 1, 0)
    for layer in (lambda x: convolve(x, down, 6), lambda x: convolve_transposed(x, up, 6)):
        torch.testing.assert_close(layer(x), layer(x.contiguous()))
        torch.testing.assert_close(layer(x[:, :1].expand(-1, 6, -1)), layer(x[:, :1].repeat(1, 6, 1)))


@needs_kernel
@given(**shapes, channels=st.sampled_from([3, 16, 37]))
@settings(max_examples=60, deadline=None)
def test_in_bf16_the_kernel_is_near_float64(batch: int, positions: int, kernel: int, stride: int, channels: int) -> None:
    """There and back; channels that fill a vector, do not, and fill two and a rest."""
    outlet, crop = -(-positions // stride), kernel // 2
    missing = max(0, crop + positions - ((outlet - 1) * stride + kernel))
    down, up = (
        nn.Conv1d(channels, 20, kernel, stride, padding=crop),
        nn.ConvTranspose1d(20, channels, kernel, stride, output_padding=missing),
    )
    exact_down, exact_up = copy.deepcopy(down).double(), copy.deepcopy(up).double()
    x = torch.randn(batch, positions, channels, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", dtype=torch.bfloat16):
        with_bf16(True, patch)
        between = convolve(x, down, outlet)
        ours = [between, *gradients(convolve_transposed(between, up, positions), x, nn.ModuleList([down, up]))]
    assert between.dtype == ours[1].dtype == torch.bfloat16
    assert {gradient.dtype for gradient in ours[2:]} == {torch.float32}
    z = x.detach().double().requires_grad_()
    middle = exact_down(z.transpose(1, 2))[..., :outlet]
    y = exact_up(middle)[..., crop : crop + positions].transpose(1, 2)
    theirs = [middle.transpose(1, 2), *gradients(y, z, nn.ModuleList([exact_down, exact_up]))]
    for one, other in zip(ours, theirs, strict=True):
        assert (one.double() - other).abs().max() <= 3e-2 * other.abs().max() + 1e-6


@pytest.mark.parametrize("there", [False, True])
def test_under_autocast_numbers_are_bf16(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with_bf16(there, monkeypatch)
    down, up = nn.Conv1d(3, 4, 3, 2, padding=1), nn.ConvTranspose1d(4, 3, 3, 2)
    x = torch.randn(2, 5, 3)

    def there_and_back() -> tuple[Tensor, Tensor]:
        y = convolve(x, down, 3)
        return y, convolve_transposed(y, up, 5)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        elsewhere = there_and_back()
    for one, other in zip(there_and_back(), elsewhere, strict=True):
        assert (one.dtype, other.dtype) == (torch.float32, torch.bfloat16)
        torch.testing.assert_close(one, other.float(), rtol=0.05, atol=0.05)


@ways
def test_an_empty_batch_has_a_shape_and_no_gradient(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, way)
    x = torch.zeros(0, 5, 3, requires_grad=True)
    for y in (convolve(x, nn.Conv1d(3, 4, 3, padding=1), 5), convolve_transposed(x, nn.ConvTranspose1d(3, 4, 3), 5)):
        assert y.shape == (0, 5, 4)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert gradient.shape == x.shape


@ways
def test_gradients_under_autocast_are_those_of_the_forward_outside_of_it(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, way)
    down, up = nn.Conv1d(3, 4, 3, 2, padding=1), nn.ConvTranspose1d(4, 3, 3, 2)
    x = torch.randn(2, 5, 3, requires_grad=True)
    loss = convolve_transposed(convolve(x, down, 3), up, 5).square().sum()
    (plain,) = torch.autograd.grad(loss, x, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (mixed,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(mixed, plain, rtol=0.05, atol=0.05)


@ways
def test_gradients_of_gradients_are_right_or_refused(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, way)
    layer = nn.Conv1d(3, 4, 3, padding=1)
    x = torch.randn(2, 5, 3, requires_grad=True)
    y = convolve(x, layer, 5)
    if way == "kernel" and kernel().library is not None:
        with pytest.raises(NotImplementedError, match=f"set {SWITCH}=off"):
            torch.autograd.grad(y.sum(), x, create_graph=True)
    else:
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        assert torch.autograd.grad(gradient.square().sum(), layer.weight)[0].abs().sum() > 0


@ways
@pytest.mark.parametrize(
    "told", [{"padding": 0}, {"dilation": 2, "padding": 1}, {"bias": False, "padding": 1}, {"groups": 3, "padding": 1}]
)
def test_layers_of_another_kind_are_torchs(way: str, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, way)
    layer, x = nn.Conv1d(3, 6, 3, **told), torch.randn(2, 9, 3)
    theirs = layer(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(convolve(x, layer, theirs.shape[1]), theirs)


@ways
def test_what_does_not_fit_is_refused_as_torch_does(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, way)
    x = torch.randn(2, 9, 5)
    with pytest.raises(RuntimeError):
        linear(x, nn.Linear(4, 3))
    with pytest.raises(RuntimeError):
        convolve(x, nn.Conv1d(4, 3, 3, padding=1), 9)
    with pytest.raises(RuntimeError):
        convolve_transposed(x, nn.ConvTranspose1d(4, 3, 3), 9)
    mixed = nn.Linear(5, 3)
    mixed.bias = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    with pytest.raises(RuntimeError):
        linear(x, mixed)


@ways
def test_frozen_parameters_get_no_gradient(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, way)
    layer, x = nn.Conv1d(5, 3, 3, padding=1).requires_grad_(False), torch.randn(2, 9, 5, requires_grad=True)
    z = x.detach().clone().requires_grad_()
    convolve(x, layer, 9).square().sum().backward()
    layer(z.transpose(1, 2)).square().sum().backward()
    assert layer.weight.grad is None and layer.bias is not None and layer.bias.grad is None
    torch.testing.assert_close(x.grad, z.grad, rtol=1e-5, atol=1e-5)
    layer.bias.requires_grad_()
    convolve(x.detach(), layer, 9).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(layer.bias.grad, torch.full((3,), 18.0))
