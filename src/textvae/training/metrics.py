"""metrics.jsonl: one line of plain data an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, final

from textvae.errors import RunError
from textvae.storage import append_line, write_atomically

METRICS = "metrics.jsonl"
"""Its name in the run's folder."""


@final
class MetricsLog:
    """The history of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, metrics: dict[str, Any]) -> None:
        """Add one evaluation."""
        append_line(self.path, json.dumps(metrics))

    def read(self) -> list[dict[str, Any]]:
        """All evaluations so far; a last line that a crash cut short is left out.

        Raises `RunError` where another line is not one of an evaluation: what stands behind it is not to be lost.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().splitlines()
        records = []
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                if not isinstance(record["step"], int) or not isinstance(record["valid"], dict):
                    raise TypeError
            except (ValueError, TypeError, KeyError):
                if number == len(lines):
                    break
                raise RunError(f"{self.path} is damaged in line {number}: restore it from a copy, or remove the line") from None
            records.append(record)
        return records

    def of(self, step: int) -> dict[str, Any]:
        """The evaluation at a step; raises `KeyError` where there was none."""
        for record in self.read():
            if record["step"] == step:
                return record
        raise KeyError(step)

    def cut_after(self, step: int) -> None:
        """Forget what came after a step: a resumed run writes it again."""
        kept = [json.dumps(record) for record in self.read() if record["step"] <= step]
        write_atomically(self.path, "".join(f"{text}\n" for text in kept).encode())


def kept_measures(folder: Path, keep: str) -> dict[str, Any] | None:
    """The `valid` part of the line of the weights that a run keeps, as `training.keep` says; None without a history."""
    lines = MetricsLog(folder / METRICS).read()
    if not lines:
        return None
    line = lines[-1] if keep == "last" else min(lines, key=lambda one: float(one["valid"]["loss"]))
    valid: dict[str, Any] = line["valid"]
    return valid
