"""How many steps a run has: by epochs, by minutes, by default; and what is told of minutes that were planned wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from textvae.architectures import architectures
from textvae.data.corpora import Prepared, load_corpus, prepare
from textvae.settings import RunSettings
from textvae.training import budget, session
from textvae.training.run_folder import RunFolder
from textvae.training.trainer import Trainer

Metrics = Callable[[Path], list[dict[str, Any]]]


def prepared(settings: RunSettings) -> Prepared:
    return prepare(load_corpus(settings.corpus, 0), settings.corpus)


def test_epochs_become_steps(settings: Any, metrics: Metrics, tmp_path: Path) -> None:
    session.start(settings("lm", training={"steps": None, "epochs": 1.5, "evaluate_every": 2}), tmp_path / "run")
    config, _ = RunFolder(tmp_path / "run").load()
    assert config.steps == config.settings.training.steps == 6  # 31 lines in batches of 8: 4 an epoch
    assert config.settings.training.epochs is None
    assert [record["epoch"] for record in metrics(tmp_path / "run")] == [0, 0, 1]


@pytest.mark.parametrize("batch", [2, 40])
def test_minutes_become_steps_without_touching_the_start(batch: int, settings: Any, tmp_path: Path) -> None:
    """40 is more than the corpus holds: one batch an epoch, fewer than the warm-up takes."""
    chosen = settings("rnn", training={"steps": None, "minutes": 0.02, "batch": batch, "evaluate_every": None})
    data = prepared(chosen)
    torch.manual_seed(3)
    model = architectures()["rnn"].build(chosen.model, data.tokenizer.vocabulary_size, data.max_length + 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    steps = budget.planned(model, data, chosen.objective, chosen.training).steps
    assert 1 <= steps < 1.2 / 0.0003  # no step takes less than 0.3 ms
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_minutes_are_fixed_in_the_config_as_steps(settings: Any, compare: Any, tmp_path: Path) -> None:
    session.start(settings("lm", training={"steps": None, "minutes": 0.01, "evaluate_every": 50}), tmp_path / "measured")
    config, _ = RunFolder(tmp_path / "measured").load()
    assert config.settings.training.minutes is None
    assert config.steps == config.settings.training.steps
    session.start(config.settings, tmp_path / "counted")
    assert compare(tmp_path / "measured", tmp_path / "counted") == []


@pytest.mark.parametrize(
    ("seconds", "told"), [(31.0, "0.5 minutes, not 1: .* was slower; --start-from"), (90.0, "1.5 .* was faster$"), (61.0, "")]
)
def test_minutes_that_were_planned_wrong_are_told(
    seconds: float, told: str, settings: Any, recorder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where another program ran while the steps were planned, or only afterwards."""
    monkeypatch.setattr(session, "planned", lambda *given: replace(given[-1], minutes=None, steps=2))
    monkeypatch.setattr(Trainer, "_count_time", lambda trainer: setattr(trainer.position, "seconds", seconds))
    assert session.start(settings("lm", training={"steps": None, "minutes": 1.0}), tmp_path / "run", (recorder,))
    warnings = [message for message in recorder.all("warning") if "minutes" in message]
    assert recorder.told[-1] == ("stop", None)
    assert len(warnings) == bool(told) and all(re.search(told, message) for message in warnings)


def test_looking_at_valid_never_eats_the_minutes(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings("lm", training={"steps": None, "minutes": 0.05, "evaluate_every": None})
    data = prepared(chosen)
    model = architectures()["lm"].build(chosen.model, data.tokenizer.vocabulary_size, data.max_length + 1)
    monkeypatch.setattr(budget, "glance", lambda *_: time.sleep(0.3))  # twenty of these are twice the three seconds there are
    plan = budget.planned(model, data, chosen.objective, chosen.training)
    assert plan.steps > 50
    assert plan.minutes is None
    assert plan.steps // plan.evaluate_every <= 2


def test_without_a_budget_there_is_a_default(settings: Any) -> None:
    chosen = settings("lm", training={"steps": None})
    data = prepared(chosen)
    model = architectures()["lm"].build(chosen.model, data.tokenizer.vocabulary_size, data.max_length + 1)
    assert budget.planned(model, data, chosen.objective, chosen.training).steps == budget.DEFAULT_STEPS
