"""How a run takes its steps: optimizers, decays, precision, clipping."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from textvae.errors import UserError
from textvae.training import session, trainer
from textvae.training.adam import Adam
from textvae.training.checkpoint import read_tensors
from textvae.training.engine import computes_bf16

Metrics = Callable[[Path], list[dict[str, Any]]]


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
@pytest.mark.parametrize("decay", ["cosine", "linear", "constant", "plateau"])
def test_every_optimizer_and_decay_trains(optimizer: str, decay: str, settings: Any, metrics: Metrics, tmp_path: Path) -> None:
    training = {"optimizer": optimizer, "decay": decay, "weight_decay": 0.01, "steps": 3, "evaluate_every": 3}
    assert session.start(settings("rnn", training=training), tmp_path / "run")
    (record,) = metrics(tmp_path / "run")
    assert math.isfinite(record["valid"]["loss"])


@pytest.mark.skipif(not computes_bf16(), reason="torch has no recurrent layers in bf16 on this processor")
@pytest.mark.parametrize("architecture", ["rnn", "ladder", "cnn", "hybrid"])
def test_mixed_precision_is_finite_and_close(architecture: str, settings: Any, metrics: Metrics, tmp_path: Path) -> None:
    for precision in ("32-true", "bf16-mixed"):
        session.start(settings(architecture, training={"precision": precision}), tmp_path / precision)
    for mixed, full in zip(metrics(tmp_path / "bf16-mixed"), metrics(tmp_path / "32-true"), strict=True):
        for part in ("train", "valid"):
            assert mixed[part]["distortion"] == pytest.approx(full[part]["distortion"], rel=0.03)
            assert mixed[part]["rate"] == pytest.approx(full[part]["rate"], rel=0.2, abs=0.1)
    weights = read_tensors(tmp_path / "bf16-mixed" / "weights.safetensors")[0]
    assert all(value.dtype != torch.bfloat16 and value.isfinite().all() for value in weights.values())


def test_clipping_bounds_the_step(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    record = trainer.WeightAverage.update

    def update(self: Any, step: int) -> None:
        gradients = [value.grad for value in self._live.values() if value.grad is not None]
        norms.append(torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients])).item() if gradients else -1.0)
        record(self, step)

    monkeypatch.setattr(trainer.WeightAverage, "update", update)
    monkeypatch.setattr(Adam, "forget", lambda self: None)
    session.start(settings("rnn", training={"clip": 0.5, "steps": 1, "average": 0.5}), tmp_path / "clipped")
    session.start(settings("rnn", training={"clip": 0.0, "steps": 1, "average": 0.5}), tmp_path / "free")
    assert norms[0] == pytest.approx(0.5, rel=1e-3)
    assert norms[1] > 0.5


def test_a_corpus_of_empty_lines_is_told(settings: Any, corpus: Path, tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (corpus / f"{split}.txt").write_text("\n\n\n")
    with pytest.raises(UserError):
        session.start(settings("rnn"), tmp_path / "run")
