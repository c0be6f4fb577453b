"""A run that was stopped or killed goes on to the very weights and numbers of one that was not."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import pytest
import torch

import textvae
from textvae.errors import RunError
from textvae.nn.kernel.compiling import SWITCH, kernel
from textvae.training import session
from textvae.training.hooks import Hook, StepRecord
from textvae.training.run_folder import RunFolder

Compare = Callable[[Path, Path], list[str]]

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "dropout, word dropout and averages": (
        "rnn",
        {"model": {"dropout": 0.2, "decoder": {"dropout": 0.2, "word_dropout": 0.3}}, "training": {"average": 0.9}},
    ),
    "batch normalisation and averages": ("ladder", {"training": {"average": 0.8}}),
    "plateau": ("cnn", {"training": {"decay": "plateau", "learning_rate": 0.3, "evaluate_every": 2}}),
    "mixture and auxiliary head": (
        "hybrid",
        {"model": {"latent": {"prior": "mixture", "components": 3, "shape": "map"}}, "objective": {"alpha": 0.3, "schedule": "sigmoid"}},
    ),
    "self-fed": (
        "rnn",
        {"model": {"decoder": {"feeding": "self", "cell": "gru"}}, "training": {"optimizer": "adam", "weight_decay": 0.01}},
    ),
    "no latent, the last weights": ("lm", {"training": {"keep": "last", "clip": 0.0}}),
    "fresh draws every epoch": (
        "ladder-cnn",
        {
            "corpus": {"path": "sinusoids", "draws": 30, "held_out_draws": 10},
            "objective": {"schedule": "cyclical", "free_bits": 0.1},
            "training": {"decay": "linear"},
        },
    ),
}
every_run = pytest.mark.parametrize(("architecture", "parts"), RUNS.values(), ids=RUNS)


class Killed(Exception):
    """Stands for the power that goes off."""


@pytest.mark.filterwarnings("ignore:.* tweets kept")
def test_tweets_that_were_selected_by_their_length_are_the_same_lines_again(
    settings: Any, compare: Any, stop_at: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longest tweets are chosen in characters, the model's longest line is counted in words."""
    words = ["good", "sad", "day", "rain", "love", "song", "tired"]
    texts = [" ".join(words[(i * j) % 7] for j in range(1, 2 + i % 13)) for i in range(200)]
    with open(tmp_path / "tweets.csv", "w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(("0", i, "date", "NO_QUERY", "user", text) for i, text in enumerate(texts))
    monkeypatch.setenv("TEXTVAE_SENTIMENT140", str(tmp_path / "tweets.csv"))
    chosen = settings("lm", corpus={"path": "sentiment140", "tokenizer": "words"})
    session.start(chosen, tmp_path / "whole")
    session.start(chosen, tmp_path / "stopped", [stop_at(2)])
    assert session.resume(tmp_path / "stopped")
    assert compare(tmp_path / "whole", tmp_path / "stopped") == []
    vae = textvae.load(tmp_path / "whole")
    lines = vae.prepared().lines["train"]
    assert len(lines) < 190 and vae.evaluate(split="train", importance_samples=1).sequences == len(lines)


@final
class KillAt(Hook):
    """Kills the run once an event has been told a number of times."""

    def __init__(self, event: str, times: int) -> None:
        self.event, self.left = event, times

    def _told(self, event: str) -> None:
        self.left -= event == self.event
        if event == self.event and self.left == 0:
            raise Killed

    def on_step(self, record: StepRecord) -> None:
        self._told("step")

    def on_evaluation(self, metrics: dict[str, Any]) -> None:
        self._told("evaluation")

    def on_checkpoint(self, path: Path) -> None:
        self._told("checkpoint")


@every_run
def test_stopped_and_resumed_is_the_same_bit_for_bit(
    architecture: str, parts: dict[str, Any], settings: Any, compare: Compare, recorder: Any, stop_at: Any, tmp_path: Path
) -> None:
    chosen = settings(architecture, **parts)
    assert session.start(chosen, tmp_path / "whole")
    assert not session.start(chosen, tmp_path / "stopped", [stop_at(6), recorder])  # between two evaluations, in the second epoch
    assert recorder.all("interrupt") == [6]
    assert not session.resume(tmp_path / "stopped", [stop_at(9)])
    torch.manual_seed(99)
    assert session.resume(tmp_path / "stopped")
    assert compare(tmp_path / "whole", tmp_path / "stopped") == []


@every_run
def test_killed_and_resumed_is_the_same_bit_for_bit(
    architecture: str, parts: dict[str, Any], settings: Any, compare: Compare, tmp_path: Path
) -> None:
    chosen = settings(architecture, **parts)
    session.start(chosen, tmp_path / "whole")
    with pytest.raises(Killed):
        session.start(chosen, tmp_path / "killed", [KillAt("step", 7)])
    assert session.resume(tmp_path / "killed")
    assert compare(tmp_path / "whole", tmp_path / "killed") == []


def test_where_nothing_was_saved_is_told(settings: Any, recorder: Any, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        session.start(settings("lm"), tmp_path / "run", [KillAt("step", 1)])
    assert session.resume(tmp_path / "run", [recorder])
    assert recorder.all("warning")[0] == "the run was stopped before its first checkpoint: it begins anew"


@pytest.mark.parametrize(("event", "times"), [("step", 1), ("evaluation", 1), ("checkpoint", 1), ("evaluation", 2), ("evaluation", 3)])
def test_killed_at_any_moment_it_goes_on(event: str, times: int, settings: Any, compare: Compare, tmp_path: Path) -> None:
    chosen = settings("ladder", training={"average": 0.8})
    session.start(chosen, tmp_path / "whole")
    with pytest.raises(Killed):
        session.start(chosen, tmp_path / "killed", [KillAt(event, times)])
    assert session.resume(tmp_path / "killed")
    assert compare(tmp_path / "whole", tmp_path / "killed") == []


def test_the_same_seed_gives_the_same_run_and_another_does_not(settings: Any, compare: Compare, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        session.start(settings("rnn", training={"seed": seed}), tmp_path / name)
    assert compare(tmp_path / "a", tmp_path / "b") == []
    assert compare(tmp_path / "a", tmp_path / "c") != []


def test_resuming_a_finished_run_changes_nothing(settings: Any, compare: Compare, recorder: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        session.start(settings("rnn"), tmp_path / name)
    assert session.resume(tmp_path / "b", [recorder])
    assert recorder.all("step") == []
    assert compare(tmp_path / "a", tmp_path / "b") == []


def test_resuming_without_the_kernel_that_a_run_began_with_is_told(
    settings: Any, recorder: Any, stop_at: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not session.start(settings("rnn"), tmp_path / "run", [stop_at(4)])
    began_with = kernel().library is not None
    monkeypatch.setenv(SWITCH, "off")
    assert session.resume(tmp_path / "run", [recorder])
    told = [message for message in recorder.all("warning") if "computed by the compiled kernel" in message]
    assert len(told) == began_with
    assert not began_with or f"{SWITCH}=off" in told[0]


def test_watching_a_run_does_not_move_it(settings: Any, compare: Compare, recorder: Any, tmp_path: Path) -> None:
    """Evaluations have noise of their own: looking more often gives the same weights."""
    session.start(settings("rnn", training={"keep": "last"}), tmp_path / "seldom")
    session.start(settings("rnn", training={"keep": "last", "evaluate_every": 1}), tmp_path / "often", [recorder])
    assert len(recorder.all("evaluation")) == 12
    assert not [told for told in compare(tmp_path / "seldom", tmp_path / "often") if told.startswith("weights")]


def test_another_corpus_is_refused(settings: Any, corpus: Path, stop_at: Any, tmp_path: Path) -> None:
    session.start(settings("rnn"), tmp_path / "run", [stop_at(5)])
    lines = (corpus / "train.txt").read_text().splitlines()
    (corpus / "train.txt").write_text("\n".join(reversed(lines)) + "\n")
    with pytest.raises(RunError, match=r"the training lines of .* are not those the run began with: put the old file back"):
        session.resume(tmp_path / "run")


def test_a_folder_with_a_run_is_not_written_over(settings: Any, tmp_path: Path) -> None:
    session.start(settings("rnn", training={"steps": 1}), tmp_path / "run")
    before = (tmp_path / "run" / "weights.safetensors").read_bytes()
    with pytest.raises(RunError, match="already holds a run: go on with it by --resume"):
        session.start(settings("rnn"), tmp_path / "run")
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file, not a folder"):
        session.start(settings("rnn"), tmp_path / "file")


def test_leftovers_of_a_run_without_a_config_are_not_taken_up(settings: Any, tmp_path: Path) -> None:
    session.start(settings("rnn", training={"steps": 1}), tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    with pytest.raises(RunError, match=r"holds training\.safetensors of a run without its config\.json: remove the folder"):
        session.start(settings("rnn"), tmp_path / "run")


def test_a_tokenizer_that_a_start_left_behind_is_no_obstacle(settings: Any, tmp_path: Path) -> None:
    session.start(settings("rnn", training={"steps": 1}), tmp_path / "run")
    left = (tmp_path / "run" / "tokenizer.json").read_bytes()
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "tokenizer.json").write_bytes(left)
    assert session.start(settings("rnn", training={"steps": 1}), tmp_path / "stopped")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tokenizer.json").write_text('{"mine": true}')
    with pytest.raises(RunError, match=r"holds a tokenizer\.json that is no run's"):
        session.start(settings("rnn"), tmp_path / "other")


def test_a_run_whose_log_is_gone_is_told_before_it_goes_on(settings: Any, tmp_path: Path) -> None:
    session.start(settings("rnn", training={"steps": 4, "evaluate_every": 2}), tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(RunError, match=r"metrics\.jsonl has no line of step \d, whose weights are kept: put the file back"):
        session.resume(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("config.json", "{", r"config\.json is damaged"),
        ("config.json", "[]", r"config\.json is damaged \(it holds no object\)"),
        ("config.json", '{"schema": 99}', "has schema 99, this textvae reads up to 1: install a newer textvae"),
        ("config.json", '{"schema": 1}', r"config\.json is damaged"),
        ("tokenizer.json", None, r"has no tokenizer\.json"),
        ("training.safetensors", "cut", r"training\.safetensors is damaged or cut short"),
    ],
)
def test_a_damaged_run_is_told_in_one_line(name: str, content: str | None, told: str, settings: Any, stop_at: Any, tmp_path: Path) -> None:
    session.start(settings("rnn"), tmp_path / "run", [stop_at(5)])
    path = tmp_path / "run" / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(RunError, match=told) as error:
        session.resume(tmp_path / "run")
    assert "\n" not in str(error.value)


@final
class Meanwhile(Hook):
    """Does something as soon as training stands at its first step."""

    def __init__(self, what: Callable[[], object]) -> None:
        self.what = what

    def on_start(self, steps: int, done: int) -> None:
        self.what()


def test_two_processes_do_not_train_in_one_folder(settings: Any, stop_at: Any, tmp_path: Path) -> None:
    refused = []

    def too(train: Callable[[], object]) -> Callable[[], None]:
        def attempt() -> None:
            with pytest.raises(RunError, match=r"already holds a run|another process is at work in") as error:
                train()
            refused.append(str(error.value))

        return attempt

    first, again = tmp_path / "first", tmp_path / "again"
    session.start(settings("lm"), first, [Meanwhile(too(lambda: session.resume(first)))])
    session.start(settings("lm"), again, [Meanwhile(too(lambda: session.start(settings("lm"), again))), stop_at(5)])
    session.resume(again, [Meanwhile(too(lambda: session.resume(again)))])
    assert ["another process" in told for told in refused] == [True, False, True]


@pytest.mark.parametrize("stop", [3, 5, 99])
def test_a_run_that_lost_its_state_is_not_begun_anew(stop: int, settings: Any, stop_at: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    session.start(settings("rnn", training={"evaluate_every": 2}), run, [stop_at(stop)])
    for name in ("training.safetensors", "training.json"):
        (run / name).unlink()
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(RunError, match=r"has no training\.safetensors to go on from.* train on in another folder with --start-from"):
        session.resume(run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_refused_resume_leaves_the_history_as_it_was(settings: Any, stop_at: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    session.start(settings("rnn", training={"evaluate_every": 1}), run, [stop_at(5)])
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    for damaged in ([*lines[:1], b"null\n", *lines[2:]], lines[:0]):
        (run / "metrics.jsonl").write_bytes(b"".join(damaged))
        with pytest.raises(RunError, match=r"metrics\.jsonl (is damaged in line 2|has no line of step)"):
            session.resume(run)
        assert (run / "metrics.jsonl").read_bytes() == b"".join(damaged)


def test_weights_of_another_model_and_damaged_times_are_told(settings: Any, tmp_path: Path) -> None:
    for name in ("rnn", "cnn"):
        session.start(settings(name, training={"steps": 1}), tmp_path / name)
    (tmp_path / "cnn" / "weights.safetensors").replace(tmp_path / "rnn" / "weights.safetensors")
    folder = RunFolder(tmp_path / "rnn")
    with pytest.raises(RunError, match=r"weights\.safetensors does not fit config\.json") as error:
        folder.load_weights(folder.load()[0].build())
    assert "\n" not in str(error.value)
    assert folder.training_seconds > 0
    for content in ("{", '{"seconds": null}', '{"seconds": "x"}'):
        (tmp_path / "rnn" / "training.json").write_text(content)
        with pytest.raises(RunError, match=r"training\.json is damaged"):
            _ = folder.training_seconds
    with pytest.raises(RunError, match="does not exist: give the folder of a run"):
        session.resume(tmp_path / "nowhere")
