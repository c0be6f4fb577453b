"""The recurrent kernel in bf16, beside float64 and beside its own fp32; where the processor has no bf16, the same from fp32."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from textvae.nn.kernel import recurrence
from textvae.nn.kernel.compiling import kernel
from textvae.nn.kernel.processor import processor_features
from textvae.nn.recurrent import Recurrent
from textvae.training.engine import computes_bf16

from .conftest import cells, gradients, needs_kernel, plain, state_of, with_bf16

TOLERANCE = 1e-2
"""Of the largest entry: eight bits of what is multiplied and kept. (Of a single sequence 1.06e-2 was seen, of torch's own bf16 as well.)"""


def made(cell: str, inputs: int, hidden: int, layers: int = 1) -> Recurrent:
    return Recurrent("lstm" if cell == "lstm" else "gru", inputs, hidden, layers)


@needs_kernel
def test_a_processor_without_bf16_has_no_kernel_in_bf16() -> None:
    """One with it may be refused its matrix registers by the system (`test_kernel_emulated.py`)."""
    assert not kernel().bf16 or "avx512_bf16" in processor_features()


@needs_kernel
@cells
@pytest.mark.parametrize(
    ("batch", "positions", "inputs", "hidden"),
    [
        (64, 17, 96, 256),
        (1, 1, 8, 64),
        (4, 9, 5, 48),
        (7, 5, 4, 37),
        (5, 1, 11, 33),
        (130, 3, 2, 48),
        (6, 3, 3, 900),
        (50, 4, 40, 256),
        (50, 4, 31, 64),
        (40, 3, 7, 90),
    ],
)
def test_outputs_and_all_gradients_are_near_those_of_float64(cell: str, batch: int, positions: int, inputs: int, hidden: int) -> None:
    """Among the shapes: inputs that leave a part of a line or fill it, and panels of three vectors."""
    assert_near_float64(cell, batch, positions, inputs, hidden)


@needs_kernel
def test_so_are_those_whose_sums_go_to_memory_between_chunks() -> None:
    """The backward walk of an LSTM as wide as this. (A GRU's sums do at any width: its depth has two parts.)"""
    assert_near_float64("lstm", 16, 2, 3, 2100)


def assert_near_float64(cell: str, batch: int, positions: int, inputs: int, hidden: int) -> None:
    model = made(cell, inputs, hidden)
    exact = copy.deepcopy(model).double()
    x, state = torch.randn(batch, positions, inputs).bfloat16().requires_grad_(), state_of(model, batch)
    x64, state64 = x.detach().double().requires_grad_(), [part.detach().double().requires_grad_() for part in state]
    output, after = recurrence.run(model.core, x, state)
    ours, theirs = [output, *after], plain(exact, x64, state64)
    assert (output.dtype, after[0].dtype, after[-1].dtype) == (torch.bfloat16,) * 2 + (torch.float32 if cell == "lstm" else torch.bfloat16,)
    weights = [torch.randn_like(part) for part in ours]
    found = [*ours, *gradients(ours, weights, [x, *state, *model.parameters()])]
    expected = [*theirs, *gradients(theirs, weights, [x64, *state64, *exact.parameters()])]
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one.double() - other).abs().max() <= TOLERANCE * other.abs().max()
    assert all(gradient.dtype == torch.float32 for gradient in found[-4:])


@needs_kernel
@cells
def test_a_backward_may_come_twice(cell: str) -> None:
    model, x = made(cell, 8, 64), torch.randn(4, 6, 8).bfloat16()
    loss = recurrence.run(model.core, x, state_of(model, 4))[0].float().square().sum()
    once, again = (torch.autograd.grad(loss, list(model.parameters()), retain_graph=True) for _ in range(2))
    torch.testing.assert_close(again, once, rtol=1e-6, atol=1e-6)


@needs_kernel
@cells
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_that_are_written_to_are_told_in_backward(cell: str, dtype: torch.dtype) -> None:
    """They are a view of what it reads."""
    model, x = made(cell, 8, 64), torch.randn(4, 6, 8, dtype=dtype)
    output, _ = recurrence.run(model.core, x, state_of(model, 4))
    with torch.no_grad():
        output.zero_()
    with pytest.raises(RuntimeError, match="modified inplace"):
        output.float().sum().backward()


@needs_kernel
@cells
def test_what_is_not_a_number_stays_so(cell: str) -> None:
    model, x = made(cell, 3, 48), torch.ones(2, 3, 3)
    x[1] = torch.nan
    output, _ = recurrence.run(model.core, x.bfloat16(), model.zeros(x))
    assert output[0].isfinite().all()
    assert output[1].isnan().all()


@needs_kernel
@cells
def test_autocast_runs_the_kernel_where_the_processor_has_bf16_and_torch_elsewhere(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = made(cell, 5, 48), torch.randn(3, 4, 5)
    for there in (True, False):
        with_bf16(there, monkeypatch)
        with torch.autocast("cpu", torch.bfloat16):
            assert recurrence.applies(model.core, x, model.zeros(x)) == there
            for step in (x[:, :1], x[:, :1].bfloat16()):
                assert not recurrence.applies(model.core, step, model.zeros(x))  # a single step is torch's


@needs_kernel
@cells
def test_under_autocast_the_kernel_computes_what_torch_does(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = made(cell, 5, 48), torch.randn(3, 4, 5, requires_grad=True)
    with_bf16(True, monkeypatch)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = model(x, model.zeros(x))
    assert output.dtype == torch.bfloat16
    (gradient,) = torch.autograd.grad(output.float().square().sum(), x)
    assert gradient.dtype == torch.float32
    with_bf16(False, monkeypatch)
    with torch.autocast("cpu", torch.bfloat16, enabled=computes_bf16()):  # torch in fp32 where it has no bf16
        torchs, _ = model(x, model.zeros(x))
    torch.testing.assert_close(output.float(), torchs.float(), rtol=2e-2, atol=2e-2)


@needs_kernel
@cells
def test_150_steps_of_training_end_where_fp32_ends(cell: str) -> None:
    """The task of the fp32 kernel's test, at half its rate; the loss after 150 steps differs by less than 0.1%.

    At its whole rate torch's own bf16 ends up to 0.65% away: there rounding decides.
    """
    symbols = (torch.arange(20)[None] * torch.arange(1, 17)[:, None]) % 11 % 7  # (B, T + 1)

    def final_loss(dtype: torch.dtype) -> float:
        torch.manual_seed(1)
        embedding, model, output = nn.Embedding(7, 12), made(cell, 12, 64), nn.Linear(64, 7)
        optimizer = torch.optim.Adam([*embedding.parameters(), *model.parameters(), *output.parameters()], 2.5e-4)
        for _ in range(150):
            x = embedding(symbols[:, :-1])
            seen: Tensor = recurrence.run(model.core, x.to(dtype), model.zeros(x))[0].float()
            loss = nn.functional.cross_entropy(output(seen).flatten(0, 1), symbols[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    single = final_loss(torch.float32)
    assert single < 1.7  # of log 7 = 1.95 nats: something has been learnt
    assert final_loss(torch.bfloat16) == pytest.approx(single, rel=1e-3)
