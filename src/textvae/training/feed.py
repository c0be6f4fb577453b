"""Training batches on the device: the corpus and an epoch's order lie there, and a batch is gathered there, so no step moves text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import final

import numpy as np
import torch
from torch import Tensor

from textvae.data.batches import BucketedBatches
from textvae.data.tokens import TokenTable

AT_ONCE = 1 << 18
"""Positions of the batches that are gathered together: an operation for all of a width, where each batch would take its own."""

Batch = tuple[np.ndarray, int]
"""Rows of a table and a width."""


@final
class ResidentTable:
    """A `TokenTable` on a device."""

    def __init__(self, table: TokenTable, device: torch.device) -> None:
        self._tokens = torch.from_numpy(table.tokens).to(device)  # (all tokens,)
        ends = table.offsets[1:] - 1  # each sequence's end holds `EOS`
        self._bounds = torch.from_numpy(np.stack([table.offsets[:-1], ends], axis=1)).to(device)  # (N, 2)
        self._steps = torch.arange(int((ends - table.offsets[:-1]).max(initial=0)) + 1, device=device)

    def take(self, rows: Tensor, width: int) -> Tensor:
        """The named sequences, int64 (B, width), filled with `EOS` on the right; rows (B,) are on the device."""
        if width > len(self._steps):
            self._steps = torch.arange(width, device=rows.device)
        bounds = self._bounds[rows]  # (B, 2)
        return self._tokens[(bounds[:, :1] + self._steps[:width]).minimum(bounds[:, 1:])].long()  # (B, width)


@final
class Feed:
    """The batches of a `BucketedBatches`, gathered on a device."""

    def __init__(self, batches: BucketedBatches, device: torch.device) -> None:
        self._batches, self._device = batches, device
        self._held: tuple[TokenTable, ResidentTable] | None = None

    def iterate(self, epoch: int, start_batch: int = 0) -> Iterator[Tensor]:
        """Yield this rank's part of the epoch's batches from `start_batch` on, int64 (B, T)."""
        table, plan = self._batches.table(epoch), list(self._batches.plan(epoch, start_batch))
        if not plan:  # a run that was stopped after an epoch's last batch
            return
        if self._held is None or self._held[0] is not table:
            self._held = None  # two corpora at once may be more than the device holds
            self._held = table, ResidentTable(table, self._device)
        resident, pools = self._held[1], [(pool, _by_width(pool)) for pool in _pools(plan)]
        order = torch.from_numpy(np.concatenate([rows for _, widths in pools for of in widths.values() for rows in of])).to(self._device)
        first = 0
        for pool, widths in pools:
            found: dict[int, Iterator[Tensor]] = {}
            for width, of in widths.items():
                sizes = [len(rows) for rows in of]
                found[width] = iter(resident.take(order[first : first + sum(sizes)], width).split(sizes))
                first += sum(sizes)
            for _, width in pool:
                yield next(found[width])


def _pools(plan: Sequence[Batch]) -> Iterator[list[Batch]]:
    """The batches one after another, as many at a time as are gathered together; at least one."""
    ends = np.cumsum([len(rows) * width for rows, width in plan])
    for _, pool in groupby(zip(plan, ends, strict=True), lambda one: (one[1] - 1) // AT_ONCE):
        yield [batch for batch, _ in pool]


def _by_width(pool: Sequence[Batch]) -> dict[int, list[np.ndarray]]:
    """The rows of a pool's batches, in their order, by width."""
    widths: dict[int, list[np.ndarray]] = {}
    for rows, width in pool:
        widths.setdefault(width, []).append(rows)
    return widths
