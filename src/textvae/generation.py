"""From latent vectors to strings: greedy, sampled and beam decoding, and samples from the prior.

Every way of decoding takes z (N, S, Z) and returns tokens (N, T), int64, in the caller's order: each row ends in
`EOS`, is filled with `EOS` on the right, and holds at most T_max tokens. A row that has not ended by itself is
ended at step T_max, so that what is generated is always a string the model gives a probability to. All of them
run on the one step interface of the decoder (`start`, `step`, `select`), or where it has them on its `generate` and `search`:
all steps in one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from threading import Lock
from typing import Any, final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from textvae.config import require
from textvae.data.tokenizers import Tokenizer
from textvae.data.tokens import EOS, UNK
from textvae.model.inference import inference
from textvae.model.text_model import LatentTextModel
from textvae.nn.arithmetic import product_precision
from textvae.nn.kernel.generation import Choice
from textvae.nn.recording import CudaRecorder, RecordingError, Recordings

ROWS, MOST_ROWS = 256, 4_096
"""Sequences decoded side by side, on a processor and on a GPU; more only take more memory."""

PROBABILITIES = 1 << 25
"""Numbers that one step's probabilities may be on a GPU; they are in float64, and there are some copies of them."""

ACTIVATIONS = 1 << 28
"""Numbers that what the expander gives to all steps may be on a GPU: a gigabyte, and its layers hold as much."""

RECORDED = 8
"""Ways of decoding that are kept recorded for a model on a GPU (CUDA graphs), each at its second use."""

SUPPRESSED = (UNK,)
"""Tokens that are never generated unless the tokenizer says that `UNK` belongs to its text."""

Pick = Callable[[Tensor, Tensor | None], Tensor]
"""Chooses the next symbols (b,) from logits (b, V), by one uniform number a row (b,) or, where there is none, the most likely."""

Decode = Callable[[LatentTextModel, Tensor], np.ndarray]
"""A way of decoding with its settings filled in: from z (N, S, Z) to tokens (N, T)."""


def forbidden_tokens(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokens that a model of this tokenizer's text should not generate: `UNK`, unless it stands in the training text."""
    return () if tokenizer.generates_unknown else SUPPRESSED


@final
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next symbol is drawn: temperature first, then top_k, then top_p.

    Raises:
        ConfigError: a setting is out of its range.
    """

    temperature: float = 1.0
    """Divides the logits: below 1 is more cautious, above 1 more surprising, 0 always takes the most likely symbol."""

    top_k: int | None = None
    """Only the k most likely symbols; default all."""

    top_p: float | None = None
    """Only the most likely symbols that together reach this probability (Holtzman et al. 2020); default all."""

    def __post_init__(self) -> None:
        require(
            isinstance(self.temperature, Real) and math.isfinite(self.temperature) and self.temperature >= 0,
            f"temperature is {self.temperature!r}: must be 0 (always the most likely symbol) or above",
        )
        require(self.top_k is None or self.top_k >= 1, f"top_k is {self.top_k}: must be at least 1, or left out to allow every symbol")
        require(
            self.top_p is None or 0 < self.top_p <= 1,
            f"top_p is {self.top_p}: must be a probability above 0 and at most 1, or left out to allow every symbol",
        )

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Log-probabilities (B, V) that symbols are drawn with, -inf for those the settings rule out, from logits (B, V)."""
        if self.temperature == 0:
            return keep_top_k(logits, 1).log_softmax(-1)
        logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature  # at most 0: no temperature overflows
        if self.top_k is not None:
            logits = keep_top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = keep_top_p(logits, self.top_p)
        return logits.log_softmax(-1)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Logits (B, V) with all but the k largest of each row at -inf."""
    _, kept = logits.topk(min(k, logits.shape[-1]), dim=-1)  # (B, k)
    return torch.full_like(logits, -math.inf).scatter(-1, kept, logits.gather(-1, kept))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Logits (B, V) with all but the smallest set of most likely symbols whose probability reaches p at -inf (never none)."""
    probabilities, order = logits.softmax(-1).sort(-1, descending=True)  # (B, V)
    before = probabilities.cumsum(-1) - probabilities  # mass of the more likely symbols
    outside = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= p)
    outside.scatter_(-1, order[..., :1], False)
    return logits.masked_fill(outside, -math.inf)


def decode_greedy(model: LatentTextModel, z: Tensor, forbidden: Sequence[int] = SUPPRESSED) -> np.ndarray:
    """The most likely symbol at every step: tokens (N, T) for z (N, S, Z)."""

    def most_likely(logits: Tensor, uniform: Tensor | None) -> Tensor:
        return logits.argmax(-1)

    choice = Choice(tuple(forbidden))
    return _in_parts(model, z, rows_at_once(model), lambda part: _emit(model, part, choice, most_likely))


def decode_sampled(
    model: LatentTextModel,
    z: Tensor,
    sampling: Sampling,
    generator: torch.Generator | None = None,
    forbidden: Sequence[int] = SUPPRESSED,
) -> np.ndarray:
    """Symbols drawn as `sampling` says: tokens (N, T) for z (N, S, Z).

    One uniform number a sequence and step is drawn up front, in the order of the rows, and inverted through the
    symbols' cumulative distribution. With a CPU generator a row's string therefore depends on the seed and on how
    many rows stand before it, not on the rows behind it (but for rounding in the logits).
    """

    def draw(logits: Tensor, uniform: Tensor | None) -> Tensor:
        assert uniform is not None
        cumulative = sampling.log_probabilities(logits.double()).exp().cumsum(-1)  # (b, V)
        wanted = uniform[:, None] * cumulative[:, -1:]  # (b, 1)
        last = (cumulative < cumulative[:, -1:]).sum(-1)  # where the total is reached: nothing behind it has a probability
        return torch.searchsorted(cumulative, wanted, right=True)[:, 0].minimum(last)

    def run(part: Tensor) -> Tensor:
        device = None if generator is None else generator.device
        uniform = torch.rand(part.shape[0], model.max_tokens, generator=generator, device=device, dtype=torch.float64)  # (B, T_max)
        choice = Choice(tuple(forbidden), uniform.to(z.device), sampling.temperature, sampling.top_k, sampling.top_p)
        return _emit(model, part, choice, draw)

    return _in_parts(model, z, rows_at_once(model), run)


def decode_beams(model: LatentTextModel, z: Tensor, beams: int, forbidden: Sequence[int] = SUPPRESSED) -> np.ndarray:
    """The most likely string that beam search finds: tokens (N, T) for z (N, S, Z). One beam is greedy decoding.

    Strings are compared by log p(x | z), their end included, without length normalisation. The beams hold unfinished
    strings only; every way of ending one of them is compared with the best finished string so far, and a sequence is
    done once no unfinished string can overtake it. For the parallel and the self-fed emitter, whose steps are
    independent given z, this finds the most likely string of all with two beams already.

    Raises:
        ConfigError: fewer than one beam.
    """
    require(beams >= 1, f"beams is {beams}: must be at least 1")
    if beams == 1:
        return decode_greedy(model, z, forbidden)

    def run(part: Tensor) -> Tensor:
        context = model.decoder.expander(part)
        walk = model.decoder.emitter.walk(context, part)
        return walk.search(beams, forbidden) if walk else _search(model, context, part, beams, forbidden)

    return _in_parts(model, z, max(1, rows_at_once(model) // beams), run)


def rows_at_once(model: LatentTextModel) -> int:
    """Sequences that are best decoded side by side where the model is."""
    if model.device.type == "cpu":
        return ROWS
    decoder = model.decoder
    activations = model.max_tokens * max(1, decoder.expander.outlet.channels)
    return max(ROWS, min(MOST_ROWS, PROBABILITIES // decoder.emitter.vocabulary, ACTIVATIONS // activations))


def _in_parts(model: LatentTextModel, z: Tensor, rows: int, run: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Tokens (N, T) of z (N, S, Z), `rows` at a time through `run`, cut behind the longest row's `EOS`; int64."""
    with inference(model):
        parts = [run(part).cpu().numpy() for part in z.split(rows) if len(part)]
    none = np.zeros((0, model.max_tokens), dtype=np.int64)
    tokens = parts[0] if len(parts) == 1 else np.concatenate([none, *parts])  # (N, T_max)
    going = (tokens != EOS).any(0)  # (T_max,)
    return tokens[:, : int(np.count_nonzero(going)) + 1]


def _emit(model: LatentTextModel, z: Tensor, choice: Choice, pick: Pick) -> Tensor:
    """Decode z (B, S, Z) to tokens (B, T_max), each symbol by `pick` as `choice` says: by the kernel where it is there, else step by step.

    On a GPU all rows walk all steps, so that nothing waits for the device; the walk is recorded, and replayed for as many rows.
    """
    if z.is_cuda:
        return _recorded(model, z, choice, pick)
    context = model.decoder.expander(z)
    walk = model.decoder.emitter.walk(context, z)
    return walk.draw(choice) if walk else _walk(model, context, z, choice, pick, to_the_end=False)


def _recorded(model: LatentTextModel, z: Tensor, choice: Choice, pick: Pick) -> Tensor:
    """`_emit` on a GPU, for one caller at a time: recordings have one memory."""

    def work(z: Tensor, *uniform: Tensor) -> Tensor:
        now = replace(choice, uniform=uniform[0] if uniform else None)
        return _walk(model, model.decoder.expander(z), z, now, pick, to_the_end=True)

    given = (z,) if choice.uniform is None else (z, choice.uniform)
    weights = (z.device, *(part.data_ptr() for part in (*model.decoder.parameters(), *model.decoder.buffers())))
    with _ONE_CALLER:
        there, recordings = _RECORDINGS.get(model, (None, None))
        if there != weights:  # new, or moved since
            recordings = Recordings(CudaRecorder(z.device), 1, RECORDED)
            _RECORDINGS[model] = weights, recordings
        if recordings is not None:
            try:
                return recordings.run((z.shape, replace(choice, uniform=None), len(given), product_precision()), work, *given).clone()
            except RecordingError:  # an emitter that waits for the device: it will the next time too
                _RECORDINGS[model] = weights, None
        return work(*given)


_RECORDINGS: WeakKeyDictionary[LatentTextModel, tuple[tuple[Any, ...], Recordings | None]] = WeakKeyDictionary()
"""How models on a GPU decode, once it is recorded, None where it cannot be; and where the weights lie that it reads."""

_ONE_CALLER = Lock()


def _walk(model: LatentTextModel, context: Tensor, z: Tensor, choice: Choice, pick: Pick, to_the_end: bool) -> Tensor:
    """Step by step from the expander's context: tokens (B, T_max) for z (B, S, Z).

    Sequences that have ended are left out, unless all are to walk to the end.
    """
    tokens = torch.full((z.shape[0], model.max_tokens), EOS, device=z.device)  # (B, T_max)
    rows = torch.arange(z.shape[0], device=z.device)
    previous = torch.full_like(rows, EOS)
    running = torch.ones_like(rows, dtype=torch.bool)
    state = model.decoder.emitter.start(context, z)
    for position in range(model.max_tokens - 1):
        logits, state = model.decoder.emitter.step(previous, state)
        for symbol in choice.forbidden:
            logits[:, symbol] = -math.inf
        uniform = None if choice.uniform is None else choice.uniform[rows, position]  # (b,)
        previous = torch.where(running, pick(logits, uniform), EOS)  # (b,)
        tokens[rows, position] = previous
        running = running & (previous != EOS)
        if to_the_end:
            continue
        left = running.nonzero()[:, 0]
        if len(left) == 0:
            break
        if len(left) <= 0.75 * len(rows):  # copying the state costs more than a few idle rows
            rows, previous, running, state = rows[left], previous[left], running[left], state.select(left)
    return tokens


def _search(model: LatentTextModel, context: Tensor, z: Tensor, beams: int, forbidden: Sequence[int]) -> Tensor:
    """Beam search, step by step, over z (B, S, Z) and the expander's context of it: the best tokens (B, T_max).

    The W beams of a sequence stand side by side in the state.
    """
    count, steps = z.shape[0], model.max_tokens
    best = torch.full((count,), -math.inf, device=z.device, dtype=torch.float64)
    result = torch.full((count, steps), EOS, device=z.device)  # (B, T_max)
    rows = torch.arange(count, device=z.device)  # the sequences still searched, (b,)
    tokens = torch.full((count, beams, steps), EOS, device=z.device)  # (b, W, T_max)
    scores = torch.full((count, beams), -math.inf, device=z.device, dtype=torch.float64)
    scores[:, 0] = 0.0  # all beams start alike: only one of them may branch
    previous = torch.full((count * beams,), EOS, device=z.device)
    state = model.decoder.emitter.start(context, z).select(rows.repeat_interleave(beams))
    for position in range(steps):
        logits, state = model.decoder.emitter.step(previous, state)  # (b * W, V)
        reached = logits.double().log_softmax(-1).view(len(rows), beams, -1) + scores[..., None]  # (b, W, V)
        ending, beam = reached[..., EOS].max(1)  # (b,)
        better = ending > best[rows]
        best[rows[better]] = ending[better]
        result[rows[better]] = tokens[better, beam[better]]  # what is behind the unfinished string is EOS
        if position == steps - 1:
            break
        reached[..., [EOS, *forbidden]] = -math.inf
        scores, chosen = reached.flatten(1).topk(beams)  # (b, W) of W * V
        parent, symbol = chosen // logits.shape[-1], chosen % logits.shape[-1]
        tokens = tokens.gather(1, parent[..., None].expand_as(tokens))
        tokens[..., position] = symbol
        left = (scores[:, 0] > best[rows]).nonzero()[:, 0]  # a score never rises: the others cannot be overtaken any more
        if len(left) == 0:
            break
        state = state.select((left[:, None] * beams + parent[left]).flatten())
        rows, tokens, scores, previous = rows[left], tokens[left], scores[left], symbol[left].flatten()
    return result


def prior_samples(
    model: LatentTextModel,
    count: int,
    decode: Decode,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[np.ndarray]:
    """Strings of z from the prior, as an iterator over chunks of tokens (b, T), b <= `rows_at_once`: any count fits in memory.

    `temperature` scales the noise of z, not of the symbols (that is `Sampling.temperature`). z is drawn a whole
    chunk at a time, so with one seed the first n z are the same whatever the count, and the strings too where `decode`
    depends on no other row (see `decode_sampled`). The generator is on the model's device.

    Raises:
        ConfigError: a negative count or temperature.
    """
    require(count >= 0, f"the number of samples is {count}: must be at least 0")
    require(temperature >= 0, f"the prior's temperature is {temperature}: must be at least 0")
    rows = rows_at_once(model)
    return (decode(model, prior_latents(model, rows, temperature, generator)[: count - start]) for start in range(0, count, rows))


def prior_latents(model: LatentTextModel, count: int, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """The z (count, S, Z) that the decoder reads, from the prior; without rungs, (count, 1, 0)."""
    with inference(model):
        latents = model.latents.generate(count, temperature, generator)
        return latents[0] if latents else model.latents.empty(count, model.device)
