"""Tiny corpora, settings and hooks that the tests of training share."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import torch

from textvae.settings import RunSettings, from_dict
from textvae.training.checkpoint import read_tensors
from textvae.training.hooks import Hook, RunEnd, RunFacts, StepRecord

MODELS: dict[str, dict[str, Any]] = {
    "rnn": {"hidden": 6, "embedding": 4, "latent": {"channels": 3}, "decoder": {"hidden": 8, "embedding": 4}},
    "cnn": {"convolutions": {"embedding": 4, "channels": 6, "kernels": [3, 2], "strides": [1, 2]}, "latent": {"channels": 3}},
    "hybrid": {
        "convolutions": {"embedding": 4, "channels": 6, "kernels": [3, 2], "strides": [1, 2]},
        "latent": {"channels": 3},
        "decoder": {"hidden": 8, "embedding": 4},
    },
    "ladder": {
        "ladder": {"embedding": 4, "hidden": [6, 5], "reconstruction": 6},
        "latent": {"channels": [3, 2]},
        "decoder": {"hidden": 8, "embedding": 4},
    },
    "ladder-cnn": {
        "ladder": {"embedding": 4, "hidden": [6, 5], "reconstruction": 6},
        "latent": {"channels": [3, 2]},
        "decoder": {"hidden": 8, "embedding": 4},
    },
    "lm": {"decoder": {"hidden": 8, "embedding": 4}},
}


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {k: merged(below.get(k, {}), v) if isinstance(v, dict) else v for k, v in above.items()}
    return below | both


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder of 30 training, 8 valid and 8 test lines over six symbols."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split, count in {"train": 30, "valid": 8, "test": 8}.items():
        lines = ["".join(rng.choice(list("abcdef"), size=rng.integers(1, 8))) for _ in range(count)]
        (folder / f"{split}.txt").write_text("\n".join(["abcdefa", *lines]) + "\n")
    return folder


Settings = Callable[..., RunSettings]


@pytest.fixture
def settings(corpus: Path) -> Settings:
    """Settings of a tiny run: `settings("rnn", model={...}, training={...})`, laid over small defaults."""

    def build(architecture: str = "rnn", **parts: dict[str, Any]) -> RunSettings:
        base = {
            "corpus": {"path": str(corpus)},
            "model": {"architecture": architecture, **MODELS[architecture]},
            "objective": {},
            "training": {
                "steps": 12,
                "batch": 8,
                "evaluate_every": 4,
                "learning_rate": 0.01,
                "lr_warmup": 2,
                "precision": "32-true",
                "device": "cpu",
            },
        }
        return from_dict(merged(base, parts))

    return build


class Recorder(Hook):
    """Keeps everything it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def on_ready(self, facts: RunFacts) -> None:
        self.told.append(("ready", facts))

    def on_start(self, steps: int, done: int) -> None:
        self.told.append(("start", (steps, done)))

    def on_step(self, record: Any) -> None:
        self.told.append(("step", record.step))

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        self.told.append(("evaluation", metrics))

    def on_warning(self, message: str) -> None:
        self.told.append(("warning", message))

    def on_collapse(self, message: str) -> None:
        self.told.append(("collapse", message))

    def on_checkpoint(self, path: Path) -> None:
        self.told.append(("checkpoint", path))

    def on_interrupt(self, step: int) -> None:
        self.told.append(("interrupt", step))

    def on_end(self, end: RunEnd) -> None:
        self.told.append(("end", end))

    def on_stop(self) -> None:
        self.told.append(("stop", None))

    def all(self, event: str) -> list[Any]:
        return [what for name, what in self.told if name == event]


@final
class StopAt(Hook):
    """Presses Ctrl-C at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, record: StepRecord) -> None:
        if record.step == self.step:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def stop_at() -> type[StopAt]:
    return StopAt


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def metrics() -> Callable[[Path], list[dict[str, Any]]]:
    """The lines of a run's metrics.jsonl without the seconds."""
    return metrics_of


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the seconds."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def differences(run: Path, other: Path) -> list[str]:
    """What of two runs is not the same bit for bit, seconds apart; empty for equal runs."""
    found = [] if metrics_of(run) == metrics_of(other) else ["metrics.jsonl"]
    for name in ("weights.safetensors", "training.safetensors"):
        a, a_told = read_tensors(run / name)
        b, b_told = read_tensors(other / name)
        found += [f"{name}: {key}" for key in a.keys() | b.keys() if key not in a or key not in b or not torch.equal(a[key], b[key])]
        positions = [json.loads(told.get("position", "{}")) for told in (a_told, b_told)]
        for position in positions:
            position.pop("seconds", None)
        found += [] if positions[0] == positions[1] else [f"{name}: position {positions}"]
    return found


@pytest.fixture
def compare() -> Callable[[Path, Path], list[str]]:
    return differences
