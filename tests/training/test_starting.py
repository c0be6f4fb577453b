"""Training that starts from another run's weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import textvae
from textvae.errors import ConfigError, RunError
from textvae.training import session
from textvae.training.run_folder import RunFolder

Compare = Callable[[Path, Path], list[str]]
STILL = {"learning_rate": 1e-12, "steps": 1, "evaluate_every": 1}
"""A step that moves nothing: what is measured after it is what training started with."""


@pytest.fixture
def first(settings: Any, tmp_path: Path) -> Path:
    """A trained run."""
    session.start(settings("rnn"), tmp_path / "first")
    return tmp_path / "first"


def test_it_starts_where_the_other_run_ended(first: Path, settings: Any, metrics: Any, recorder: Any, tmp_path: Path) -> None:
    session.start(settings("rnn", training={**STILL, "start_from": str(first)}), tmp_path / "second", [recorder])
    kept = min(metrics(first), key=lambda record: record["valid"]["loss"])
    assert metrics(tmp_path / "second")[0]["valid"]["elbo"] == pytest.approx(kept["valid"]["elbo"], abs=1e-4)
    assert recorder.all("ready")[0]["start_from"] == str(first)
    assert RunFolder(tmp_path / "second").load()[0].settings.training.start_from == str(first)


def test_other_lines_are_read_with_the_other_runs_symbols_and_length(first: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("\n".join(["abcx", "fed", "aaaabbbbcccc", "bad"] * 5))
    vae = textvae.train(other, out=tmp_path / "second", training={**STILL, "start_from": str(first)}, hooks=[])
    before = textvae.load(first)
    assert vae.tokenizer.to_json() == before.tokenizer.to_json() and vae.max_length == before.max_length == 7
    assert vae.reconstruct(["abc", "fed"]) == before.reconstruct(["abc", "fed"])


def test_without_a_preset_the_other_runs_settings_are_taken(first: Path, tmp_path: Path) -> None:
    vae = textvae.train(out=tmp_path / "second", training={"steps": 2, "start_from": str(first)}, hooks=[])
    before = textvae.load(first).settings
    assert vae.settings.model == before.model and vae.settings.corpus == before.corpus
    assert vae.settings.training.batch == before.training.batch and vae.settings.training.steps == 2


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_from_the_same_weights_again(
    first: Path, settings: Any, compare: Compare, tmp_path: Path
) -> None:
    session.start(settings("rnn", training={"steps": 4, "start_from": str(first)}), tmp_path / "whole")
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(tmp_path / "whole" / name, killed / name)
    session.resume(killed)
    assert compare(tmp_path / "whole", killed) == []


def test_a_run_that_has_begun_needs_the_other_no_more(first: Path, settings: Any, tmp_path: Path) -> None:
    session.start(settings("rnn", training={"steps": 4, "start_from": str(first)}), tmp_path / "second")
    shutil.rmtree(first)
    assert session.resume(tmp_path / "second")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {"decoder": {"hidden": 9}}}, "model.decoder.hidden is 9 here and 8 there"),
        ({"corpus": {"tokenizer": "bytes"}}, "corpus.tokenizer is bytes"),
        ({"corpus": {"max_length": 20}}, "reads lines of up to 7 tokens: leave it out"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    changes: dict[str, Any], told: str, first: Path, settings: Any, tmp_path: Path
) -> None:
    chosen = settings("rnn", **changes, training={"start_from": str(first)})
    with pytest.raises(ConfigError, match=told):
        session.start(chosen, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_another_architecture_is_told(first: Path, settings: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="architecture is cnn here and rnn there"):
        session.start(settings("cnn", training={"start_from": str(first)}), tmp_path / "second")


def test_dropout_may_differ(first: Path, settings: Any, tmp_path: Path) -> None:
    assert session.start(settings("rnn", model={"decoder": {"dropout": 0.1}}, training={"start_from": str(first)}), tmp_path / "second")


def test_a_run_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        textvae.train("messages", out=tmp_path / "second", training={"start_from": str(tmp_path / "nowhere")})
