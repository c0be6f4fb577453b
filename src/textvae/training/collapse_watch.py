"""What is told of a collapse while a model trains: once it lasts, once it is over, and of the weights that are kept."""

from __future__ import annotations

from typing import Any, final

from textvae.evaluation.collapse import ENOUGH, LatentUse, verdict_on
from textvae.settings import RunSettings
from textvae.training.hooks import Hook


@final
class CollapseWatch:
    """Looks at the measures of valid, and tells hooks of a latent that is not used.

    Before beta has its full weight, or at a single look in the first steps, that is no collapse yet. That a rate tells little of the
    single text is so of every run for a while, and told at the end only.
    """

    def __init__(self, settings: RunSettings, hooks: Hook) -> None:
        self._settings, self._hooks = settings, hooks
        self._seen: str | None = None
        """Of the last look."""

        self._told, self._just_told = False, False

    def look(self, metrics: dict[str, Any]) -> None:
        """Look at a line of metrics.jsonl."""
        self._just_told = False
        if metrics["beta"] < self._settings.objective.beta:
            return
        use = LatentUse.on_valid(metrics["valid"])
        verdict = verdict_on(use, self._settings)
        before, self._seen = self._seen, verdict.message if verdict and verdict.collapsed else None
        if self._told and not self._seen and use.tells_texts_apart:
            self._told = False
            self._hooks.on_collapse("the latent is in use; what was told of it before is over")
        elif before and self._seen and not self._told:  # the numbers change with every look: it is told once
            self._told = self._just_told = True
            self._hooks.on_collapse(self._seen)

    def end(self, valid: dict[str, Any]) -> None:
        """The measures of the weights that are kept, which is what the run came to: told again, unless it was just now."""
        use = LatentUse.on_valid(valid)
        verdict = verdict_on(use, self._settings)
        if not verdict and use.leaves_open(self._settings):
            self._hooks.on_warning(f"valid has {use.lines} of the {ENOUGH} lines that it takes to say whether the latent is in use")
        elif verdict and not verdict.collapsed:
            self._hooks.on_warning(verdict.message)
        elif verdict and not (self._just_told and verdict.message == self._seen):
            self._hooks.on_collapse(verdict.message)
