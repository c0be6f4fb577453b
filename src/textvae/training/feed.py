"""Training batches on the device: the corpus and an epoch's order lie there, and a batch is gathered there, so no step moves text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import numpy as np
import torch
from torch import Tensor

from textvae.data.batches import BucketedBatches
from textvae.data.tokens import TokenTable


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
        resident = self._held[1]
        order = torch.from_numpy(np.concatenate([rows for rows, _ in plan])).to(self._device)  # (all rows,)
        parts = order.split([len(rows) for rows, _ in plan])
        for rows, (_, width) in zip(parts, plan, strict=True):
            yield resident.take(rows, width)
