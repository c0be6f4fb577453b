"""Whole runs in their folders: what is kept, what is told, what stops a run, and what a run never touches."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from textvae.architectures import find_architecture
from textvae.data.corpora import Prepared, load_corpus, prepare
from textvae.errors import ConfigError, TrainingError, UserError
from textvae.evaluation.diagnostics import mutual_information, rate_below_cap, survey
from textvae.plots.training import training_figure
from textvae.settings import RunSettings, resolve
from textvae.training import session, trainer
from textvae.training.checkpoint import read_tensors
from textvae.training.collapse_watch import CollapseWatch
from textvae.training.hooks import Hook, StepRecord
from textvae.training.metrics import METRICS
from textvae.training.model_card import CARD, write_card
from textvae.training.monitor import glance
from textvae.training.progress import ProgressLine
from textvae.training.run_folder import RUN_FILES, TRAINING_STATE, RunFolder
from textvae.training.trainer import LossOfBatch, Trainer

Metrics = Callable[[Path], list[dict[str, Any]]]


def prepared(settings: RunSettings) -> Prepared:
    return prepare(load_corpus(settings.corpus, 0), settings.corpus)


def in_folder(run: Path, data: Prepared) -> tuple[Any, Any]:
    """What a run's weights show on valid now."""
    folder = RunFolder(run)
    config, _ = folder.load()
    model = config.build()
    folder.load_weights(model)
    return model, glance(model, data.tables["valid"], config.settings.objective)


def test_a_run_is_a_folder_with_all_its_files(settings: Any, recorder: Any, metrics: Metrics, tmp_path: Path) -> None:
    chosen = settings("ladder", training={"seed": 7})
    assert session.start(chosen, tmp_path / "run", [recorder])
    assert {path.name for path in (tmp_path / "run").iterdir()} == set(RUN_FILES)
    records = metrics(tmp_path / "run")
    assert [record["step"] for record in records] == [4, 8, 12]
    assert recorder.all("start") == [(12, 0)]
    assert recorder.all("step") == list(range(1, 13))
    assert [{k: v for k, v in told.items() if k != "seconds"} for told in recorder.all("evaluation")] == records
    (end,) = recorder.all("end")
    best = min(records, key=lambda record: record["valid"]["loss"])
    assert end.steps == 12 and end.kept_step == best["step"] and end.valid == best["valid"]
    (facts,) = recorder.all("ready")
    assert (facts.lines, facts.longest, facts.tokens, facts.architecture) == (31, 7, "characters", "ladder")
    assert facts.device == "cpu" and facts.start_from is None
    for record in records:
        valid = record["valid"]
        assert valid["elbo"] == pytest.approx(-valid["distortion"] - valid["rate"])
        assert valid["rate"] == pytest.approx(sum(valid["rate_per_rung"]))
        assert len(valid["rate_per_rung"]) == len(record["train"]["rate_per_rung"]) == len(valid["active_units_per_rung"]) == 2
        assert valid["mutual_information"] <= math.log(31) and 0 < valid["rate_below_cap"] <= valid["rate"] + 1e-6
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["device"] == "cpu" and environment["seed"] == 7
    assert environment["packages"]["torch"] and environment["training_seconds"] > 0
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"{best['valid']['elbo']:.3f}" in card and "`ladder`" in card
    assert f"textvae sample {tmp_path / 'run'}\n" in card and f'textvae.load("{tmp_path / "run"}")' in card


@pytest.mark.parametrize("architecture", ["rnn", "ladder", "ladder-cnn"])
def test_a_look_finds_the_information_that_an_evaluation_does(architecture: str, settings: Any) -> None:
    """Of a few lines, with the same noise: the one from the pass that measures the loss, the other from a pass of its own."""
    chosen = settings(architecture)
    data = prepared(chosen)
    torch.manual_seed(0)
    model = find_architecture(architecture).build(chosen.model, data.tokenizer.vocabulary_size, data.max_length + 1)
    seen = glance(model, data.tables["train"], chosen.objective)
    found = survey(model, data.tables["train"], torch.Generator().manual_seed(0))
    assert seen.mutual_information == pytest.approx(mutual_information(found), abs=1e-5)
    assert seen.rate_below_cap == pytest.approx(rate_below_cap(found), rel=1e-5)
    assert seen.active_units_per_rung == found.active_units and seen.rate == pytest.approx(float(found.rate.mean()), rel=1e-5)


def test_the_history_of_an_older_run_has_no_information_and_serves_all_the_same(settings: Any, metrics: Metrics, tmp_path: Path) -> None:
    session.start(settings("rnn"), tmp_path / "run")
    older = [
        {**record, "valid": {k: v for k, v in record["valid"].items() if k not in ("mutual_information", "rate_below_cap")}}
        for record in metrics(tmp_path / "run")
    ]
    (tmp_path / "run" / METRICS).write_text("".join(f"{json.dumps(record)}\n" for record in older))
    config, _ = RunFolder(tmp_path / "run").load()
    write_card(tmp_path / "run", config, 7, older[-1], 1.0)
    assert "rate" in (tmp_path / "run" / CARD).read_text()
    assert training_figure(tmp_path / "run").exists()


def test_a_published_run_knows_how_long_it_trained(settings: Any, tmp_path: Path) -> None:
    session.start(settings("rnn", training={"steps": 2}), tmp_path / "run")
    seconds = RunFolder(tmp_path / "run").training_seconds
    for name in TRAINING_STATE:
        (tmp_path / "run" / name).unlink()
    assert RunFolder(tmp_path / "run").training_seconds == pytest.approx(seconds) and seconds > 0
    (tmp_path / "run" / "environment.json").unlink()
    assert RunFolder(tmp_path / "run").training_seconds == 0


def test_training_learns(settings: Any, metrics: Metrics, tmp_path: Path) -> None:
    session.start(settings("rnn", training={"steps": 60, "evaluate_every": 2, "average": 0.5}), tmp_path / "run")
    first, *_, last = metrics(tmp_path / "run")
    assert last["valid"]["loss"] < first["valid"]["loss"] - 0.5


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_weights_kept_are_the_best_or_the_last(keep: str, average: float, settings: Any, metrics: Metrics, tmp_path: Path) -> None:
    # A learning rate that makes valid worse again after a while.
    chosen = settings("rnn", training={"keep": keep, "average": average, "learning_rate": 0.5, "decay": "constant", "evaluate_every": 2})
    session.start(chosen, tmp_path / "run")
    records = metrics(tmp_path / "run")
    best = min(records, key=lambda record: record["valid"]["loss"])
    if average == 0:
        assert best is not records[-1]
    expected = best if keep == "best" else records[-1]
    _, seen = in_folder(tmp_path / "run", prepared(chosen))
    assert seen.as_metrics() == expected["valid"]
    assert f"{expected['step']} of 12 steps" in (tmp_path / "run" / "README.md").read_text()


def test_averages_are_saved_and_the_raw_weights_go_on_training(settings: Any, tmp_path: Path) -> None:
    session.start(settings("ladder", training={"average": 0.9, "keep": "last"}), tmp_path / "run")
    saved = read_tensors(tmp_path / "run" / "weights.safetensors")[0]
    state = read_tensors(tmp_path / "run" / "training.safetensors")[0]
    averaged = {name for name, value in saved.items() if value.is_floating_point()}
    assert all(torch.equal(saved[name], state[f"average.{name}"]) for name in averaged)
    assert any(not torch.equal(saved[name], state[f"model.{name}"]) for name in averaged)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_patience_stops_early(keep: str, settings: Any, metrics: Metrics, recorder: Any, tmp_path: Path) -> None:
    wild = {"steps": 400, "patience": 2, "evaluate_every": 2, "learning_rate": 0.5, "decay": "constant", "lr_warmup": 0}
    assert session.start(settings("rnn", training={**wild, "keep": keep}), tmp_path / "run", [recorder])
    losses = [record["valid"]["loss"] for record in metrics(tmp_path / "run")]
    assert len(losses) < 200
    assert min(losses) == losses[-3]
    assert all(min(losses[:i]) > min(losses[i : i + 2]) for i in range(1, len(losses) - 2))  # and not earlier than that
    assert recorder.all("end")[0].kept_step == 2 * (len(losses) - 2 if keep == "best" else len(losses))
    assert session.resume(tmp_path / "run")
    assert len(metrics(tmp_path / "run")) == len(losses)


def test_a_plateau_halves_the_learning_rate(settings: Any, metrics: Metrics, tmp_path: Path) -> None:
    chosen = settings("cnn", training={"decay": "plateau", "learning_rate": 0.3, "evaluate_every": 2, "steps": 30})
    session.start(chosen, tmp_path / "run")
    records = metrics(tmp_path / "run")
    rate, stale, best = 0.3, 0, math.inf
    for record in records:
        assert record["learning_rate"] == pytest.approx(rate)  # the one the steps before were made with
        stale = 0 if record["valid"]["loss"] < best else stale + 1
        best = min(best, record["valid"]["loss"])
        rate *= 0.5 if stale and stale % trainer.PLATEAU == 0 else 1
    assert rate < 0.3


class Slow(Hook):
    """Takes 20 ms over everything that is told during training."""

    def on_step(self, record: StepRecord) -> None:
        time.sleep(0.02)

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        time.sleep(0.02)

    def on_checkpoint(self, path: Path) -> None:
        time.sleep(0.02)


def test_seconds_are_wall_time_over_all_sittings(settings: Any, stop_at: Any, tmp_path: Path) -> None:
    def seconds() -> float:
        return json.loads((tmp_path / "run" / "training.json").read_text())["seconds"]

    before = time.perf_counter()
    session.start(settings("lm", training={"steps": 6, "evaluate_every": 2}), tmp_path / "run", [Slow(), stop_at(4)])
    first_took = time.perf_counter() - before
    assert 8 * 0.02 < seconds() < first_took  # 4 steps, 2 looks and 2 checkpoints led to the checkpoint of the stop
    time.sleep(0.3)  # nobody trains meanwhile
    before, first = time.perf_counter(), seconds()
    session.resume(tmp_path / "run", [Slow()])
    assert first + 4 * 0.02 < seconds() < first + time.perf_counter() - before
    told = [json.loads(line)["seconds"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert told == sorted(told) and told[0] > 2 * 0.02 and told[-1] <= seconds()


class Failing(Hook):
    def on_step(self, record: StepRecord) -> None:
        raise OSError("the disk is gone")


def test_whatever_stops_a_run_the_hooks_are_told_last(settings: Any, recorder: Any, stop_at: Any, tmp_path: Path) -> None:
    session.start(settings("lm", training={"steps": 2}), tmp_path / "ended", [recorder])
    session.start(settings("lm"), tmp_path / "stopped", [recorder, stop_at(1)])
    page = StringIO()
    with pytest.raises(OSError, match="the disk is gone"):
        session.start(settings("lm"), tmp_path / "failed", [recorder, ProgressLine(Console(file=page, force_terminal=True)), Failing()])
    events = [event for event, _ in recorder.told]
    assert [before for before, event in pairwise(events) if event == "stop"] == ["end", "interrupt", "step"]
    assert events[-1] == "stop"
    hide, show = "\x1b[?25l", "\x1b[?25h"  # what rich does with the cursor while a bar is open
    assert page.getvalue().rfind(show) > page.getvalue().rfind(hide) > -1


def test_weights_that_are_worse_than_guessing_are_told(settings: Any, recorder: Any, tmp_path: Path) -> None:
    session.start(settings("lm", training={"steps": 4}), tmp_path / "short", [recorder])
    assert not recorder.all("warning"), "a short run has learned little, but it has not diverged"
    diverging = settings(
        "lm", training={"steps": 10, "evaluate_every": 10, "learning_rate": 100.0, "lr_warmup": 0, "clip": 0.0, "average": 0.0}
    )
    session.start(diverging, tmp_path / "run", [recorder])
    (told,) = recorder.all("warning")
    assert told.startswith("the training has diverged") and "lower training.learning_rate (it is 100)" in told


def test_a_collapse_is_told_and_stands_in_the_card(settings: Any, recorder: Any, tmp_path: Path) -> None:
    collapsing = settings("rnn", objective={"beta": 50.0, "schedule": "constant"}, training={"steps": 80, "evaluate_every": 10})
    session.start(collapsing, tmp_path / "run", [recorder])
    warnings = recorder.all("collapse")
    assert warnings and all("the latent has collapsed" in warning and "objective.free_bits" in warning for warning in warnings)
    assert len(warnings) == 2, "once when it is seen, once of the weights that were kept"
    assert "> **Collapse:** the latent has collapsed" in (tmp_path / "run" / "README.md").read_text()


def test_a_silent_latent_is_no_collapse_before_beta_has_its_weight(settings: Any, recorder: Any, tmp_path: Path) -> None:
    warming = settings("rnn", objective={"beta": 50.0, "warmup": 1.0}, training={"steps": 60, "evaluate_every": 59})
    session.start(warming, tmp_path / "run", [recorder])
    told = [event for event, _ in recorder.told if event in ("evaluation", "collapse")]
    assert told[:2] == ["evaluation", "evaluation"], "the first look is at less than the whole beta"
    before = told.count("collapse")
    session.start(settings("lm"), tmp_path / "lm", [recorder])
    assert len(recorder.all("collapse")) == before  # no latent, nothing to collapse


def looked_at(watch: CollapseWatch, rates: list[float], beta: float = 1.0) -> None:
    units = [int(rate > 0) for rate in rates]
    watch.look({"beta": beta, "valid": {"rate_per_rung": rates, "active_units_per_rung": units}})


def test_a_collapse_is_told_when_it_lasts_and_again_when_it_is_over(recorder: Any) -> None:
    watch = CollapseWatch(resolve("rnn"), recorder)
    for rate, beta, told in [(0.0, 0.5, 0), (0.0, 1.0, 0), (3.0, 1.0, 0), (0.0, 1.0, 0), (0.01, 1.0, 1), (0.02, 1.0, 1), (4.0, 1.0, 2)]:
        looked_at(watch, [rate], beta)
        assert len(recorder.all("collapse")) == told, (rate, beta)
    assert recorder.all("collapse")[1].startswith("the latent is in use")
    looked_at(watch, [0.0])
    watch.end({"rate_per_rung": [0.0], "active_units_per_rung": [0]})
    assert len(recorder.all("collapse")) == 3, "of the weights that are kept it is told even after one look"
    assert not recorder.all("warning")
    watch.end({"rate_per_rung": [4.0], "active_units_per_rung": [0], "sequences": 12})
    silent = len(recorder.all("collapse"))
    for rate in (0.0, 0.0, 3.0):
        watch.look({"beta": 1.0, "valid": {"rate_per_rung": [rate], "active_units_per_rung": [0], "sequences": 12}})
    assert not any("in use" in told for told in recorder.all("collapse")[silent:]), "so few lines do not show that it is over"
    free = CollapseWatch(resolve("rnn", flags={"objective": {"beta": 0}}), recorder)
    free.end({"rate_per_rung": [4.0], "active_units_per_rung": [0], "sequences": 12})
    assert recorder.all("warning") == ["valid has 12 of the 30 lines that it takes to say whether the latent is in use"]


class Breaking(nn.Module):
    """A loss whose gradient, then value, stops being a number at a step."""

    def __init__(self, whole: LossOfBatch, at: int) -> None:
        super().__init__()
        self.whole, self.left = whole, at

    def forward(self, tokens: torch.Tensor, beta: float) -> Any:
        self.left -= 1
        loss, means = self.whole(tokens, beta)
        if self.left == 0:
            loss, means = loss * float("nan"), means * torch.tensor([1.0, float("nan")])
        return loss, means


def break_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "LossOfBatch", lambda model, objective: Breaking(LossOfBatch(model, objective), step))


def test_a_nan_stops_the_run_names_the_term_and_keeps_the_checkpoint(
    settings: Any, compare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.start(settings("rnn"), tmp_path / "whole")
    with monkeypatch.context() as patch:
        break_at(6, patch)
        with pytest.raises(TrainingError, match="the rate of rung 1 is no longer a number near step 8; the last good checkpoint") as told:
            session.start(settings("rnn"), tmp_path / "run")
    assert "\n" not in str(told.value)
    assert all(value.isfinite().all() for value in read_tensors(tmp_path / "run" / "weights.safetensors")[0].values())
    assert session.resume(tmp_path / "run")  # without what broke it, it goes on from step 4
    assert compare(tmp_path / "whole", tmp_path / "run") == []


class Poisoned(nn.Module):
    """A loss that is a number, with a gradient that is none: it breaks the weights, not the terms."""

    def __init__(self, whole: LossOfBatch, at: int) -> None:
        super().__init__()
        self.whole, self.left = whole, at

    def forward(self, tokens: torch.Tensor, beta: float) -> Any:
        self.left -= 1
        loss, means = self.whole(tokens, beta)
        poison = torch.sqrt(loss - loss) if self.left == 0 else 0.0  # the slope of a root at 0 is infinite: inf - inf
        return loss + poison, means


@pytest.mark.parametrize(("at", "stop"), [(8, False), (6, True)], ids=["before an evaluation", "before a stop"])
def test_broken_weights_never_reach_a_checkpoint(
    at: int, stop: bool, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "LossOfBatch", lambda model, objective: Poisoned(LossOfBatch(model, objective), at))
    if stop:
        monkeypatch.setattr(trainer.Trainer, "_stops", lambda self, stop: self.position.step == at)
    with pytest.raises(TrainingError, match=f"is no longer a number near step {at}; the last good checkpoint is kept"):
        session.start(settings("rnn", training={"clip": 0.0}), tmp_path / "run")
    state, told = read_tensors(tmp_path / "run" / "training.safetensors")
    assert json.loads(told["position"])["step"] == 4
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())


def test_too_large_a_learning_rate_is_told_and_never_a_traceback(settings: Any, tmp_path: Path) -> None:
    wild = settings("ladder", training={"learning_rate": 1e30, "lr_warmup": 0, "steps": 1})
    with pytest.raises(UserError, match=r"no longer a number .* lower training\.learning_rate"):
        session.start(wild, tmp_path / "run")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")])
def test_too_little_memory_is_told(error: Exception, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(self: Trainer, tokens: torch.Tensor) -> None:
        raise error

    monkeypatch.setattr(Trainer, "take", step)
    with pytest.raises(
        TrainingError, match=r"memory ran out with batches of 8 lines: train a new run with a lower training\.batch"
    ) as told:
        session.start(settings("rnn"), tmp_path / "run")
    assert "\n" not in str(told.value)


def test_too_large_a_model_is_told_and_leaves_no_run_behind(settings: Any, tmp_path: Path) -> None:
    huge = settings("lm", model={"decoder": {"hidden": 100_000_000}})  # 10^17 bytes: no machine has them
    with pytest.raises(TrainingError, match=r"memory ran out for the model .*: lower the widths under model"):
        session.start(huge, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_errors_are_not_taken_for_lack_of_memory(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(self: Trainer, tokens: torch.Tensor) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(Trainer, "take", step)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        session.start(settings("rnn"), tmp_path / "run")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("training", [{"device": "cuda"}, {"devices": 2}], ids=["no GPU", "no torchrun"])
def test_a_device_that_is_not_there_leaves_no_run_behind(training: dict[str, Any], settings: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.device"):
        session.start(settings("rnn", training=training), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("architecture", "parts", "told"),
    [
        ("rnn", {"objective": {"alpha": 0.5}}, "no auxiliary head"),
        ("cnn", {"objective": {"free_bits": 0.1}, "model": {"latent": {"prior": "mixture"}}}, "mixture prior's rate"),
    ],
)
def test_an_objective_the_model_cannot_have_is_refused_at_build(
    architecture: str, parts: dict[str, Any], told: str, settings: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        session.start(settings(architecture, **parts), tmp_path / "run")
    assert not (tmp_path / "run").exists()
