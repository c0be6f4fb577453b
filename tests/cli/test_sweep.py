"""`textvae sweep` as a user meets it."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from textvae.study.sweep.base import Base
from textvae.training import trainer

from .conftest import SETTINGS, TINY, Command, command_line, environment, with_ctrl_c

FLAGS = [*TINY, "--steps", "4", "--corpus.draws", "60", "--corpus.held-out-draws", "30"]
SPACE = '"training.learning_rate" = { low = 1e-3, high = 1e-2, log = true }\n"objective.beta" = { low = 0.5, high = 1.0 }\n'


no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return path


def line(storage: Path, space: Path, *more: object) -> list[object]:
    return ["sweep", "sinusoids", "--storage", storage, "--space", space, *FLAGS, *more]


TYPES: dict[str, Any] = {
    **{"corpus": str, "split": str, "preset": str, "goal": str, "storage": str, "entropy": float},
    **{"space": dict, "trials": dict, "best": list, "complete": list, "failed": list},
}
FIGURES: dict[str, Any] = {"trial": int, "elbo": float, "distortion": float, "rate": float, "seconds": float, "settings": dict}
BEST = {**FIGURES, "rate_per_rung": list, "active_units_per_rung": list, "steps": int, "command": str, "run": str}


def test_the_json_and_the_command_that_trains_a_trial_again(textvae: Command, space: Path, tmp_path: Path) -> None:
    storage, runs = tmp_path / "s.journal", tmp_path / "runs"
    ended = textvae(*line(storage, space, "--trials", 3, "--runs", runs, "--json"))
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert {key: type(value) for key, value in found.items()} == TYPES
    assert all({key: type(value) for key, value in one.items()} == FIGURES for one in found["complete"])
    assert all({key: type(value) for key, value in one.items()} == BEST for one in found["best"])
    assert found["trials"] == {"complete": 3, "pruned": 0, "failed": 0, "running": 0, "left": 0} and found["split"] == "valid"
    assert set(found["complete"][0]["settings"]) == {"training.learning_rate", "objective.beta"}
    assert "3 of 3, trial 2: distortion" in ended.err and "left about" in ended.err

    best = found["best"][-1]
    assert best["elbo"] == pytest.approx(-best["distortion"] - best["rate"])
    _, *again = shlex.split(best["command"])
    again[again.index("--out") + 1] = str(tmp_path / "again")
    assert textvae(*again).code == 0
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() == (Path(best["run"]) / "weights.safetensors").read_bytes()


def test_the_table_a_picture_and_going_on(textvae: Command, space: Path, tmp_path: Path) -> None:
    storage, picture = tmp_path / "s.journal", tmp_path / "front.png"
    assert textvae(*line(storage, space, "--trials", 1)).code == 0
    ended = textvae(*line(storage, space, "--trials", 2, "--plot", picture))
    assert ended.code == 0 and "over already: 1 of 2 trials" in ended.err and "1 of 2, trial" not in ended.err
    assert "Pareto front" in ended.out and "(2 complete)" in ended.out and "again: textvae train sinusoids --" in ended.out
    assert picture.read_bytes()[:4] == b"\x89PNG"
    before = storage.read_bytes()
    assert textvae(*line(storage, space, "--trials", 0)).out == ended.out
    assert storage.read_bytes() == before, "looking changes nothing"


def test_storage_and_trials_alone_go_on_with_all_that_was_asked_for(textvae: Command, space: Path, tmp_path: Path) -> None:
    storage, runs, config = tmp_path / "s.journal", tmp_path / "runs", tmp_path / "settings.toml"
    config.write_text("[objective]\nwarmup = 0.2\n")
    first = textvae(*line(storage, space, "--trials", 2, "--goal", "elbo", "--runs", runs, "--seed", 3, "--config", config))
    assert first.code == 0, first.err
    assert textvae("sweep", "--storage", storage, "--trials", 0).out == first.out
    more = textvae("sweep", "--storage", storage, "--trials", 3, "--json")
    assert more.code == 0, more.err
    found = json.loads(more.out)
    assert found["goal"] == "elbo" and found["trials"]["complete"] == 3 and found["corpus"] == "sinusoids"
    assert len(list(runs.iterdir())) == 3 and {one["run"] for one in found["best"]} == {str(run) for run in runs.iterdir()}
    told = textvae("sweep", "sinusoids", "--storage", storage, "--trials", 4).refused()
    assert "holds a sweep of another" in told and "Give --storage and --trials alone to go on with it" in told
    assert "no corpus" in textvae("sweep", "--storage", tmp_path / "new.journal", "--trials", 1).refused()
    assert "another goal" in textvae("sweep", "--storage", storage, "--goal", "front", "--trials", 4).refused()
    space.write_text(SPACE.replace("1e-3", "1e-4"))
    assert "Put back the file that says so" in textvae("sweep", "--storage", storage, "--trials", 4).refused()
    space.unlink()
    assert "space.toml" in textvae("sweep", "--storage", storage, "--trials", 4).refused()


def test_a_sweep_that_names_files_of_its_folder_goes_on_there(
    textvae: Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    (here / "lines.txt").write_bytes(corpus.read_bytes())
    (here / "space.toml").write_text(SPACE)
    monkeypatch.chdir(here)
    begun = textvae("sweep", "lines.txt", "--storage", "s.journal", "--space", "space.toml", "--trials", 1, *TINY, "--steps", 2)
    assert begun.code == 0, begun.err
    monkeypatch.chdir(there)
    assert f"was begun in {here} and names files there" in textvae("sweep", "--storage", here / "s.journal", "--trials", 0).refused()
    monkeypatch.chdir(here)
    assert textvae("sweep", "--storage", "s.journal", "--trials", 0).out == begun.out


def test_a_journal_of_somebody_else_is_told(textvae: Command, tmp_path: Path) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    path = tmp_path / "theirs.journal"
    optuna.create_study(storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))), study_name="theirs")
    assert "none of textvae's" in textvae("sweep", "--storage", path, "--trials", 1).refused()


def test_two_processes_share_the_trials(textvae: Command, space: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s.journal"
    words = command_line(*line(storage, space, "--trials", 5, "--json"))
    pair = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) for _ in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], errors
    found = json.loads(textvae(*line(storage, space, "--trials", 0, "--json")).out)
    assert found["trials"]["complete"] == 5 and sum(found["trials"].values()) == 5
    assert len({str(one["settings"]) for one in found["complete"]}) == 5
    assert sum(error.count(", trial ") for error in errors) == 5, errors


def test_ctrl_c_keeps_what_is_over_and_the_command_goes_on(textvae: Command, space: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s.journal"
    words = line(storage, space, "--trials", 40)
    with subprocess.Popen(
        with_ctrl_c(command_line(*words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stderr is not None
        assert next(told for told in process.stderr if told.startswith("1 of 40"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 1 and out == "" and "Traceback" not in err
    assert err.splitlines()[-1] == f"textvae: interrupted; the trials that are over are kept in {storage}: give the same command to go on"
    found = json.loads(textvae(*line(storage, space, "--trials", 0, "--json")).out)["trials"]
    assert 1 <= found["complete"] < 40 and found["running"] == 0
    after = found["complete"] + 1
    assert json.loads(textvae(*line(storage, space, "--trials", after, "--json")).out)["trials"]["complete"] == after


def test_failures_are_kept_with_their_reason_and_the_sweep_goes_on(textvae: Command, tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text('"model.latent.prior" = { choices = ["mixture", "normal"] }\n"objective.free_bits_per" = { choices = ["channel"] }')
    words = line(tmp_path / "s.journal", space, "--trials", 6, "--objective.free-bits", 1, "--json")
    found = json.loads(textvae(*words).out)
    assert found["trials"]["failed"] + found["trials"]["complete"] == 6 and found["trials"]["failed"] > 0 < found["trials"]["complete"]
    for one in found["failed"]:
        assert one["settings"]["model.latent.prior"] == "mixture" and "mixture prior" in one["reason"]


def test_a_loss_that_is_no_number_fails_every_trial_and_is_told(textvae: Command, tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text('"training.learning_rate" = { low = 1e28, high = 1e30 }')
    ended = textvae(*line(tmp_path / "s.journal", space, "--trials", 2, "--training.clip", 0, "--training.lr-warmup", 0))
    assert ended.code == 2
    assert "none of the 2 trials" in ended.err.splitlines()[-1] and "no longer a number" in ended.err.splitlines()[-1]


def test_memory_that_runs_out_fails_a_trial(textvae: Command, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, calls = trainer.LossOfBatch.forward, []

    def first_fails(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        return forward(*arguments)

    monkeypatch.setattr(trainer.LossOfBatch, "forward", first_fails)
    found = json.loads(textvae(*line(tmp_path / "s.journal", space, "--trials", 2, "--json")).out)
    assert found["trials"]["failed"] == 1 == found["trials"]["complete"]
    assert "memory ran out with batches of 8 lines" in found["failed"][0]["reason"]


def test_trials_that_fall_behind_are_pruned_inside_the_training(textvae: Command, tmp_path: Path) -> None:
    """One learning rate in four learns nothing. Five trials are complete before one is pruned, then none of that rate is."""
    space, runs = tmp_path / "space.toml", tmp_path / "runs"
    space.write_text('"training.learning_rate" = { choices = [0.03, 0.04, 0.05, 1e-9] }')
    words = [*line(tmp_path / "s.journal", space, "--trials", 16, "--goal", "elbo", "--json"), "--training.lr-warmup", 0]
    found = json.loads(textvae(*words, "--runs", runs).out)
    assert found["trials"]["pruned"] >= 1 and found["trials"]["pruned"] + found["trials"]["complete"] == 16
    assert [one["elbo"] for one in found["best"]] == sorted((one["elbo"] for one in found["complete"]), reverse=True)[:5]
    complete = {one["trial"]: one["settings"]["training.learning_rate"] for one in found["complete"]}
    assert all(rate > 1e-9 for number, rate in complete.items() if number >= 5)
    for run in (runs / f"trial-{number:03d}" for number in range(16) if number not in complete):
        assert len((run / "metrics.jsonl").read_text().splitlines()) < 4, "it ended before its last step"


def test_nothing_is_pruned_while_beta_grows(textvae: Command, tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text('"training.learning_rate" = { choices = [0.03, 0.04, 0.05, 1e-9] }')
    words = line(tmp_path / "s.journal", space, "--trials", 10, "--goal", "elbo", "--training.lr-warmup", 0, "--objective.warmup", 1)
    found = json.loads(textvae(*words, "--json").out)
    assert found["trials"]["complete"] == 10 and found["trials"]["pruned"] == 0


def test_runs_of_another_sweep_are_refused_before_anything_is_trained(textvae: Command, space: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert textvae(*line(tmp_path / "s.journal", space, "--trials", 1, "--runs", runs)).code == 0
    for _ in range(2):
        told = textvae(*line(tmp_path / "t.journal", space, "--trials", 1, "--runs", runs)).refused()
        assert told.startswith(f"{runs}: its trial-000 is no run of the sweep in") and told.endswith("give another folder as --runs")
    assert textvae(*line(tmp_path / "t.journal", space, "--trials", 1, "--runs", tmp_path / "others")).code == 0
    assert textvae(*line(tmp_path / "s.journal", space, "--trials", 2, "--runs", runs)).code == 0


def test_looking_at_a_sweep_that_is_not_there_makes_none(textvae: Command, space: Path, tmp_path: Path) -> None:
    assert "there is no sweep to look at" in textvae(*line(tmp_path / "typo.journal", space, "--trials", 0)).refused()
    assert sorted(tmp_path.iterdir()) == [space]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--preset", "rn"], "there is no preset 'rn'"),
        (["--model.architecture", "lm"], "unknown setting model.hidden"),
        (["--objective.alpha", "1"], "no auxiliary head"),
        (["--training.devices", "2"], "a trial trains in one process"),
        pytest.param(["--training.graphs"], "this run is on the CPU", marks=no_gpu),
        (["--plot", "picture.gif"], "a figure's file ends in .png"),
        (["--trials", "-1"], "--trials"),
        (["--space", "none.toml"], "none.toml: the config file cannot be read"),
    ],
)
def test_mistakes_in_what_every_trial_has_stop_at_once(textvae: Command, tmp_path: Path, more: list[str], told: str) -> None:
    storage = tmp_path / "s.journal"
    before = [] if "--trials" in more else ["--trials", "2"]
    assert told in textvae("sweep", "sinusoids", "--storage", storage, *before, *FLAGS, *more).refused()
    assert not storage.exists()


def test_a_missing_corpus_stops_at_once(textvae: Command, tmp_path: Path) -> None:
    assert "sinusoid" in textvae("sweep", "sinusoid", "--storage", tmp_path / "s.journal", "--trials", 2, *TINY).refused()


def test_the_command_of_a_trial_can_be_typed_whatever_the_base_was_given() -> None:
    base = Base(corpus="my words.txt", preset="rnn", flags={"training": {"minutes": 1.0, "graphs": True}, "corpus": {"column": "a b"}})
    told = base.command({"training.steps": 100, "model.latent.channels": 8}, "RUN")
    assert told == (
        "textvae train 'my words.txt' --preset rnn --training.graphs=True --training.steps 100 --corpus.column 'a b' "
        "--model.latent.channels 8 --out RUN"
    )


def test_every_flag_of_the_base_is_in_the_command(textvae: Command, space: Path, tmp_path: Path) -> None:
    found = json.loads(textvae(*line(tmp_path / "s.journal", space, "--trials", 1, "--json")).out)
    words = shlex.split(found["best"][0]["command"])
    for name, value in SETTINGS.items():
        assert words[words.index(f"--{name.replace('_', '-')}") + 1] == str(value)
