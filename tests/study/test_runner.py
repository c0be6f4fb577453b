"""Trainings in processes of their own: done once, gone on with, and told when they fail."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import textvae
from textvae.errors import ConfigError, RunError
from textvae.storage import lock
from textvae.study.jobs import Job
from textvae.study.pages.tables import page
from textvae.study.records import Records
from textvae.study.reproduce import write_page
from textvae.study.runner import Standing, finish
from textvae.study.summaries import MEASURED, summaries
from textvae.study.tables import TABLE1, TABLE2
from textvae.study.worker import complete
from textvae.training.hooks import Hook

TINY = {
    "corpus": {"draws": 64, "held_out_draws": 20},
    "model": {"hidden": 8, "embedding": 4, "decoder": {"hidden": 8, "embedding": 4}},
    "training": {"steps": 6, "batch": 8, "evaluate_every": 2, "precision": "32-true", "device": "cpu"},
}


def job(seed: int = 0, **training: object) -> Job:
    changes = {**TINY, "training": {**TINY["training"], "seed": seed, **training}}
    return Job(
        table="table1",
        budget="smoke",
        row="rnn-dense",
        variant="elbo",
        seed=seed,
        preset="best/toy/rnn-dense",
        changes=changes,
        importance_samples=2,
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two seeds of one row done."""
    folder = tmp_path_factory.mktemp("study")
    assert len(finish([job(0), job(1)], folder)) == 2
    return folder


def test_there_is_a_process_at_least(tmp_path: Path) -> None:
    for processes in (0, -1):
        with pytest.raises(ConfigError, match=f"processes is {processes}"):
            finish([job()], tmp_path, processes)


def test_the_record_of_a_row(study: Path) -> None:
    record = json.loads(Records(study).path(job()).read_text())
    assert record["schema"] == 1 and record["identity"] == job().identity
    assert {"row": "rnn-dense", "variant": "elbo", "seed": 0, "budget": "smoke", "table": "table1"}.items() <= record.items()
    assert record["command"].startswith("textvae train sinusoids --preset best/toy/rnn-dense ")
    assert len(record["commits"]) == 1 and record["mixture"] is None
    assert {"processor", "cores", "threads", "torch", "precision", "kernel"} == set(record["machine"])
    assert [point["step"] for point in record["history"]] == [2, 4, 6] and record["steps"] == 6
    assert set(record["history"][0]) == {"step", "beta", "distortion", "rate", "rate_per_rung"}
    assert record["valid"]["split"] == "valid" and record["test"]["split"] == "test"
    vae = textvae.load(Records(study).run(job()))
    assert record["parameters"] == vae.model.parameter_count
    assert record["test"]["elbo"] == pytest.approx(vae.evaluate(importance_samples=2).elbo, abs=1e-4)


def test_what_is_done_is_not_done_again(study: Path) -> None:
    records = Records(study)
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*")}
    told: list[Standing] = []
    assert [record["seed"] for record in finish([job(1), job(0)], study, progress=told.append)] == [1, 0]
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*")} == before and told == []
    assert records.find(job(0, batch=4)) is None, "other settings are another training"


def test_a_closing_terminal_ends_the_trainings_too(tmp_path: Path) -> None:
    """Hanging up is an interruption: what is under way is saved, and nothing trains on unseen."""
    long = job(0, steps=100_000, evaluate_every=2)
    code = (
        "import json, signal, sys, pathlib\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # whatever the tests run under, nohup for one
        "from textvae.study.jobs import Job\n"
        "from textvae.study.runner import finish\n"
        "finish([Job.from_dict(json.loads(sys.argv[1]))], pathlib.Path(sys.argv[2]))\n"
    )
    words = [sys.executable, "-c", code, json.dumps(long.to_dict()), str(tmp_path)]
    metrics = Records(tmp_path).run(long) / "metrics.jsonl"
    with subprocess.Popen(words, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            deadline = time.monotonic() + 120
            while not metrics.exists():
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGHUP)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert b"holds a checkpoint to resume from" in (tmp_path / "runs/table1/smoke" / f"{long.name}-{long.identity}.log").read_bytes()


def test_a_training_that_was_stopped_goes_on_to_the_same_figures(study: Path, tmp_path: Path) -> None:
    class Stop(Hook):
        def on_evaluation(self, metrics: dict) -> None:
            raise KeyboardInterrupt

    settings = job().settings
    records = Records(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tables = {name: table for name, table in job().changes.items() if name != "corpus"}
        textvae.train(preset=job().preset, out=records.run(job()), corpus_settings=job().changes["corpus"], hooks=[Stop()], **tables)
    assert settings.training.steps == 6 and records.find(job()) is None
    (record,) = finish([job()], tmp_path)
    whole = Records(study).find(job())
    assert whole is not None and record["test"] | {"training_seconds": 0} == whole["test"] | {"training_seconds": 0}


def test_a_training_that_fails_is_told_and_the_others_are_done(tmp_path: Path) -> None:
    broken = job(0)
    broken = replace(broken, row="lost", changes={**broken.changes, "corpus": {"path": str(tmp_path / "nowhere.txt")}})
    with pytest.raises(RunError, match=r"1 of 2 trainings failed: lost-elbo-seed0 \(.*nowhere.txt"):
        finish([broken, job(1)], tmp_path)
    assert Records(tmp_path).find(job(1)) is not None


def test_how_many_threads_a_training_gets_does_not_depend_on_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    finish([job(0), job(1)], tmp_path / "two", processes=2)
    finish([job(0)], tmp_path / "one", processes=2)
    two, one = (Records(tmp_path / name).find(job(0)) for name in ("two", "one"))
    assert two is not None and one is not None and two["machine"]["threads"] == one["machine"]["threads"] == 1


def test_two_processes_do_not_train_one_run(tmp_path: Path) -> None:
    run = Records(tmp_path).run(job())
    run.parent.mkdir(parents=True)
    with open(f"{run}.lock", "w") as held:
        lock(held.fileno())
        with pytest.raises(RunError, match="is being trained by another process"):
            complete(job(), Records(tmp_path))


def test_a_model_that_is_wanted_again_is_trained_and_not_scored_again(study: Path, tmp_path: Path) -> None:
    records = Records(Path(shutil.copytree(study, tmp_path / "study")))
    assert records.has_model(job())
    shutil.rmtree(records.run(job()))
    before = records.path(job()).read_bytes()
    assert not records.has_model(job())
    finish([job()], records.folder, done=records.has_model)
    assert records.has_model(job()) and records.path(job()).read_bytes() == before
    state = records.run(job()) / "training.json"
    state.write_text(state.read_text().replace('"finished": true', '"finished": false'))
    assert not records.has_model(job()), "a model that is half trained"


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    path = Records(tmp_path).path(job())
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        finish([job()], tmp_path)


def test_the_page_of_two_seeds(study: Path) -> None:
    (row,) = write_page(TABLE1, "smoke", study, [job(0), job(1)])
    records = [Records(study).find(job(seed)) for seed in (0, 1)]
    values = [record["test"]["elbo"] for record in records if record]
    assert row.mean["elbo"] == pytest.approx(sum(values) / 2)
    assert row.sd["elbo"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    told = json.loads((study / "table1-smoke.json").read_text())
    assert told["rows"][0]["printed"]["true_elbo"] == pytest.approx(-40.8, abs=0.05)
    text = (study / "table1-smoke.md").read_text()
    assert "RNN (DLS)" in text and "−32.14" in text and f"{row.mean['gap']:.2f} ± {row.sd['gap']:.2f}" in text


def test_less_of_both_than_the_printed_row(study: Path) -> None:
    record = Records(study).find(job())
    assert record is not None
    for distortion, rate, dominates in ((9.2, 3.0, True), (9.3, 3.0, False), (9.2, 0.9, False)):  # printed: 0.5785 * 16 = 9.256
        (row,) = summaries(TABLE1, [{**record, "test": {**record["test"], "distortion": distortion, "rate": rate}}])
        assert row.dominates is dominates


def test_what_the_decoder_without_a_latent_dominates_alone() -> None:
    record = {"row": "lm", "variant": "elbo"}
    measured = dict.fromkeys(MEASURED, 0.0) | {"distortion": 36.8, "elbo": -36.8, "importance_bound": -36.8, "gap": None}
    latent = {"row": "rnn-map", "variant": "elbo"}, measured | {"distortion": 33.0, "rate": 5.0, "elbo": -38.0}
    lm, other = summaries(TABLE2, [_record(record, measured), _record(*latent)])
    text = page(TABLE2, "best", [lm, other], "textvae reproduce table2")
    assert "costs 36.80 nats at rate 0 after 6 steps (in ELBO `rnn-map` is 1.20 behind): alone" in text
    assert "alone it has less of both than Hybrid (DLS), LVAE (5), and more distortion than RNN (FMP)" in text
    assert "| no latent | `lm` elbo | – | – | 6 | 1 | 36.80 | 0.00 | −36.80 |" in text
    assert "On 9 sequences of test" in text and "K 100 samples" in text
    assert "Not trained yet: `lm longer` (seed 0), " in text and "`rnn-map` (seed 1, 2)" in text
    assert "compares with a printed row" not in text
    named = page(TABLE2, "best", [lm, other], "textvae reproduce table2 --corpus names.csv", "names.csv")
    assert "The lines are those of `names.csv`" in named and "nothing here compares with a printed row" in named


def _record(names: dict, measured: dict) -> dict:
    """A record of one row, with what its summary reads."""
    objective = {"beta": 1.0, "free_bits": 0.0, "free_bits_per": "channel"}
    test = {
        **measured,
        "sequences": 9,
        "standard_error": {"elbo": 0.6},
        "rate_per_rung": [],
        "active_units_per_rung": [],
        "reconstruction": {"character_accuracy": 0.1, "exact_match": 0.0},
        "paper": {"elbo": -1.15, "reconstruction": -1.15, "kl": 0.0},
    }
    ran = {"seed": 0, "preset": "best/tweets/lm", "parameters": 10, "steps": 6, "training_seconds": 1.0, "commits": ["abc"]}
    return {**names, **ran, "objective": objective, "valid": {"elbo": test["elbo"]}, "test": test}
