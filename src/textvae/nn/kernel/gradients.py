"""Backward passes of the kernel's functions: of first order, and never under autocast."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from textvae.nn.kernel.compiling import SWITCH

Backward = Callable[..., tuple[Tensor | None, ...]]


def first_order(backward: Backward) -> Backward:
    """A function's backward that computes in the dtypes of its forward, whatever autocast says where gradients are asked for.

    It raises `NotImplementedError` where gradients of gradients are asked for: without an error they would lack a part.
    """

    @wraps(backward)
    def called(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            raise NotImplementedError(f"the compiled kernel has no gradients of gradients: set {SWITCH}=off, and torch computes them")
        with torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext():
            return backward(ctx, *gradients)

    return called
