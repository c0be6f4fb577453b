"""Running means of a batch's terms, kept on the device until somebody looks."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

REMEMBERED = 64
"""Steps whose terms are remembered: no fewer than there may be between two looks at whether all are still numbers."""


@final
class Window:
    """Sums of the terms since the last reset, and the terms of the last steps.

    Adding costs two tensor operations and never waits for the device; `read` and `first_bad` do.
    """

    def __init__(self, terms: int, device: torch.device) -> None:
        self._sums = torch.zeros(terms, device=device)
        self._latest = torch.zeros(REMEMBERED, terms, device=device)
        self._added = self._count = 0

    def add(self, means: Tensor) -> None:
        """Add one batch's terms, (1 + L,): distortion, then the rate of each rung."""
        self._sums += means
        self._latest[self._added % REMEMBERED] = means
        self._added, self._count = self._added + 1, self._count + 1

    @property
    def empty(self) -> bool:
        """Whether nothing was added since the last reset."""
        return self._count == 0

    def read(self) -> list[float]:
        """Mean terms since the last reset, nats a sequence."""
        return (self._sums / max(1, self._count)).tolist()

    def first_bad(self) -> list[int]:
        """Indices of the terms that were the first of the last steps' not to be numbers; empty while all are."""
        bad = ~torch.isfinite(self._latest.cpu()).roll(-self._added % REMEMBERED, 0)  # (REMEMBERED, 1 + L), the oldest first
        # Once one term is not a number all become so with the next step: only the first step's culprits are named.
        return next((torch.nonzero(step).flatten().tolist() for step in bad[bad.any(1)]), [])

    def reset(self) -> None:
        """Start anew."""
        self._sums.zero_()
        self._count = 0

    def state(self) -> dict[str, Tensor]:
        """What `load` takes to go on from here, so that a resumed run's means are those of an unbroken one."""
        return {"sums": self._sums.clone(), "count": torch.tensor(self._count)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a saved state."""
        self._sums.copy_(state["sums"])
        self._count = int(state["count"])
