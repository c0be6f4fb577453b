"""Commands that are typed wrong: one line, exit code 2, and what was probably meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from textvae.architectures import architectures
from textvae.config import TrainingSettings
from textvae.settings import RunSettings, resolve
from textvae.training.run_folder import RUN_FILES

from .conftest import TINY, Command, environment


@pytest.mark.parametrize(
    ("typed_in", "told"),
    [
        (["sampel", "r"], 'Did you mean "sample"?'),
        (["sample"], "RUN is missing, or has no value"),
        (["sample", "r", "--tempreature", "1"], "Did you mean --temperature?"),
        (["sample", "r", "-n", "few"], "-n"),
        (["evaluate", "r", "--split", "tset"], 'Did you mean "test"?'),
        (["sample", "r", "--seed", "-1"], "--seed"),
        (["train", "sinusoids"], "--out is missing, or has no value"),
        (["train", "sinusoids", "--out", "x", "--training.bacth", "8"], "Did you mean --training.batch?"),
        (["train", "sinusoids", "--out", "x", "--training.batch", "0"], "training.batch is 0: must be at least 1"),
        (["train", "sinusoids", "--out", "x", "--preset", "rnn", "--model.dropout", "1.5"], "model.dropout is 1.5: must be a share"),
        (["train", "sinusoids", "--out", "x", "--preset", "hybird"], "Did you mean 'hybrid'?"),
        (["train", "sinusoids", "--out", "x", "--model.architecture", "hybird"], 'Did you mean "hybrid"?'),
        (["train", "sinusoids", "--out", "x", "--steps", "5", "--minutes", "1"], "steps and minutes are both given: give one"),
        (["train", "sinusoids", "--out", "x", "--preset", "cnn", "--model.hidden", "5"], "Only rnn have it"),
        (["train", "sinusoids", "--out", "x", "--config", "none.toml"], "none.toml"),
        (["train", "--resume", "--out", "no-run"], "no-run holds no run to go on with: leave out --resume"),
        (["presets", "show", "hybird"], "Did you mean 'hybrid'?"),
        (["presets", "show"], "needs a name"),
        (["presets", "list", "rnn"], "textvae presets list takes no name: textvae presets show rnn"),
        (["corpora", "list", "messages"], "textvae corpora list takes no name: textvae corpora show messages"),
        (["corpora", "list", "--column", "text"], "leave out corpus.column"),
        (["corpora", "show", "sinusoids", "--corpus.vocabulary", "1"], "corpus.vocabulary is 1: must be at least 3"),
        (["train", "hybrid", "two names.txt", "--out", "x"], "'two names.txt': more than `textvae train` takes"),
        (["reconstruct", "r"], "give one of the two"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    textvae: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed_in: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in textvae(*typed_in).refused()
    assert list(tmp_path.iterdir()) == []


def test_a_process_ends_with_the_code_and_without_a_traceback(typed: Command) -> None:
    ended = typed("train", "sinusoids", "--out", "x", "--steps", 5, "--epochs", 1)
    assert ended.refused() == "training.steps and epochs are both given: give one"
    assert ended.out == ""


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--temperature", "-1"], '"-1.0" for --temperature. Must be >= 0'),
        (["--top-k", "0"], '"0" for --top-k. Must be >= 1'),
        (["--top-p", "1.5"], '"1.5" for --top-p. Must be <= 1'),
        (["--beams", "0"], '"0" for --beams. Must be >= 1'),
        (["--beams", "2", "--temperature", "0.5"], "leave out temperature"),
        (["-n", "-1"], '"-1" for -n. Must be >= 0'),
    ],
)
def test_ways_of_sampling_that_make_no_sense(textvae: Command, run: Path, flags: list[str], told: str) -> None:
    assert told in textvae("sample", run, *flags).refused()


def test_a_column_is_that_of_a_corpus(textvae: Command, run: Path) -> None:
    assert "column is 'text', but no corpus is named" in textvae("evaluate", run, "--column", "text").refused()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused(textvae: Command, run: Path, corpus: Path) -> None:
    for command in (("sample", run), ("evaluate", run), ("score", run, corpus), ("reconstruct", run, "oak")):
        assert "device is 'cuda', but torch sees no GPU here" in textvae(*command, "--device", "cuda").refused()


def test_numbers_that_make_no_sense(textvae: Command, run: Path, corpus: Path) -> None:
    assert '"0" for --importance-samples. Must be >= 1' in textvae("evaluate", run, "--importance-samples", 0).refused()
    assert '"0" for --importance-samples. Must be >= 1' in textvae("score", run, corpus, "--importance-samples", 0).refused()
    assert '"1" for --steps. Must be >= 2' in textvae("interpolate", run, "oak", "elm", "--steps", 1).refused()


@pytest.mark.parametrize("preset", ["best/toy/rnn-dense", "study/tweets/hybrid-dense"])
def test_a_short_budget_takes_the_place_of_the_presets(
    textvae: Command, corpus: Path, tmp_path: Path, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TrainingSettings] = []

    def start(settings: RunSettings, *_: object) -> bool:
        seen.append(settings.training)
        return False

    monkeypatch.setattr("textvae.training.session.start", start)
    assert textvae("train", corpus, "--out", tmp_path / "r", "--preset", preset, "--minutes", 2).code == 1  # "stopped"
    assert (seen[0].steps, seen[0].epochs, seen[0].minutes) == (None, None, 2.0)


def test_a_folder_that_holds_a_run_is_not_overwritten(textvae: Command, run: Path, corpus: Path) -> None:
    before = (run / "weights.safetensors").read_bytes()
    assert "already holds a run: go on with it by --resume" in textvae("train", corpus, "--out", run, *TINY).refused()
    assert "is a file, not a folder" in textvae("train", corpus, "--out", corpus, *TINY).refused()
    assert "leave out" in textvae("train", "--resume", "--out", run, "--steps", 5).refused()
    assert (run / "weights.safetensors").read_bytes() == before


@pytest.mark.parametrize("name", [name for name in RUN_FILES if name != "config.json"])
def test_a_file_of_the_users_own_is_not_overwritten(
    textvae: Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("mine")
    told = textvae("train", corpus, "--out", ".", *TINY).refused()
    assert name in told and "choose another" in told and "--out" in told
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"


def test_a_folder_may_hold_other_files(textvae: Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    expected = ". holds a README.md that is no run's: choose another folder with --out"
    assert textvae("train", corpus, "--out", ".", *TINY).refused() == expected
    (tmp_path / "README.md").rename(tmp_path / "notes.md")
    assert textvae("train", corpus, "--out", ".", "--steps", 1, *TINY).code == 0
    assert (tmp_path / "notes.md").read_text() == "mine"


def test_latents_are_kept_in_two_formats_only(textvae: Command, run: Path, corpus: Path, tmp_path: Path) -> None:
    assert "ends in .npy or .parquet" in textvae("encode", run, corpus, "--out", tmp_path / "z.csv").refused()
    assert "ends in .npy or .parquet" in textvae("decode", run, tmp_path / "z.csv").refused()
    assert "does not exist" in textvae("decode", run, tmp_path / "z.npy").refused()
    assert "cannot be written" in textvae("encode", run, corpus, "--out", corpus / "z.npy").refused()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine.npy").write_bytes(b"mine")
    assert "mine.npy is there already" in textvae("encode", run, corpus, "--out", tmp_path / "mine.npy").refused()
    assert (tmp_path / "mine.npy").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("vectors", "told"),
    [
        (np.zeros((2, 4), dtype=np.float32), "this model takes (N, 3)"),
        (np.zeros(3), "numbers of shape (N, D)"),
        (np.zeros((2, 3, 1)), "numbers of shape (N, D)"),
        (np.array([["a", "b", "c"]]), "numbers of shape (N, D)"),
        (np.zeros((2, 3), dtype=complex), "numbers of shape (N, D)"),
        (np.full((2, 3), np.nan), "not finite"),
    ],
)
def test_latents_of_another_shape_or_kind_are_refused(textvae: Command, run: Path, tmp_path: Path, vectors: np.ndarray, told: str) -> None:
    np.save(tmp_path / "z.npy", vectors)
    assert told in textvae("decode", run, tmp_path / "z.npy").refused()


def test_latents_that_are_no_whole_file_or_would_need_pickle_are_refused(textvae: Command, run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([[{}, {}, {}]]), allow_pickle=True)
    np.save(tmp_path / "cut.npy", np.zeros((9, 3)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-20])
    (tmp_path / "text.npy").write_text("no vectors")
    with open(tmp_path / "several.npy", "wb") as file:
        np.savez(file, a=np.zeros((2, 3)))
    (tmp_path / "text.parquet").write_text("no vectors")
    for name in ("objects.npy", "cut.npy", "text.npy", "several.npy", "text.parquet"):
        assert name in textvae("decode", run, tmp_path / name).refused()


def test_a_model_without_a_latent_has_nothing_to_encode_into_or_walk_through(textvae: Command, corpus: Path, tmp_path: Path) -> None:
    small = ("--model.decoder.hidden", 4, "--model.decoder.embedding", 4, "--training.batch", 4, "--training.device", "cpu")
    assert textvae("train", corpus, "--preset", "lm", "--steps", 1, "--out", tmp_path / "lm", *small).code == 0
    for name in ("z.npy", "z.parquet"):
        told = textvae("encode", tmp_path / "lm", corpus, "--out", tmp_path / name).refused()
        assert "has no latent" in told and not (tmp_path / name).exists()
    assert "has no latent" in textvae("interpolate", tmp_path / "lm", "oak", "elm").refused()
    assert "has no latent" in textvae("reconstruct", tmp_path / "lm", "oak").refused()


def test_parquet_without_vectors_is_refused(textvae: Command, run: Path, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for name, column in {"other": {"text": ["a"]}, "numbers": {"z": [1.0]}, "uneven": {"z": [[1.0, 2.0, 3.0], [1.0]]}}.items():
        parquet.write_table(arrow.table(column), tmp_path / f"{name}.parquet")
        assert f"{name}.parquet" in textvae("decode", run, tmp_path / f"{name}.parquet").refused()


def test_parquet_without_its_package_says_what_to_install(
    textvae: Command, run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "z.parquet").touch()
    for command in (("encode", run, corpus, "--out", tmp_path / "new.parquet"), ("decode", run, tmp_path / "z.parquet")):
        assert "unlike .npy, needs a package that is not installed (pyarrow); install the extra" in textvae(*command).refused()


def test_help_names_every_architecture_and_setting(textvae: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = textvae("train", "--help").out
    assert all(name in shown for name in architectures())
    assert all(flag in shown for flag in ("--training.learning-rate", "--model.latent.channels", "--objective.free-bits", "--minutes"))
    assert f"Largest learning rate. [default: {resolve('default').training.learning_rate}]" in shown


def test_help_and_version_come_without_torch() -> None:
    lines = [["--help"], ["--version"], ["presets"], ["corpora"]]
    code = f"import sys; from textvae.cli import main; [main(line) for line in {lines}]; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert ended.returncode == 0 and ended.stderr == ""
    assert ended.stdout.splitlines()[-1] == "False" and "reconstruct" in ended.stdout and "\n0." in ended.stdout
