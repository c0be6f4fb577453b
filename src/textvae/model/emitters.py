"""Emitters: from one context vector a step (and z) to the logits of every step, and one step at a time for generation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn

from textvae.config import CellName
from textvae.data.tokens import EOS, UNK
from textvae.model.tokens import shifted
from textvae.nn.affine import linear
from textvae.nn.dropout import Dropout
from textvae.nn.embedding import embedded
from textvae.nn.kernel.generation import Reader, Walk, walks
from textvae.nn.recurrent import Recurrent, State
from textvae.shapes import MapShape


@final
@dataclass(frozen=True)
class EmitterState:
    """Where generation stands: the context of every step (B, T_max, C), the next position, and the recurrent state."""

    context: Tensor
    position: int
    recurrent: State = ()
    fed: Tensor | None = None
    """The symbols (B,) that a self-fed emitter reads next, whatever was emitted."""

    def select(self, rows: Tensor) -> EmitterState:
        """The state of the named rows only (they may repeat), as beam search and finished sequences need."""
        fed = None if self.fed is None else self.fed[rows]
        return replace(self, context=self.context[rows], recurrent=tuple(part[:, rows] for part in self.recurrent), fed=fed)


class Emitter(nn.Module, ABC):
    """p(x | z) given the expander's context (B, T, C) and z (B, S, Z)."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary  # V

    @abstractmethod
    def forward(self, context: Tensor, z: Tensor, tokens: Tensor) -> Tensor:
        """Logits of every step, (B, T, V), for tokens (B, T)."""

    @abstractmethod
    def start(self, context: Tensor, z: Tensor) -> EmitterState:
        """The state before the first symbol, from the context of all T_max steps."""

    @abstractmethod
    def step(self, previous: Tensor, state: EmitterState) -> tuple[Tensor, EmitterState]:
        """Logits of the next symbol, (B, V), after the symbol before it, (B,); and the state that follows."""

    @abstractmethod
    def walk(self, context: Tensor, z: Tensor) -> Walk | None:
        """All T_max steps at once, from the context of all of them, where there is a faster way than step by step; else None."""


@final
class ParallelEmitter(Emitter):
    """Predicts every position at once from its context alone: given z, symbols are independent.

    Its likelihood counts positions up to and including the first `EOS`, which is a proper distribution over strings.
    """

    def __init__(self, context: MapShape, vocabulary: int) -> None:
        super().__init__(vocabulary)
        self.output = nn.Linear(context.channels, vocabulary)

    def forward(self, context: Tensor, z: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, T, V); the tokens only say how many steps."""
        return linear(context[:, : tokens.shape[1]], self.output)

    def start(self, context: Tensor, z: Tensor) -> EmitterState:
        """Nothing but the context."""
        return EmitterState(context, 0)

    def step(self, previous: Tensor, state: EmitterState) -> tuple[Tensor, EmitterState]:
        """Logits (B, V) of the next position; what came before does not matter."""
        return linear(state.context[:, state.position], self.output), replace(state, position=state.position + 1)

    def walk(self, context: Tensor, z: Tensor) -> Walk | None:
        """None: a step is a row of one product."""
        return None


@final
class RecurrentCore(nn.Module):
    """The recurrent network both recurrent emitters share: reads the previous symbol and the context, starts from z.

    z stands at every step (through the context) and in the initial state (a linear layer of its mean over
    positions: all S are latent variables with a prior, so none is masked).
    """

    def __init__(
        self,
        context: MapShape,
        latent: MapShape,
        vocabulary: int,
        cell: CellName,
        hidden: int,
        layers: int = 1,
        embedding: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.recurrent = Recurrent(cell, embedding + context.channels, hidden, layers, dropout)
        self.initial = nn.Linear(latent.channels, self.recurrent.states * layers * hidden) if latent.channels else None
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(hidden, vocabulary)

    def initial_state(self, z: Tensor) -> State:
        """The state before the first step, each part (layers, B, H), from z (B, S, Z)."""
        core = self.recurrent
        if self.initial is None:
            return core.zeros(z)
        parts = torch.tanh(linear(z.mean(1), self.initial)).view(z.shape[0], core.states, core.layers, core.hidden)
        return tuple(part.transpose(0, 1) for part in parts.unbind(1))  # states x (layers, B, H)

    def forward(self, symbols: Tensor, context: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the symbols before each step (B, T) and their context (B, T, C)."""
        if self.training and self.dropout.p:
            x = torch.cat([embedded(symbols, self.embedding, self.dropout), context], dim=-1)  # (B, T, E + C)
            output, state = self.recurrent(x, state)
        else:
            output, state = self.recurrent.read(symbols, self.embedding.weight, context, state)
        return linear(self.dropout(output), self.output), state

    def step(self, previous: Tensor, state: EmitterState) -> tuple[Tensor, EmitterState]:
        """One step of generation: logits (B, V) after the symbols (B,)."""
        here = state.context[:, state.position : state.position + 1]  # (B, 1, C)
        logits, recurrent = self.forward(previous[:, None], here, state.recurrent)
        return logits[:, 0], replace(state, position=state.position + 1, recurrent=recurrent)

    def walk(self, context: Tensor, z: Tensor, self_fed: bool) -> Walk | None:
        """All steps by the compiled kernel, where it is there and this is one layer of fp32 weights on the CPU.

        None where it is not, or in training with dropout, of symbols and outputs.
        """
        reader = Reader(self.embedding, self.recurrent.core, self.output)
        if (self.training and self.dropout.p) or not walks(reader, context):
            return None
        return Walk(reader, context, self.initial_state(z), self_fed)


@final
class RecurrentEmitter(Emitter):
    """Teacher-forced recurrent emitter: every symbol is read before the next is predicted. Word dropout hides some of them."""

    def __init__(self, core: RecurrentCore, word_dropout: float = 0.0) -> None:
        super().__init__(core.output.out_features)
        self.core = core
        self.word_dropout = word_dropout

    def forward(self, context: Tensor, z: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) given the true symbols before each step."""
        symbols = shifted(tokens)  # (B, T)
        if self.training and self.word_dropout > 0:
            hidden = torch.rand(symbols.shape, device=symbols.device) < self.word_dropout
            symbols = symbols.masked_fill(hidden & (symbols != EOS), UNK)
        logits, _ = self.core(symbols, context[:, : tokens.shape[1]], self.core.initial_state(z))
        return logits

    def start(self, context: Tensor, z: Tensor) -> EmitterState:
        """The initial state from z."""
        return EmitterState(context, 0, self.core.initial_state(z))

    def step(self, previous: Tensor, state: EmitterState) -> tuple[Tensor, EmitterState]:
        """Logits (B, V) after the symbols (B,) that were really emitted."""
        return self.core.step(previous, state)

    def walk(self, context: Tensor, z: Tensor) -> Walk | None:
        """All steps at once, where the kernel can."""
        return self.core.walk(context, z, self_fed=False)


@final
class SelfFedEmitter(Emitter):
    """The study's recurrent emitter: in training too it reads its own most likely symbols, never the true ones.

    Given z the fed symbols are a function of z alone, so steps are independent given z and the likelihood is exact.
    """

    def __init__(self, core: RecurrentCore) -> None:
        super().__init__(core.output.out_features)
        self.core = core

    def forward(self, context: Tensor, z: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) along the emitter's own greedy path.

        The argmax has no gradient, so the path is walked without one, symbol by symbol, and then read in one call like a true
        text: the same logits and gradients, and one backward pass instead of T. (With dropout the walk has noise of its own.)
        """
        length = tokens.shape[1]
        fed = self._path(context, z, length)
        logits, _ = self.core(fed, context[:, :length], self.core.initial_state(z))
        return logits

    @torch.no_grad()
    def _path(self, context: Tensor, z: Tensor, length: int) -> Tensor:
        """The symbols (B, T) that are read before each of the first `length` steps."""
        walk = self.walk(context[:, :length], z)
        if walk is not None:
            return walk.path()
        state = self.start(context, z)
        symbols = []
        for _ in range(length):
            assert state.fed is not None
            symbols.append(state.fed)
            _, state = self.step(state.fed, state)
        return torch.stack(symbols, dim=1)  # (B, T)

    def start(self, context: Tensor, z: Tensor) -> EmitterState:
        """The initial state from z; the first symbol read is the boundary."""
        fed = torch.full((z.shape[0],), EOS, device=z.device)
        return EmitterState(context, 0, self.core.initial_state(z), fed)

    def step(self, previous: Tensor, state: EmitterState) -> tuple[Tensor, EmitterState]:
        """Logits (B, V) after its own most likely symbols; what was emitted does not matter."""
        assert state.fed is not None
        logits, after = self.core.step(state.fed, state)
        return logits, replace(after, fed=logits.detach().argmax(-1))

    def walk(self, context: Tensor, z: Tensor) -> Walk | None:
        """All steps at once, where the kernel can."""
        return self.core.walk(context, z, self_fed=True)
