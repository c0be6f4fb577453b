"""Trackers tell others what a run's own folder holds."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, final

import pytest

from textvae.errors import PackageError, RunError
from textvae.training import session
from textvae.training.metrics import METRICS, MetricsLog
from textvae.training.trackers import TRACKERS, TensorBoardTracker, WandbTracker, scalars_of


def test_numbers_have_the_names_of_the_metrics_and_rungs_count_from_the_bottom() -> None:
    line = {"step": 3, "train": None, "valid": {"elbo": -2.5, "rate_per_rung": [0.5, 1], "active_units_per_rung": [2, 0]}}
    expected = {"step": 3, "valid/elbo": -2.5, "valid/rate_rung1": 0.5, "valid/rate_rung2": 1}
    assert scalars_of(line) == expected | {"valid/active_units_rung1": 2, "valid/active_units_rung2": 0}


def test_tensorboard_shows_the_history_of_a_run_that_was_stopped(settings: Any, stop_at: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    session.start(settings("ladder", training={"evaluate_every": 2}), run, [TensorBoardTracker(run), stop_at(5)])
    history = MetricsLog(run / METRICS)
    killed = TensorBoardTracker(run)  # a sitting that ended behind the checkpoint of step 5
    killed.on_start(20, 5)
    killed.on_evaluation(history.read()[-1] | {"step": 99, "valid": {"elbo": 1e9}})
    killed.on_stop()
    session.resume(run, [TensorBoardTracker(run)])
    shown = EventAccumulator(str(run / "tensorboard"))
    shown.Reload()
    lines = history.read()
    assert [event.step for event in shown.Scalars("valid/elbo")][-1] == lines[-1]["step"]
    by_step = {event.step: event.value for event in shown.Scalars("valid/elbo")}
    assert by_step == pytest.approx({line["step"]: line["valid"]["elbo"] for line in lines})
    assert len(lines[0]["valid"]["rate_per_rung"]) == sum(tag.startswith("valid/rate_rung") for tag in shown.Tags()["scalars"])
    assert any(tag.startswith("config") for tag in shown.Tags()["tensors"])


@final
class Wandb:
    """Stands in for the package: keeps what it is given."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished, self.summary = 0, dict[str, Any]()

    def init(self, **given: Any) -> Any:
        self.begun.append(given)
        return SimpleNamespace(log=self.log, summary=self.summary, finish=self.finish)

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.logged.append((step, numbers))

    def finish(self) -> None:
        self.finished += 1


def test_wandb_goes_on_with_the_same_run(settings: Any, stop_at: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in, run = Wandb(), tmp_path / "run"
    monkeypatch.setitem(sys.modules, "wandb", stand_in)  # type: ignore[arg-type]
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    session.start(settings("rnn", training={"evaluate_every": 2}), run, [WandbTracker(run), stop_at(5)])
    session.resume(run, [WandbTracker(run)])
    lines = MetricsLog(run / METRICS).read()
    assert stand_in.logged == [(line["step"], scalars_of(line)) for line in lines]
    first, second = stand_in.begun
    assert first["id"] == second["id"] and (first["project"], first["name"], first["resume"]) == ("textvae", "run", "allow")
    assert first["config"]["model"]["architecture"] == "rnn" and stand_in.finished == 2
    assert stand_in.summary["kept_step"] in {line["step"] for line in lines} and "kept/elbo" in stand_in.summary


def test_a_login_that_wandb_misses_is_told_in_one_line(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**given: Any) -> None:
        raise ValueError("api_key not configured (no-tty)\ncall wandb.login()")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=refuse))  # type: ignore[arg-type]
    run = tmp_path / "run"
    with pytest.raises(RunError, match=r"wandb refuses to begin \(api_key not .*\): `wandb login`, or WANDB_MODE=offline; .* --resume$"):
        session.start(settings("lm"), run, [WandbTracker(run)])
    assert session.resume(run)


def test_a_tracker_that_is_not_installed_is_told_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in (("wandb", "wandb"), ("tensorboard", "torch.utils.tensorboard")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(PackageError, match=rf"--tracker {name} needs a package .* install the extra: pip install '\.\[{name}\]'"):
            TRACKERS[name](tmp_path)
