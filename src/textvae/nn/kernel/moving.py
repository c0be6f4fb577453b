"""What moves weights after backward, by the compiled kernel: all parameters of a model in one call, where torch takes an operation each."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import Array, addressof, c_double, c_int64, c_void_p

import torch
from torch import Tensor

from textvae.nn.kernel.compiling import kernel
from textvae.nn.kernel.layout import call_kernel, threads_for


def moves(*groups: Sequence[Tensor]) -> bool:
    """Whether the kernel is there and reads these: fp32 on the CPU, without gaps."""
    tensors = [tensor for group in groups for tensor in group]
    plain = all(tensor.is_cpu and tensor.dtype == torch.float32 and tensor.is_contiguous() for tensor in tensors)
    return bool(tensors) and plain and kernel().library is not None  # asked last: a run on a GPU compiles none


def shorten(gradients: Sequence[Tensor], norm: float) -> None:
    """Scale gradients, in place and unseen by autograd, to a norm over all of them of at most `norm`: `torch.nn.utils.clip_grad_norm_`."""
    arrays, sizes, threads = _pointers(gradients), _sizes(gradients), _threads(gradients)
    scratch = (c_double * threads)()
    call_kernel("textvae_shorten", len(gradients), addressof(arrays), addressof(sizes), norm, addressof(scratch), threads)


def adam(
    weights: Sequence[Tensor], gradients: Sequence[Tensor], means: Sequence[Tensor], squares: Sequence[Tensor], steps: Sequence[Tensor],
    rate: float, betas: tuple[float, float], epsilon: float, decay: float, decoupled: bool,
) -> None:  # fmt: skip
    """A step of Adam (Kingma and Ba 2015), in place; `steps`, a number for each of the weights, count themselves."""
    arrays, sizes = [_pointers(group) for group in (weights, gradients, means, squares, steps)], _sizes(weights)
    told = rate, *betas, epsilon, decay, decoupled
    call_kernel("textvae_adam", len(weights), *map(addressof, arrays), addressof(sizes), *told, _threads(weights))


def approach(averages: Sequence[Tensor], values: Sequence[Tensor], part: float) -> None:
    """Move averages, in place, by a part of the way to values: `lerp`."""
    ours, theirs, sizes = _pointers(averages), _pointers(values), _sizes(averages)
    call_kernel("textvae_approach", len(averages), addressof(ours), addressof(theirs), addressof(sizes), part, _threads(averages))


def _pointers(tensors: Sequence[Tensor]) -> Array[c_void_p]:
    return (c_void_p * len(tensors))(*[tensor.data_ptr() for tensor in tensors])


def _sizes(tensors: Sequence[Tensor]) -> Array[c_int64]:
    return (c_int64 * len(tensors))(*[tensor.numel() for tensor in tensors])


def _threads(tensors: Sequence[Tensor]) -> int:
    return threads_for(sum(tensor.numel() for tensor in tensors))
