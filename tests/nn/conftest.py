"""Recurrent layers as torch computes them, for comparison."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from textvae.nn.kernel import generation, layout, recurrence
from textvae.nn.kernel.compiling import SWITCH, compiler, kernel
from textvae.nn.recurrent import Recurrent

needs_kernel = pytest.mark.skipif(os.environ.get(SWITCH, "").lower() == "off" or compiler() is None, reason=kernel().reason)
"""Where there is a compiler there is a kernel: one that cannot be built, or errs, fails the tests."""

cells = pytest.mark.parametrize("cell", ["lstm", "gru"])


def with_bf16(there: bool, patch: pytest.MonkeyPatch) -> None:
    """As if the processor multiplied bf16, or did not; where it does not, the kernel computes it from fp32."""
    for module in (recurrence, layout, generation):
        patch.setattr(module, "kernel", lambda: dataclasses.replace(found, bf16=there) if (found := kernel()).library else found)
    patch.setattr(generation, "multiplies_bf16_faster", lambda: there)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many of torch's threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def state_of(model: Recurrent, batch: int) -> tuple[Tensor, ...]:
    return tuple(torch.randn(model.layers, batch, model.hidden, requires_grad=True) for _ in range(model.states))


def plain(model: Recurrent, x: Tensor, state: Sequence[Tensor]) -> list[Tensor]:
    """Outputs and last state as torch computes them."""
    output, last = model.core(x, tuple(state) if model.states == 2 else state[0])
    return [output, *last] if model.states == 2 else [output, last]


def gradients(outputs: Sequence[Tensor], weights: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    loss = sum((o.double() * w.double()).sum() for o, w in zip(outputs, weights, strict=True))
    assert isinstance(loss, Tensor)
    return torch.autograd.grad(loss, inputs)
