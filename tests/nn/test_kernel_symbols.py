"""The fused recurrent kernel reading symbols by a table of what each adds to the gates, beside `nn.LSTM` and `nn.GRU` on embedded ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import chain

import pytest
import torch
from torch import Tensor, nn

from textvae.nn.kernel import recurrence
from textvae.nn.kernel.cells import State
from textvae.nn.kernel.compiling import SWITCH
from textvae.nn.recurrent import Recurrent

from .conftest import cells, gradients, needs_kernel, plain, state_of, threads, with_bf16

TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 1e-2}
"""Of the largest entry, as of layers that read numbers."""

dtypes = pytest.mark.parametrize("dtype", TOLERANCES)


class Reading:
    """A layer, an embedding, symbols that it reads, and a context, the same at every step or not."""

    def __init__(
        self, cell: str, batch: int, positions: int, symbols: int, embedded: int, context: int, hidden: int, same: bool, layers: int = 1
    ) -> None:
        self.layer = Recurrent("lstm" if cell == "lstm" else "gru", embedded + context, hidden, layers)
        self.embedding = nn.Embedding(symbols, embedded)
        self.symbols = torch.randint(0, symbols, (batch, positions))
        self.context = torch.randn(batch, 1 if same else positions, context, requires_grad=True)
        self.state = state_of(self.layer, batch)

    def parameters(self) -> list[Tensor]:
        given = [self.context] if self.context.shape[2] else []
        return [*given, *self.state, *chain(self.embedding.parameters(), self.layer.parameters())]

    def expanded(self, dtype: torch.dtype | None = None) -> Tensor:
        return self.context.to(dtype).expand(-1, self.symbols.shape[1], -1)

    def read(self, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        context = self.expanded(dtype)
        output, after = recurrence.read(self.layer.core, self.symbols, self.embedding.weight, context, self.state)
        assert output.dtype == dtype
        return [output, *after]

    def exact(self) -> tuple[list[Tensor], list[Tensor]]:
        """What torch computes in float64, and of what."""
        other = copy.copy(self)
        other.layer, other.embedding = copy.deepcopy(self.layer).double(), copy.deepcopy(self.embedding).double()
        other.context = self.context.detach().double().requires_grad_()
        other.state = tuple(part.detach().double().requires_grad_() for part in self.state)
        return plain(other.layer, torch.cat([other.embedding(self.symbols), other.expanded()], 2), other.state), other.parameters()


def assert_near(found: Sequence[Tensor], exact: Sequence[Tensor], dtype: torch.dtype) -> None:
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.shape == theirs.shape
        assert (ours.double() - theirs).abs().max() <= TOLERANCES[dtype] * theirs.abs().max()


@needs_kernel
@cells
@dtypes
@pytest.mark.parametrize(
    ("batch", "positions", "symbols", "embedded", "context", "hidden", "same"),
    [
        (64, 17, 84, 64, 32, 256, False),
        (64, 17, 84, 64, 16, 192, True),
        (33, 6, 11, 4, 0, 96, False),
        (7, 9, 5, 3, 5, 50, False),
        (50, 4, 6, 1, 40, 120, True),
    ],
)
def test_outputs_and_all_gradients_are_those_of_float64(
    cell: str, dtype: torch.dtype, batch: int, positions: int, symbols: int, embedded: int, context: int, hidden: int, same: bool
) -> None:
    """Among the shapes: no context, one of every step, one of all steps, and units that are padded."""
    reading = Reading(cell, batch, positions, symbols, embedded, context, hidden, same)
    ours, (theirs, exact) = reading.read(dtype), reading.exact()
    weights = [torch.randn_like(part) for part in ours]
    found = [*ours, *gradients(ours, weights, reading.parameters())]
    assert_near(found, [*theirs, *gradients(theirs, weights, exact)], dtype)


@needs_kernel
@cells
def test_only_the_first_of_several_layers_reads_symbols(cell: str) -> None:
    reading = Reading(cell, 9, 6, 10, 4, 5, 96, True, layers=2)
    ours, (theirs, exact) = reading.read(), reading.exact()
    weights = [torch.randn_like(part) for part in ours]
    found = [*ours, *gradients(ours, weights, reading.parameters())]
    assert_near(found, [*theirs, *gradients(theirs, weights, exact)], torch.float32)


@needs_kernel
@cells
@dtypes
def test_a_backward_may_come_twice(cell: str, dtype: torch.dtype) -> None:
    reading = Reading(cell, 8, 6, 5, 4, 3, 64, True)
    loss = reading.read(dtype)[0].float().square().sum()
    once, again = (torch.autograd.grad(loss, reading.parameters(), retain_graph=True) for _ in range(2))
    torch.testing.assert_close(again, once, rtol=1e-6, atol=1e-6)


@needs_kernel
@cells
def test_threads_change_nothing(cell: str) -> None:
    reading = Reading(cell, 40, 12, 7, 4, 3, 128, True)

    def trained() -> tuple[Tensor, ...]:
        return torch.autograd.grad(reading.read()[0].square().sum(), [reading.context, reading.embedding.weight])

    with threads(1):
        one = trained()
    with threads(2):
        two = trained()
    torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5)


@needs_kernel
@cells
@pytest.mark.parametrize("same", [False, True])
def test_under_autocast_they_are_read_in_bf16(cell: str, same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with_bf16(True, monkeypatch)
    reading = Reading(cell, 16, 6, 5, 4, 3, 64, same)
    with torch.autocast("cpu", torch.bfloat16):
        given = reading.symbols, reading.embedding.weight, reading.expanded(), reading.state
        assert recurrence.reads(reading.layer.core, *given)
        output, after = reading.layer.read(*given)
    assert output.dtype == torch.bfloat16
    theirs, exact = reading.exact()
    ours, weights = [output, *after], [torch.randn_like(part) for part in theirs]
    found = gradients(ours, weights, reading.parameters())
    assert {gradient.dtype for gradient in found} == {torch.float32}
    assert_near([*ours, *found], [*theirs, *gradients(theirs, weights, exact)], torch.bfloat16)


@needs_kernel
@cells
@pytest.mark.parametrize("part", ["context", "embedding"])
def test_a_gradient_may_be_asked_for_alone(cell: str, part: str) -> None:
    reading = Reading(cell, 8, 6, 5, 4, 3, 64, True)
    for parameter in reading.parameters():
        parameter.requires_grad_(False)
    wanted = reading.context if part == "context" else reading.embedding.weight
    wanted.requires_grad_(True)
    theirs, exact = reading.exact()
    place = next(i for i, parameter in enumerate(reading.parameters()) if parameter is wanted)
    (found,) = torch.autograd.grad(reading.read()[0].sum(), wanted)
    assert_near([found], torch.autograd.grad(theirs[0].sum(), exact[place]), torch.float32)


@needs_kernel
@pytest.mark.parametrize(
    "changed",
    [
        lambda symbols: symbols.int(),
        lambda symbols: symbols[:1, :1].expand(8, 12),
        lambda symbols: torch.cat([symbols, symbols], 1)[:, ::2],
        lambda symbols: symbols.t().contiguous().t(),
    ],
    ids=["int32", "one symbol", "every other", "the other order"],
)
def test_symbols_in_any_memory_are_read_as_they_stand(changed: Callable[[Tensor], Tensor]) -> None:
    reading = Reading("lstm", 8, 12, 5, 4, 3, 48, False)
    reading.symbols = changed(reading.symbols)
    assert recurrence.reads(reading.layer.core, reading.symbols, reading.embedding.weight, reading.expanded(), reading.state)
    assert_near(reading.read(), reading.exact()[0], torch.float32)


@needs_kernel
def test_a_context_of_other_steps_is_refused() -> None:
    reading = Reading("lstm", 8, 12, 5, 4, 3, 48, False)
    for symbols in (reading.symbols[:1], reading.symbols[:, 1:]):
        assert not recurrence.reads(reading.layer.core, symbols, reading.embedding.weight, reading.expanded(), reading.state)
        with pytest.raises(ValueError, match="its first two sizes are to be theirs"):
            recurrence.read(reading.layer.core, symbols, reading.embedding.weight, reading.expanded(), reading.state)


@needs_kernel
@pytest.mark.parametrize("wrong", [-1, 5])
def test_a_symbol_that_is_not_of_the_vocabulary_is_refused_before_it_is_looked_up(wrong: int) -> None:
    reading = Reading("lstm", 4, 6, 5, 4, 0, 48, False)
    reading.symbols[2, 3] = wrong
    with pytest.raises(IndexError, match="the embedding has rows 0 to 4"):
        reading.read()


@needs_kernel
@cells
@pytest.mark.parametrize(("positions", "symbols", "expected"), [(6, 12, True), (6, 13, False), (1, 2, False)])
def test_symbols_are_read_where_that_is_faster_and_embedded_elsewhere(cell: str, positions: int, symbols: int, expected: bool) -> None:
    """Four sequences: from two steps a symbol on, and never a single step."""
    reading = Reading(cell, 4, positions, symbols, 3, 2, 48, True)
    given = reading.symbols, reading.embedding.weight, reading.expanded(), reading.state
    assert recurrence.reads(reading.layer.core, *given) == expected
    output, after = reading.layer.read(*given)
    assert_near([output, *after], reading.exact()[0], torch.float32)


@needs_kernel
@cells
def test_without_the_kernel_embedded_symbols_are_read(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(cell, 8, 6, 5, 4, 3, 64, True)
    monkeypatch.setenv(SWITCH, "off")
    given = reading.symbols, reading.embedding.weight, reading.expanded(), reading.state
    assert not recurrence.reads(reading.layer.core, *given)
    output, after = reading.layer.read(*given)
    assert_near([output, *after], reading.exact()[0], torch.float32)


@needs_kernel
@cells
@dtypes
def test_150_steps_of_training_end_where_torch_ends(cell: str, dtype: torch.dtype) -> None:
    """The task of the kernel that reads numbers, at the rate of its test in bf16: the loss differs by less than 0.1%."""
    symbols = (torch.arange(20)[None] * torch.arange(1, 17)[:, None]) % 11 % 7  # (B, T + 1)

    def final_loss(fused: bool) -> float:
        torch.manual_seed(1)
        embedding, layer = nn.Embedding(7, 12), Recurrent("lstm" if cell == "lstm" else "gru", 12, 64)
        output, context = nn.Linear(64, 7), torch.zeros(16, 19, 0, dtype=dtype)
        optimizer = torch.optim.Adam([*chain(embedding.parameters(), layer.parameters(), output.parameters())], 2.5e-4)
        state: State = layer.zeros(torch.zeros(16, 19, 64))
        for _ in range(150):
            if fused:
                seen, _ = recurrence.read(layer.core, symbols[:, :-1], embedding.weight, context, state)
            else:
                seen = plain(layer, embedding(symbols[:, :-1]), state)[0]
            loss = nn.functional.cross_entropy(output(seen.float()).flatten(0, 1), symbols[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    theirs = final_loss(fused=False)
    assert theirs < 1.7  # of log 7 = 1.95 nats: something has been learnt
    assert final_loss(fused=True) == pytest.approx(theirs, rel=1e-3)
