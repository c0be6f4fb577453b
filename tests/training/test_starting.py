"""Training that starts from another run's weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import textvae
from textvae.errors import ConfigError, RunError
from textvae.settings import to_dict
from textvae.training import session
from textvae.training.checkpoint import read_tensors
from textvae.training.run_folder import RunFolder
from textvae.training.starting import run_settings


@pytest.fixture
def first(settings: Any, tmp_path: Path) -> Path:
    """A trained run."""
    session.start(settings("rnn"), tmp_path / "first")
    return tmp_path / "first"


def test_it_starts_where_the_other_run_ended(first: Path, settings: Any, metrics: Any, recorder: Any, tmp_path: Path) -> None:
    session.start(settings("rnn", training={"start_from": str(first)}), tmp_path / "second", [recorder])
    kept = min(metrics(first), key=lambda record: record["valid"]["loss"])
    start, *_ = metrics(tmp_path / "second")
    assert start["step"] == 0 and start["train"] is None
    assert start["valid"]["elbo"] == pytest.approx(kept["valid"]["elbo"]) and start["valid"]["loss"] == pytest.approx(kept["valid"]["loss"])
    assert recorder.all("ready")[0].start_from == str(first)
    assert RunFolder(tmp_path / "second").load()[0].settings.training.start_from == str(first)
    assert f"Started from the weights of `{first.name}`" in (tmp_path / "second" / "README.md").read_text()


def test_what_only_gets_worse_keeps_the_weights_it_started_with(first: Path, settings: Any, recorder: Any, tmp_path: Path) -> None:
    session.start(settings("rnn", training={"start_from": str(first), "learning_rate": 3.0}), tmp_path / "second", [recorder])
    assert recorder.all("end")[0].kept_step == 0
    before, after = (read_tensors(run / "weights.safetensors")[0] for run in (first, tmp_path / "second"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_other_lines_are_read_at_the_other_runs_length_and_their_new_characters_are_learned(
    first: Path, settings: Any, recorder: Any, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("\n".join(["abzx", "fed", "aaaabbbbcccc", "bad"] * 5))
    session.start(settings("rnn", corpus={"path": str(other)}, training={"start_from": str(first)}), tmp_path / "second", [recorder])
    vae, before = textvae.load(tmp_path / "second"), textvae.load(first)
    assert vae.max_length == before.max_length == 7
    assert vae.tokenizer.to_json()["symbols"] == before.tokenizer.to_json()["symbols"] + "xz"
    told = "2 characters that the run in training.start_from does not know are learned from the beginning ('x', 'z')"
    assert told in recorder.all("warning")
    assert vae.reconstructions(["abzx"])[0].input == "abzx"


@pytest.mark.parametrize("family", ["rnn", "cnn", "hybrid", "ladder-cnn", "lm"])
def test_with_new_characters_the_old_ones_keep_their_weights(settings: Any, metrics: Any, tmp_path: Path, family: str) -> None:
    """At step 0 each family's own lines cost what they did, but for the share of probability that the new characters take."""
    session.start(settings(family), tmp_path / "first")
    other = tmp_path / "other.txt"
    other.write_text("\n".join(["abzx", "fed", "bad", "cab"] * 5))
    frozen = {"start_from": str(tmp_path / "first"), "steps": 1, "learning_rate": 1e-12, "keep": "last"}
    session.start(settings(family, corpus={"path": str(other)}, training=frozen), tmp_path / "second")
    before, after = (read_tensors(tmp_path / run / "weights.safetensors")[0] for run in ("first", "second"))
    grown = [name for name in before if before[name].shape != after[name].shape]
    assert grown and all(len(after[name]) == len(before[name]) + 2 for name in grown)
    for name in (name for name in before if before[name].is_floating_point() and "running" not in name):
        assert torch.allclose(before[name], after[name][: len(before[name])] if before[name].dim() else after[name], atol=1e-6)


def test_too_long_a_line_is_told_without_advice_that_would_be_refused(first: Path, settings: Any, recorder: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("\n".join(["fed", "aaaabbbbcccc", "bad"] * 5))
    session.start(settings("rnn", corpus={"path": str(other)}, training={"start_from": str(first)}), tmp_path / "second", [recorder])
    told = "; ".join(recorder.all("warning"))
    assert "longer than 7 tokens, all that the model reads" in told and "corpus.max_length" not in told


def test_the_other_runs_settings_lie_under_all_others(first: Path, tmp_path: Path) -> None:
    before = RunFolder(first).load()[0].settings
    start = {"training": {"start_from": str(first)}}
    for found in (run_settings(flags={**start, "model": {"decoder": {"dropout": 0.1}}}), run_settings(None, toml(tmp_path, first))):
        assert found.model.hidden == before.model.hidden and found.model.decoder.dropout == 0.1
        assert found.corpus == before.corpus and found.training.batch == before.training.batch
        assert found.training.seed == before.training.seed + 1, "order, noise and draws are new ones"
        assert found.training.evaluate_every is None
    assert run_settings(flags={"training": {"start_from": str(first), "seed": 7}}).training.seed == 7
    assert run_settings("rnn", flags=start).model.hidden != before.model.hidden, "a preset that is named lies over them"


def toml(tmp_path: Path, first: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(f"[training]\nstart_from = {json.dumps(str(first))}\n[model.decoder]\ndropout = 0.1\n")
    return path


def test_another_corpus_leaves_the_column_behind(first: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("text\n" + "\n".join(["abc", "fed", "bad", "cab"] * 5))
    flags = {"corpus": {"path": str(table), "column": "text"}, "training": {"start_from": str(first), "steps": 2}}
    session.start(run_settings(flags=flags), tmp_path / "second")
    flags = {"corpus": {"path": str(tmp_path / "plain.txt")}, "training": {"start_from": str(tmp_path / "second")}}
    found = run_settings(flags=flags).corpus
    assert found.column is None and found.path.endswith("plain.txt")
    same = run_settings(flags={"training": {"start_from": str(tmp_path / "second")}}).corpus
    assert (same.column, same.path) == ("text", str(table))


def test_the_same_corpus_named_again_is_split_and_drawn_as_before(first: Path, settings: Any, tmp_path: Path) -> None:
    few = settings("rnn", corpus={"path": "messages", "draws": 40, "held_out_draws": 10})
    session.start(few, tmp_path / "drawn")
    start = {"training": {"start_from": str(tmp_path / "drawn")}}
    for named in ({}, {"path": "messages"}):
        assert run_settings(flags={**start, "corpus": named}).corpus == few.corpus
    assert run_settings(flags={**start, "corpus": {"path": "sinusoids"}}).corpus.draws != 40
    before = RunFolder(first).load()[0].settings.corpus
    again = run_settings(flags={"corpus": {"path": f"{before.path}/../corpus"}, "training": {"start_from": str(first)}}).corpus
    assert again.long_lines == before.long_lines and again.draws == before.draws


def test_once_begun_a_run_stands_by_itself(first: Path, settings: Any, compare: Any, stop_at: Any, tmp_path: Path) -> None:
    chosen = settings("rnn", training={"start_from": str(first)})
    session.start(chosen, tmp_path / "whole")
    session.start(chosen, tmp_path / "stopped", [stop_at(2)])
    shutil.rmtree(first)
    assert session.resume(tmp_path / "stopped")
    assert compare(tmp_path / "whole", tmp_path / "stopped") == []


def test_a_run_that_never_had_the_weights_is_not_gone_on_with(first: Path, settings: Any, tmp_path: Path) -> None:
    session.start(settings("rnn", training={"start_from": str(first)}), tmp_path / "second")
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(tmp_path / "second" / name, killed / name)
    with pytest.raises(RunError, match="before it had taken the weights"):
        session.resume(killed)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {"decoder": {"hidden": 9, "dropout": 0.1}}}, r"do not fit: model\.decoder\.hidden is 9 here and 8 there; leave"),
        ({"corpus": {"tokenizer": "bytes"}}, "corpus.tokenizer is bytes"),
        ({"corpus": {"vocabulary": 3}}, "corpus.vocabulary is 3"),
        ({"corpus": {"max_length": 20}}, "corpus.max_length is 20, but the run in training.start_from has 7: leave it out"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(
    changes: dict[str, Any], told: str, first: Path, settings: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        session.start(settings("rnn", **changes, training={"start_from": str(first)}), tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_another_architecture_is_told(first: Path, settings: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="architecture is cnn here and rnn there; leave"):
        session.start(settings("cnn", training={"start_from": str(first)}), tmp_path / "second")


def test_damaged_weights_are_told_as_such(first: Path, settings: Any, tmp_path: Path) -> None:
    (first / "weights.safetensors").write_bytes(b"cut short")
    with pytest.raises(RunError, match=r"training\.start_from: .* damaged"):
        session.start(settings("rnn", model={"decoder": {"dropout": 0.1}}, training={"start_from": str(first)}), tmp_path / "second")


def test_a_run_whose_preset_is_gone_can_be_started_from(first: Path) -> None:
    config = json.loads((first / "config.json").read_text())
    (first / "config.json").write_text(json.dumps(config | {"preset": "gone"}))
    assert to_dict(run_settings(flags={"training": {"start_from": str(first)}}))["preset"] == "gone"


@pytest.mark.parametrize(("name", "told"), [("nowhere/at/all", "training.start_from: .* does not exist"), ("", "is empty"), (5, "is 5")])
def test_a_name_that_is_no_runs_is_told(name: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises((RunError, ConfigError), match=told):
        textvae.train("messages", out=tmp_path / "second", training={"start_from": name})
