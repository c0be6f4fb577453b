"""The fused recurrent kernel beside `nn.LSTM` and `nn.GRU`: in float64 for its numbers, in fp32 for what it trains to."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from textvae.nn.kernel.compiling import SWITCH, kernel
from textvae.nn.kernel.recurrence import applies
from textvae.nn.recurrent import Recurrent

from .conftest import cells, gradients, needs_kernel, plain, state_of, threads

TOLERANCE = 2e-6
"""Of the largest entry, as fp32 sums of a thousand products have it."""


def fused(model: Recurrent, x: Tensor, state: Sequence[Tensor]) -> list[Tensor]:
    assert applies(model.core, x, tuple(state)) or (model.states == 1 and x.shape[1] == 1)  # GRU's single step is torch's
    output, last = model(x, tuple(state))
    return [output, *last]


def assert_near(found: Sequence[Tensor | None], exact: Sequence[Tensor | None]) -> None:
    for ours, theirs in zip(found, exact, strict=True):
        assert ours is not None
        assert theirs is not None
        assert ours.shape == theirs.shape
        assert (ours.double() - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


@needs_kernel
def test_where_there_is_a_compiler_there_is_a_kernel() -> None:
    assert kernel().library is not None, kernel().reason


@needs_kernel
@cells
@pytest.mark.parametrize(
    ("batch", "positions", "inputs", "hidden", "layers"),
    [
        (64, 17, 96, 256, 1),
        (1, 1, 8, 64, 1),
        (1, 9, 5, 48, 1),
        (7, 5, 3, 37, 1),
        (13, 4, 64, 192, 1),
        (5, 1, 11, 33, 1),
        (9, 6, 10, 96, 2),
        (300, 1, 4, 48, 1),
        (270, 3, 4, 48, 1),
    ],
)
def test_outputs_and_all_gradients_are_those_of_float64(
    cell: str, batch: int, positions: int, inputs: int, hidden: int, layers: int
) -> None:
    model = Recurrent("lstm" if cell == "lstm" else "gru", inputs, hidden, layers)
    exact = copy.deepcopy(model).double()
    x, state = torch.randn(batch, positions, inputs, requires_grad=True), state_of(model, batch)
    x64, state64 = x.detach().double().requires_grad_(), [part.detach().double().requires_grad_() for part in state]
    ours, theirs = fused(model, x, state), plain(exact, x64, state64)
    assert_near(ours, theirs)
    weights = [torch.randn_like(part) for part in ours]
    assert_near(
        gradients(ours, weights, [x, *state, *model.parameters()]), gradients(theirs, weights, [x64, *state64, *exact.parameters()])
    )


@needs_kernel
@cells
@pytest.mark.parametrize("used", [0, 1, -1])
def test_gradients_where_only_one_of_the_outputs_is_used(cell: str, used: int) -> None:
    model = Recurrent("lstm" if cell == "lstm" else "gru", 7, 48)
    exact = copy.deepcopy(model).double()
    x, state = torch.randn(6, 5, 7), state_of(model, 6)
    ours, theirs = fused(model, x, state)[used], plain(exact, x.double(), [part.detach().double() for part in state])[used]
    weight = torch.randn_like(ours)
    assert_near(gradients([ours], [weight], list(model.parameters())), gradients([theirs], [weight], list(exact.parameters())))


@needs_kernel
@cells
def test_two_forwards_may_stand_before_a_backward_and_a_backward_may_come_twice(cell: str) -> None:
    model = Recurrent("lstm" if cell == "lstm" else "gru", 8, 64)
    parameters = list(model.parameters())
    first, second = torch.randn(4, 6, 8), torch.randn(3, 9, 8)
    alone = [torch.autograd.grad(model(x, model.zeros(x))[0].square().sum(), parameters) for x in (first, second)]
    losses = [model(x, model.zeros(x))[0].square().sum() for x in (first, second)]
    for loss, expected in zip(losses, alone, strict=True):
        for _ in range(2):
            found = torch.autograd.grad(loss, parameters, retain_graph=True)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@needs_kernel
@cells
def test_memory_in_any_order_is_read_as_it_stands(cell: str) -> None:
    model = Recurrent("lstm" if cell == "lstm" else "gru", 6, 48)
    x = torch.randn(7, 5, 12).transpose(0, 1)[..., ::2]  # (5, 7, 6)
    state = tuple(torch.randn(5, 1, 48).transpose(0, 1) for _ in range(model.states))
    found = fused(model, x, state)
    assert_near(found, plain(copy.deepcopy(model).double(), x.double().contiguous(), [part.double().contiguous() for part in state]))
    ours = torch.autograd.grad(found[0].transpose(0, 1).sum(), list(model.parameters()))  # a gradient of strides 0
    theirs = torch.autograd.grad(plain(model, x.contiguous(), [part.contiguous() for part in state])[0].sum(), list(model.parameters()))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@needs_kernel
@cells
@pytest.mark.parametrize("hidden", [48, 50])
def test_step_by_step_is_what_all_steps_at_once_are(cell: str, hidden: int) -> None:
    model = Recurrent("lstm" if cell == "lstm" else "gru", 9, hidden)
    x = torch.randn(5, 8, 9)
    with torch.inference_mode():
        state, outputs = model.zeros(x), []
        whole, last = model(x, state)
        for t in range(x.shape[1]):
            output, state = model(x[:, t : t + 1], state)
            outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(state, last, rtol=1e-5, atol=1e-6)
    graded, _ = model(x, model.zeros(x))
    torch.testing.assert_close(graded.detach(), whole, rtol=0, atol=0)


@needs_kernel
@cells
def test_what_is_not_a_number_stays_so_and_saturated_gates_are_finite(cell: str) -> None:
    model = Recurrent("lstm" if cell == "lstm" else "gru", 4, 48)
    x = torch.full((2, 3, 4), 1e6)
    x[1] = torch.nan
    with torch.no_grad():
        output, _ = model(x, model.zeros(x))
    assert output[0].isfinite().all()
    assert output[1].isnan().all()
    assert_near([output[0]], [plain(copy.deepcopy(model).double(), x[:1].double(), [s.double() for s in model.zeros(x[:1])])[0][0]])


@needs_kernel
def test_threads_share_the_rows_and_change_nothing() -> None:
    model = Recurrent("lstm", 16, 128)
    x = torch.randn(33, 12, 16)

    def trained() -> list[Tensor]:
        output, _ = model(x, model.zeros(x))
        return [output.detach(), *torch.autograd.grad(output.square().sum(), list(model.parameters()))]

    with threads(1):
        one = trained()
    with threads(2):
        two = trained()
    torch.testing.assert_close(two[0], one[0], rtol=0, atol=0)
    torch.testing.assert_close(two[1:], one[1:], rtol=1e-5, atol=1e-5)


@needs_kernel
@cells
def test_150_steps_of_training_end_where_torch_ends(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predict a periodic sequence's next symbol: the loss after 150 steps differs by less than 0.1%.

    At four times this rate torch's own fp32 and float64 end 2.8% apart (LSTM): there rounding decides, and nothing is compared.
    """
    symbols = (torch.arange(20)[None] * torch.arange(1, 17)[:, None]) % 11 % 7  # (B, T + 1)

    def final_loss() -> float:
        torch.manual_seed(1)
        embedding, model, output = nn.Embedding(7, 12), Recurrent("lstm" if cell == "lstm" else "gru", 12, 64), nn.Linear(64, 7)
        optimizer = torch.optim.Adam([*embedding.parameters(), *model.parameters(), *output.parameters()], 5e-4)
        for _ in range(150):
            x = embedding(symbols[:, :-1])
            loss = nn.functional.cross_entropy(output(model(x, model.zeros(x))[0]).flatten(0, 1), symbols[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    ours = final_loss()
    monkeypatch.setenv(SWITCH, "off")
    theirs = final_loss()
    assert theirs < 1.5  # of log 7 = 1.95 nats: something has been learnt
    assert ours == pytest.approx(theirs, rel=1e-3)


@cells
def test_checkpoints_copies_and_pickles_are_those_of_torch(cell: str) -> None:
    model = Recurrent("lstm" if cell == "lstm" else "gru", 5, 16, 2)
    names = {f"core.{name}" for name in type(model.core)(5, 16, 2).state_dict()}
    assert set(model.state_dict()) == names
    x = torch.randn(3, 4, 5)
    expected = model(x, model.zeros(x))[0]
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(copied(x, copied.zeros(x))[0], expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_numbers_are_left_to_torch(dtype: torch.dtype) -> None:
    model = Recurrent("lstm", 5, 16).to(dtype)
    x = torch.randn(3, 4, 5, dtype=dtype)
    assert not applies(model.core, x, model.zeros(x))
    assert model(x, model.zeros(x))[0].dtype == dtype
