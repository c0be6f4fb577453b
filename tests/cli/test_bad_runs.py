"""Runs that are damaged, foreign, or no runs at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Command


def edited(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["cut", "rubbish", "nothing", "gone"])
def test_a_damaged_file_is_named(textvae: Command, copied: Path, name: str, content: str) -> None:
    path = copied / name
    if content == "gone":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[: len(whole) // 2], "rubbish": b"\xff\x00 rubbish" * 9, "nothing": b""}[content])
    told = textvae("sample", copied).refused()
    assert name in told and str(copied) in told


@pytest.mark.parametrize("content", ["cut", "rubbish", "nothing"])
def test_a_damaged_training_state_is_named_and_the_model_still_works(textvae: Command, copied: Path, content: str) -> None:
    path = copied / "training.safetensors"
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-100], "rubbish": b"rubbish" * 9, "nothing": b""}[content])
    assert "training.safetensors is damaged or cut short" in textvae("train", "--resume", "--out", copied).refused()
    assert textvae("sample", copied, "-n", 1).code == 0


def test_weights_of_another_model(textvae: Command, copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["model"]["hidden"] = 9
    edited(copied / "config.json", model=config["model"])
    assert "weights.safetensors does not fit config.json" in textvae("sample", copied).refused()
    assert "training.safetensors does not fit" in textvae("train", "--resume", "--out", copied).refused()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"schema": 99}, "has schema 99, this textvae reads up to 1: install a newer textvae"),
        ({"schema": None}, "config.json is damaged (schema is None)"),
        ({"vocabulary_size": 9}, "config.json 9: they are of two runs"),
        ({"max_length": "long"}, "config.json is damaged"),
        ({"model": {"architecture": "from-the-future"}}, "names the architecture 'from-the-future', whose file is not here"),
        ({"training": {"batch": "many"}}, "training.batch is 'many'"),
    ],
)
def test_a_config_that_this_version_cannot_read(textvae: Command, copied: Path, values: dict[str, Any], told: str) -> None:
    edited(copied / "config.json", **values)
    for command in (("sample", copied), ("train", "--resume", "--out", copied)):
        line = textvae(*command).refused()
        assert told in line and "config.json" in line


def test_a_tokenizer_of_no_known_kind(textvae: Command, copied: Path) -> None:
    edited(copied / "tokenizer.json", kind="runes")
    assert "tokenizer.json is damaged" in textvae("sample", copied).refused()


def test_what_is_no_run(textvae: Command, corpus: Path, tmp_path: Path) -> None:
    assert "does not exist" in textvae("sample", tmp_path / "none").refused()
    assert "is not a run, it has no config.json" in textvae("sample", tmp_path).refused()
    assert str(corpus) in textvae("sample", corpus).refused()


def test_a_line_of_metrics_that_a_crash_cut_short_does_no_harm(textvae: Command, copied: Path) -> None:
    with open(copied / "metrics.jsonl", "a") as file:
        file.write('{"step": 4')
    ended = textvae("train", "--resume", "--out", copied)
    assert ended.code == 0 and "is done already" in ended.err
    assert [json.loads(line)["step"] for line in (copied / "metrics.jsonl").read_text().splitlines()] == [20, 40]


def test_a_run_goes_on_with_its_own_corpus_only(textvae: Command, copied: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("oak elm\nash fir\n")
    config = json.loads((copied / "config.json").read_text())
    edited(copied / "config.json", corpus=config["corpus"] | {"path": str(tmp_path / "other.txt")})
    assert "are not those the run began with" in textvae("train", "--resume", "--out", copied).refused()
    edited(copied / "config.json", corpus=config["corpus"] | {"path": str(tmp_path / "gone.txt")})
    assert "gone.txt, which is not here: name the corpus" in textvae("evaluate", copied).refused()


def test_a_run_that_is_done_is_left_as_it_is_but_for_what_a_kill_left_out(textvae: Command, copied: Path) -> None:
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    ended = textvae("train", "--resume", "--out", copied)
    assert ended.code == 0 and "is done already" in ended.err and "training on" not in ended.err and "done: " not in ended.err
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    (copied / "README.md").unlink()
    assert textvae("train", "--resume", "--out", copied).code == 0
    assert "## Measured on valid" in (copied / "README.md").read_text()


def test_a_run_where_lines_belong(textvae: Command, copied: Path, corpus: Path) -> None:
    assert f"{copied} is a folder, not a file of lines: name a file (after a run's folder" in textvae("score", corpus, copied).refused()


def test_a_name_that_is_too_long_is_told(textvae: Command, run: Path, tmp_path: Path) -> None:
    long = tmp_path / ("n" * 300 + ".npy")
    for command in (("sample", long), ("train", run, "--out", long), ("encode", run, "oak", "--out", long)):
        assert "the name is longer than the system allows" in textvae(*command).refused()
