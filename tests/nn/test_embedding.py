"""Embedded text, by the kernel and without it, beside torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from textvae.nn.dropout import Dropout
from textvae.nn.embedding import embedded
from textvae.nn.kernel.compiling import SWITCH

from .conftest import threads, with_bf16

ways = pytest.mark.parametrize("way", ["kernel", "off"])


@ways
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("columns", [1, 5, 16, 37])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_rows_and_their_gradients_are_torchs_but_for_what_is_dropped(
    way: str, bf16: bool, columns: int, p: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, way)
    if bf16:
        with_bf16(way == "kernel", monkeypatch)
    table, symbols = nn.Embedding(7, columns), torch.randint(7, (6, 9))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), threads(2):
        y = embedded(symbols, table, Dropout(p))
    kept = (y != 0) / (1 - p)
    whole, weights = table(symbols) * kept, torch.randn(y.shape).bfloat16().float()
    torch.testing.assert_close(y.float(), whole, rtol=1e-2 if bf16 else 1e-6, atol=1e-6)
    assert p == 0 or 0 < int((y == 0).count_nonzero()) < y.numel()
    transposed = weights.transpose(0, 1).contiguous().transpose(0, 1)  # gradients come time-major from a recurrence
    for given in (weights, transposed):
        (ours,) = torch.autograd.grad(y, table.weight, given.to(y.dtype), retain_graph=True)
        (theirs,) = torch.autograd.grad(whole, table.weight, weights, retain_graph=True)
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@ways
@pytest.mark.parametrize("wrong", [-1, 7])
def test_a_symbol_without_a_row_is_told(way: str, wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, way)
    with pytest.raises(IndexError):
        embedded(torch.tensor([[1, wrong]]), nn.Embedding(7, 4), Dropout(0.0))


@ways
def test_evaluation_drops_nothing(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, way)
    table, symbols = nn.Embedding(7, 4), torch.randint(7, (2, 3))
    assert torch.equal(embedded(symbols, table, Dropout(0.9).eval()), table(symbols))


@ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_symbols_of_another_type_are_refused_as_torch_does(way: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, way)
    with pytest.raises(RuntimeError):
        embedded(torch.ones(2, 3).to(dtype), nn.Embedding(7, 4), Dropout(0.0))
    assert embedded(torch.ones(2, 3, dtype=torch.int32), nn.Embedding(7, 4), Dropout(0.0)).shape == (2, 3, 4)
