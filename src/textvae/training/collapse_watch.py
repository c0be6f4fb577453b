"""What is told of a collapse while a model trains: once it lasts, once it is over, and of the weights that are kept."""

from __future__ import annotations

from typing import Any, final

from textvae.evaluation.collapse import collapse_warning
from textvae.settings import RunSettings
from textvae.training.hooks import Hook


@final
class CollapseWatch:
    """Looks at the measures of valid, and tells hooks of a latent that is not used.

    Before beta has its full weight, or at a single look in the first steps, that is no collapse yet.
    """

    def __init__(self, settings: RunSettings, hooks: Hook) -> None:
        self._settings, self._hooks = settings, hooks
        self._seen: str | None = None
        """Of the last look."""

        self._told = False

    def look(self, metrics: dict[str, Any]) -> None:
        """Look at a line of metrics.jsonl."""
        if metrics["beta"] < self._settings.objective.beta:
            return
        before, self._seen = self._seen, self._verdict(metrics["valid"])
        if self._told and not self._seen:
            self._told = False
            self._hooks.on_collapse("the latent is in use; what was told of it before is over")
        elif before and self._seen and not self._told:  # the numbers change with every look: it is told once
            self._tell(self._seen)

    def end(self, valid: dict[str, Any]) -> None:
        """The measures of the weights that are kept: told again where they are other ones than those of the last look."""
        verdict = self._verdict(valid)
        if verdict and not (self._told and verdict == self._seen):
            self._tell(verdict)

    def _tell(self, verdict: str) -> None:
        self._told = True
        self._hooks.on_collapse(verdict)

    def _verdict(self, valid: dict[str, Any]) -> str | None:
        return collapse_warning(valid["rate_per_rung"], sum(valid["active_units_per_rung"]), self._settings)
