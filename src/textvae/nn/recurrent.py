"""One seam for recurrent cells: LSTM and GRU with the same call, and a state that is a tuple of tensors."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textvae.config import CellName
from textvae.nn.kernel import recurrence
from textvae.nn.kernel.cells import State


@final
class Recurrent(nn.Module):
    """A stack of LSTM or GRU layers over (B, T, C), batch first."""

    def __init__(self, cell: CellName, inputs: int, hidden: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = hidden
        self.layers = layers
        self.states = 2 if cell == "lstm" else 1
        between = dropout if layers > 1 else 0.0
        self.core: nn.LSTM | nn.GRU
        if cell == "lstm":
            self.core = nn.LSTM(inputs, hidden, layers, batch_first=True, dropout=between)
            self._remember()
        else:
            self.core = nn.GRU(inputs, hidden, layers, batch_first=True, dropout=between)
        for name, parameter in self.core.named_parameters():
            if "weight_hh" in name:
                for gate in parameter.data.split(hidden):
                    nn.init.orthogonal_(gate)

    def _remember(self) -> None:
        """Start the forget gates at 1: a fresh LSTM keeps what it has read."""
        for name, parameter in self.core.named_parameters():
            if "bias_ih" in name:
                parameter.data[self.hidden : 2 * self.hidden].fill_(1.0)

    def zeros(self, x: Tensor) -> State:
        """The state before the first step, for x (B, T, C)."""
        return tuple(x.new_zeros(self.layers, x.shape[0], self.hidden) for _ in range(self.states))

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read x (B, T, C) from a state; return the outputs (B, T, H) and the state after the last step.

        On a CPU by the compiled kernel where it is there, in fp32, or under autocast in bf16 where the processor has it; else by
        torch: the same numbers but for rounding.
        """
        if recurrence.applies(self.core, x, state):
            return recurrence.run(self.core, x, state)
        if self.states == 2:
            output, after = self.core(x, (state[0].contiguous(), state[1].contiguous()))
            return output, after
        output, last = self.core(x, state[0].contiguous())
        return output, (last,)

    def read(self, symbols: Tensor, embedding: Tensor, context: Tensor, state: State) -> tuple[Tensor, State]:
        """`forward` of symbols (B, T) embedded by (V, E), with a context (B, T, C) beside them.

        By the kernel the embedded symbols are not multiplied: what each adds to the gates is a row of a table.
        """
        if recurrence.reads(self.core, symbols, embedding, context, state):
            return recurrence.read(self.core, symbols, embedding, context, state)
        return self(torch.cat([F.embedding(symbols, embedding), context], dim=-1), state)  # (B, T, E + C)


def last_output(output: Tensor, lengths: Tensor) -> Tensor:
    """The output at each sequence's last scored step, (B, H), of output (B, T, H) and lengths (B,)."""
    return output[torch.arange(output.shape[0], device=output.device), lengths - 1]


def reverse(x: Tensor, lengths: Tensor) -> Tensor:
    """x (B, T, C) with each sequence's first `length` steps in reverse order; what follows them is of no meaning."""
    steps = torch.arange(x.shape[1], device=x.device)
    order = (lengths[:, None] - 1 - steps).clamp(min=0)  # (B, T)
    return x.gather(1, order[..., None].expand_as(x))  # (B, T, C)
