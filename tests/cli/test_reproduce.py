"""`textvae reproduce` as a user types it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import Command, command_line, environment, with_ctrl_c

SMOKE = ("reproduce", "table1", "--budget", "smoke", "--rows", "rnn-dense")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory, typed: Command) -> Path:
    """One row at budget smoke."""
    folder = tmp_path_factory.mktemp("smoke")
    assert typed(*SMOKE, "--out", folder).code == 0
    return folder


def test_one_row_and_its_files(smoke: Path, textvae: Command) -> None:
    (row,) = json.loads(textvae(*SMOKE, "--out", smoke, "--json").out)
    assert (row["row"], row["variant"], row["preset"], row["seeds"]) == ("rnn-dense", "elbo", "best/toy/rnn-dense", [0])
    assert row["mean"]["gap"] > 0 and row["mean"]["elbo"] == pytest.approx(-(row["mean"]["distortion"] + row["mean"]["rate"]))
    assert row["printed"]["elbo"] == -32.1391 and row["printed"]["distortion"] == pytest.approx(0.5785 * 16)
    assert row["paper"]["elbo"] == pytest.approx(-row["mean"]["distortion"] / 16 - row["mean"]["rate"])
    record = json.loads((smoke / "results/table1/smoke/rnn-dense-elbo-seed0.json").read_text())
    assert {"schema", "identity", "command", "commits", "machine", "history", "valid", "test"} <= set(record)
    assert (smoke / "table1-smoke.json").exists() and "RNN (DLS)" in (smoke / "table1-smoke.md").read_text()


def test_the_command_of_a_record_trains_the_same_model(smoke: Path, typed: Command, tmp_path: Path) -> None:
    record = json.loads((smoke / "results/table1/smoke/rnn-dense-elbo-seed0.json").read_text())
    command = record["command"].split()
    assert command[0] == "textvae" and command[-2:] == ["--out", "RUN"]
    assert typed(*command[1:-1], tmp_path / "run").code == 0
    (theirs,) = smoke.glob("runs/table1/smoke/*/weights.safetensors")
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == theirs.read_bytes()


def test_interrupted_and_started_again_it_ends_with_the_same_table(smoke: Path, textvae: Command, tmp_path: Path) -> None:
    with subprocess.Popen(
        with_ctrl_c(command_line(*SMOKE, "--out", tmp_path)), stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/table1/smoke/*/metrics.jsonl")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and err.splitlines()[-1] == "textvae: interrupted; the same command goes on"
    assert not list(tmp_path.glob("results/**/*.json"))
    (again,) = json.loads(textvae(*SMOKE, "--out", tmp_path, "--json").out)
    (whole,) = json.loads((smoke / "table1-smoke.json").read_text())["rows"]
    for timed in ("seconds", "commits"):
        again.pop(timed), whole.pop(timed)
    assert again == whole


def test_mistakes(textvae: Command, tmp_path: Path) -> None:
    assert "has no row 'rnn-dens'. Did you mean 'rnn-dense'" in textvae(*SMOKE[:-1], "rnn-dens", "--out", tmp_path).refused()
    assert '"0" for --seeds. Must be >= 1' in textvae(*SMOKE, "--seeds", 0, "--out", tmp_path).refused()
    for what in ("table1", "table3", "figures"):
        told = textvae("reproduce", what, "--budget", "smoke", "--processes", -1, "--out", tmp_path / "none").refused()
        assert '"-1" for --processes. Must be >= 1' in told
    told = textvae(
        "reproduce", "table2", "--budget", "smoke", "--rows", "lm", "--corpus", tmp_path / "nowhere", "--out", tmp_path
    ).refused()
    assert told.startswith(str(tmp_path / "nowhere")) and "is neither a file, a folder, nor a built-in" in told
    assert "holds no results to draw" in textvae("reproduce", "figures", "--out", tmp_path / "empty").refused()
    assert "leave out --seeds" in textvae("reproduce", "figures", "--seeds", 1, "--out", tmp_path).refused()
    assert "leave out --corpus" in textvae("reproduce", "table1", "--corpus", "tweets32", "--out", tmp_path).refused()


def test_figures_are_drawn_of_what_is_there(smoke: Path, textvae: Command) -> None:
    ended = textvae("reproduce", "figures", "--budget", "smoke", "--out", smoke, "--json")
    told = json.loads(ended.out)
    assert ended.code == 0 and all(Path(path).stat().st_size > 1_000 for path in told["pictures"])
    names = {Path(path).stem for path in told["pictures"]}
    assert {"toy-plane-smoke", "table1-learning-smoke", "table1-rate-distortion-smoke", "toy-samples-smoke"} <= names
    assert "textvae reproduce table2" in told["missing"]["tweets-map"]
