"""The trial of a fresh kernel, before anything is computed with it: are its layers, its embedded text, distortions and steps of Adam, its
self-fed path and what it draws torch's?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from textvae.nn.kernel import dropping, generation, moving, recurrence
from textvae.nn.kernel.distortion import distortion
from textvae.nn.kernel.layers import Plan, through
from textvae.nn.kernel.symbols import embed

TOLERANCE = 1e-4
"""By which a fresh kernel may differ from torch, relative and absolute: rounding is a hundred times less, a mistake much more."""

BF16_TOLERANCE = 3e-2
"""The same in bf16, whose rounding is a third of it at most."""

ROWS = 50
"""Sequences: 32 and 16 that matrix registers take at once, and two that they leave."""

MANY = 300
"""Sequences of a layer: some more than it takes at a time."""

LIKE: dict[str, Any] = {"device": "cpu", "dtype": torch.float32}


def mistake() -> str | None:
    """What the kernel computes otherwise than torch in fp32; None where all agrees."""
    return _wrong(torch.float32, TOLERANCE, _wrong_path) or _wrong_step(torch.Generator().manual_seed(0))


def bf16_mistake() -> str | None:
    """What the kernel computes otherwise than torch in bf16; None where all agrees."""
    return _wrong(torch.bfloat16, BF16_TOLERANCE, _wrong_draw)


def _wrong(dtype: torch.dtype, tolerance: float, wrong_generation: Callable[[torch.Generator], str | None]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    with _undisturbed():
        with torch.enable_grad():
            parts = (_wrong_cell, _wrong_dropout, _wrong_layer, _wrong_text)
            wrong = next(filter(None, (part(generator, dtype, tolerance) for part in parts)), None)
        with torch.no_grad():
            return wrong or wrong_generation(generator)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """The trial may be called from anywhere: no autocast and no inference mode inside, and a training's draws stay as they are."""
    with torch.inference_mode(False), torch.autocast("cpu", enabled=False), torch.random.fork_rng(devices=[]):
        yield


def _wrong_cell(generator: torch.Generator, dtype: torch.dtype, tolerance: float) -> str | None:
    """What differs from torch in outputs, states or gradients over a few steps of small layers; None where all agrees."""
    cells: tuple[tuple[type[torch.nn.LSTM | torch.nn.GRU], int], ...] = ((torch.nn.LSTM, 2), (torch.nn.GRU, 1))
    symbols, embedding = torch.randint(5, (ROWS, 4), generator=generator, device="cpu"), torch.randn(5, 2, generator=generator, **LIKE)
    context = torch.randn(ROWS, 4, 1, generator=generator, **LIKE).to(dtype)
    same = context[:, :1].expand(-1, 4, -1)  # at every step
    for cell, states in cells:
        core = cell(3, 50, batch_first=True, **LIKE)
        for parameter in core.parameters():
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
        state = tuple(torch.randn(1, ROWS, 50, generator=generator, **LIKE) for _ in range(states))
        x = torch.cat([embedding[symbols].to(dtype), context], 2)
        fixed = torch.cat([embedding[symbols].double(), same.double()], 2)
        found = [
            (_with_gradients(core, *recurrence.run(core, x, state)), x),
            (_with_gradients(core, *recurrence.read(core, symbols, embedding, context, state)), x),
            (_with_gradients(core, *recurrence.read(core, symbols, embedding, same, state)), fixed),
        ]
        core, (h, *c) = core.double(), [part.double() for part in state]
        for ours, given in found:
            output, after = core(given.double(), (h, *c) if c else h)
            for one, other in zip(ours, _with_gradients(core, output, after if c else (after,)), strict=True):
                if not torch.allclose(one.double(), other, rtol=tolerance, atol=tolerance * max(1.0, float(other.detach().abs().max()))):
                    return f"its {cell.__name__} is {(one - other).abs().max():.2g} off torch's"
    return None


def _with_gradients(core: nn.LSTM | nn.GRU, output: Tensor, after: tuple[Tensor, ...]) -> list[Tensor]:
    """What a layer computes, and its parameters' gradients of the sum of the outputs' squares."""
    wide = output if output.dtype == torch.float64 else output.float()
    return [output, *after, *torch.autograd.grad(wide.square().sum(), list(core.parameters()))]


def _wrong_dropout(generator: torch.Generator, dtype: torch.dtype, tolerance: float) -> str | None:
    """Whether something is neither dropped nor scaled, or has another gradient; alone and after an ELU."""
    x = torch.randn(7, 9, generator=generator, **LIKE).to(dtype).requires_grad_()
    exact = x.detach().float().requires_grad_()
    for dropped, whole in ((dropping.drop(x, 0.4), exact), (dropping.drop_elu(x, 0.4), nn.functional.elu(exact))):
        kept = (dropped != 0) / 0.6
        (ours,) = torch.autograd.grad(dropped.float().square().sum(), x)
        (theirs,) = torch.autograd.grad((whole * kept).square().sum(), exact)
        near = _agree(dropped, whole * kept, tolerance) and _agree(ours, theirs, tolerance)
        if not (near and 0 < int(kept.count_nonzero()) < x.numel()):
            return "its dropout is not torch's"
    return None


def _wrong_layer(generator: torch.Generator, dtype: torch.dtype, tolerance: float) -> str | None:
    """Whether a linear layer, a convolution or a transposed one is off torch's, or a gradient of them, alone and one after another: with
    ELU and dropout after it, of more channels than a vector holds, and more sequences than are taken at a time."""
    plain, down, up = nn.Linear(19, 21, **LIKE), nn.Conv1d(21, 4, 3, 2, padding=1, **LIKE), nn.ConvTranspose1d(4, 19, 3, 2, **LIKE)
    steps: list[tuple[nn.Module, Plan, Callable[[Tensor], Tensor]]] = [
        (plain, Plan(5, 19, 5, 21, curved=True), plain),
        (down, Plan(5, 21, 3, 4, 3, 2, 1, curved=True), lambda z: down(z.transpose(1, 2)).transpose(1, 2)),
        (up, Plan(5, 19, 3, 4, 3, 2, 1, back=True, curved=True), lambda z: up(z.transpose(1, 2))[..., 1:6].transpose(1, 2)),
    ]
    for chain, p in (*(([step], 0.3) for step in steps), (steps, 0.0)):
        parameters = [parameter for layer, _, _ in chain for parameter in layer.parameters()]
        for parameter in parameters:
            nn.init.normal_(parameter, std=0.3, generator=generator)
        x = torch.randn(MANY, *chain[0][1].inlet, generator=generator, **LIKE).to(dtype).requires_grad_()
        found = through(x, tuple(plan for _, plan, _ in chain), parameters, [p] * len(chain))
        expected = exact = x.detach().float().requires_grad_()
        for _, _, theirs in chain:
            expected = nn.functional.elu(theirs(expected))
        expected = expected * ((found != 0) / (1 - p))
        gradients = torch.autograd.grad(found.float().square().sum(), [x, *parameters])
        exact_ones = torch.autograd.grad(expected.square().sum(), [exact, *parameters])
        if not all(_agree(one, other, tolerance) for one, other in zip((found, *gradients), (expected, *exact_ones), strict=True)):
            return f"its {' and '.join(type(layer).__name__ for layer, _, _ in chain)} is not torch's"
    return None


def _wrong_text(generator: torch.Generator, dtype: torch.dtype, tolerance: float) -> str | None:
    """Whether embedded text or a distortion is off torch's, or a gradient of them."""
    table = torch.randn(21, 19, generator=generator, **LIKE).requires_grad_()
    symbols = torch.randint(21, (ROWS, 4), generator=generator, device="cpu")
    found = embed(symbols, table, 0.3, dtype)
    expected = nn.functional.embedding(symbols, table) * ((found != 0) / 0.7)
    ours, theirs = (torch.autograd.grad(y.float().square().sum(), table)[0] for y in (found, expected))
    if not (_agree(found, expected, tolerance) and _agree(ours, theirs, tolerance)):
        return "its embedded text is not torch's"
    logits = torch.randn(ROWS, 4, 21, generator=generator, **LIKE).to(dtype).requires_grad_()
    exact = logits.detach().float().requires_grad_()
    steps = nn.functional.cross_entropy(exact.flatten(0, 1), symbols.flatten(), reduction="none").view(symbols.shape)
    ends = (symbols == 0).long()
    nats, theirs = distortion(logits, symbols, 0), (steps * ((ends.cumsum(1) - ends) == 0)).sum(1)
    (ours,), (gradient,) = torch.autograd.grad(nats.square().sum(), logits), torch.autograd.grad(theirs.square().sum(), exact)
    return None if _agree(nats, theirs, tolerance) and _agree(ours, gradient, tolerance) else "its distortion is not torch's"


def _agree(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    return torch.allclose(ours.float(), theirs, rtol=tolerance, atol=tolerance * max(1.0, float(theirs.detach().abs().max())))


def _wrong_path(generator: torch.Generator) -> str | None:
    """Whether a self-fed emitter's path is another one than step by step."""
    reader, context, state = _emitter(generator)
    ours = generation.Walk(reader, context, state, self_fed=True).path()
    for step in range(3):
        logits, state = _stepped(reader, ours[:, step], context[:, step], state)
        if not torch.equal(logits.argmax(1), ours[:, step + 1]):
            return "its self-fed path is not torch's"
    return None


def _wrong_draw(generator: torch.Generator) -> str | None:
    """Whether bf16 draws another symbol than one of the likeliest, where the others are never drawn."""
    reader, context, state = _emitter(generator)
    uniform = torch.full((3, 4), 0.5, dtype=torch.float64, device="cpu")
    cold = generation.Choice(forbidden=(0,), uniform=uniform, temperature=1e-3)  # no row ends early
    ours = generation.Walk(reader, context, state, self_fed=False).draw(cold, torch.bfloat16)
    seen = torch.zeros_like(ours[:, 0])
    for step in range(3):
        logits, state = _stepped(reader, seen, context[:, step], state)
        seen = ours[:, step]
        if (logits[:, 1:].max(1).values - logits.gather(1, seen[:, None])[:, 0]).max() > BF16_TOLERANCE * logits.abs().max():
            return "what it draws is not likely to torch"
    return None


def _wrong_step(generator: torch.Generator) -> str | None:
    """Whether a gradient is shortened, or a weight or an average moved, otherwise than by torch."""
    weight, gradient, mean = (torch.randn(3, 7, generator=generator, **LIKE) for _ in range(3))
    square, step, average = mean.square(), torch.full((), 2.0, **LIKE), torch.zeros(3, 7, **LIKE)
    short = gradient / gradient.norm()
    theirs_mean, theirs_square = mean.lerp(short, 0.1), square.lerp(short.square(), 0.001)
    moved = theirs_mean / (1 - 0.9**3) / ((theirs_square / (1 - 0.999**3)).sqrt() + 1e-8)
    expected = [short, theirs_mean, theirs_square, 0.99 * weight - 0.1 * moved, 0.3 * (0.99 * weight - 0.1 * moved)]
    moving.shorten([gradient], 1.0)
    moving.adam([weight], [gradient], [mean], [square], [step], 0.1, (0.9, 0.999), 1e-8, 0.1, True)
    moving.approach([average], [weight], 0.3)
    found = [gradient, mean, square, weight, average]
    agree = float(step) == 3 and all(_agree(one, other, TOLERANCE) for one, other in zip(found, expected, strict=True))
    return None if agree else "its step of Adam is not torch's"


def _emitter(generator: torch.Generator) -> tuple[generation.Reader, Tensor, tuple[Tensor, ...]]:
    """The parts of a small emitter, a context (3, 4, 2), and the state before the first step."""
    embedding, core, output = nn.Embedding(5, 3, **LIKE), nn.LSTM(5, 20, batch_first=True, **LIKE), nn.Linear(20, 5, **LIKE)
    for part in (embedding, core, output):
        for parameter in part.parameters():
            nn.init.normal_(parameter, generator=generator)
    context = torch.randn(3, 4, 2, generator=generator, **LIKE)
    return generation.Reader(embedding, core, output), context, tuple(torch.zeros(1, 3, 20, **LIKE) for _ in range(2))


def _stepped(reader: generation.Reader, symbols: Tensor, context: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logits and state after a step of torch's."""
    seen, after = reader.core(torch.cat([reader.embedding(symbols), context], 1)[:, None], state)
    return reader.output(seen[:, 0]), after
