"""The trials of a sweep in their file: taken once each, kept, tried again where a process left them. Nothing is trained here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution

from textvae.config import ObjectiveSettings
from textvae.errors import ConfigError, PackageError
from textvae.settings import resolve
from textvae.study.commands import typed
from textvae.study.sweep.base import Base, checked
from textvae.study.sweep.report import notes
from textvae.study.sweep.search import Found, Sweep
from textvae.study.sweep.space import Goal, Space
from textvae.study.sweep.store import Store, opened
from textvae.study.sweep.trial import Outcome, Pruning, Trial, front, full_beta_from, ranked
from textvae.training.schedules import beta_at

BASE = resolve("rnn")
SPACE: Space = {
    "training.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "model.latent.channels": CategoricalDistribution([8, 16]),
}


def came_to(distortion: float, rate: float) -> Outcome:
    return Outcome(distortion=distortion, rate=rate, rate_per_rung=[rate], active_units_per_rung=[1], steps=4, evaluate_every=1)


def trial(number: int, distortion: float, rate: float) -> Trial:
    outcome = came_to(distortion, rate)
    return Trial(number=number, state="complete", settings={}, outcome=outcome, reason=None, seconds=1.0)


def go_on(path: Path, trials: int, goal: Goal = "front", seed: int = 0) -> list[Trial]:
    """Take every trial that is left, each with a made-up outcome."""
    with opened(path, goal, BASE, SPACE, seed) as store:
        while (one := store.take(trials)) is not None:
            store.complete(one, came_to(10.0 - one.number, 1.0 + one.number))
        return store.trials()


def taken(store: Store, trials: int) -> Any:
    one = store.take(trials)
    assert one is not None
    return one


def tried(trials: list[Trial]) -> list[dict[str, object]]:
    return [one.settings for one in trials if one.state == "complete"]


# ── which are best ──


def test_the_front_of_a_set_worked_by_hand() -> None:
    points = [(9.0, 1.0), (7.0, 2.0), (7.5, 2.0), (8.0, 3.0), (4.0, 5.0), (4.0, 6.0), (9.0, 1.0)]
    trials = [trial(i, *point) for i, point in enumerate(points)]
    # 2 has 1's rate and more distortion, 3 more of both than 1, 5 4's distortion and more rate; 0 and 6 are equal.
    assert [one.number for one in front(trials)] == [0, 6, 1, 4]
    assert [one.number for one in ranked(trials)][:3] == [1, 4, 2]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_a_front_dominates_all_else_and_nothing_of_itself(points: list[tuple[int, int]]) -> None:
    def dominates(one: Trial, other: Trial) -> bool:
        assert one.outcome and other.outcome
        a, b = (one.outcome.distortion, one.outcome.rate), (other.outcome.distortion, other.outcome.rate)
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    trials = [trial(i, *point) for i, point in enumerate(points)]
    best = front(trials)
    inside = {one.number for one in best}
    assert not any(dominates(one, other) for one in best for other in best)
    assert all(any(dominates(one, other) for one in best) for other in trials if other.number not in inside)


def test_a_best_elbo_whose_latent_says_nothing_is_told() -> None:
    def told(goal: Goal, rate: float, preset: str = "rnn") -> list[str]:
        sweep, settings = Sweep(base=Base(preset=preset), storage=Path("s.journal"), goal=goal), resolve(preset)
        trials = (trial(0, 5.0, rate), trial(1, 5.0, 3.0))
        return notes(Found(sweep=sweep, settings=settings, space=SPACE, trials=trials, wanted=2, entropy=None))

    (note,) = told("elbo", 0.05)
    assert note.startswith("the best trial's latent has collapsed (rate 0.05 nats)") and "--goal front" in note
    assert told("elbo", 0.2) == told("front", 0.05) == told("elbo", 0.0, "lm") == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_what_a_machine_lacks_is_told_before_any_trial() -> None:
    small = {"training": {"device": "cuda"}, "corpus": {"draws": 20, "held_out_draws": 5}}
    with pytest.raises(ConfigError, match="torch sees no GPU here"):
        checked(resolve("best/toy/rnn-dense", flags=small))


# ── the file ──


def test_a_sweep_goes_on_to_as_many_as_asked_for_and_tries_what_an_unbroken_one_tries(tmp_path: Path) -> None:
    whole = go_on(tmp_path / "whole.journal", 6)
    assert len(go_on(tmp_path / "parts.journal", 2)) == 2
    assert len(go_on(tmp_path / "parts.journal", 2)) == 2
    parts = go_on(tmp_path / "parts.journal", 6)
    assert tried(parts) == tried(whole) and len(whole) == 6
    assert tried(go_on(tmp_path / "other.journal", 6, seed=1)) != tried(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.journal", "parts.journal", "whole.journal"]


def test_the_first_trial_is_the_base_where_the_space_holds_it(tmp_path: Path) -> None:
    first, *_ = go_on(tmp_path / "s.journal", 1)
    base = {"training.learning_rate": BASE.training.learning_rate, "model.latent.channels": typed(BASE.model.latent.channels)}
    assert first.settings == base
    without = {"model.latent.channels": CategoricalDistribution([5, 6])}
    with opened(tmp_path / "t.journal", "front", BASE, without, 0) as store:
        one = taken(store, 1)
        assert store.settings(one)["model.latent.channels"] in (5, 6)


def test_failed_trials_count_and_keep_their_reason(tmp_path: Path) -> None:
    with opened(tmp_path / "s.journal", "front", BASE, SPACE, 0) as store:
        one = taken(store, 1)
        store.fail(one, "memory\nran out")
        assert store.take(1) is None
        (kept,) = store.trials()
    assert (kept.state, kept.reason, kept.counts, kept.outcome) == ("failed", "memory ran out", True, None)


def test_an_interrupted_trial_does_not_count_and_is_tried_again(tmp_path: Path) -> None:
    with opened(tmp_path / "s.journal", "front", BASE, SPACE, 0) as store:
        for _ in range(3):
            one = taken(store, 1)
            store.leave(one)
    trials = go_on(tmp_path / "s.journal", 1)
    assert [one.state for one in trials] == ["left", "left", "left", "complete"]
    assert len({str(one.settings) for one in trials}) == 1


def take_and_die(path: Path) -> None:
    """A process of its own takes a trial and is killed."""
    code = (
        "import os, signal, sys, pathlib\n"
        "from optuna.distributions import CategoricalDistribution, FloatDistribution\n"
        "from textvae.settings import resolve\n"
        "from textvae.study.sweep.store import opened\n"
        "space = {'training.learning_rate': FloatDistribution(1e-4, 1e-2, log=True),"
        " 'model.latent.channels': CategoricalDistribution([8, 16])}\n"
        "with opened(pathlib.Path(sys.argv[1]), 'front', resolve('rnn'), space, 0) as store:\n"
        "    assert store.take(9) is not None\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], timeout=600).returncode == -signal.SIGKILL


def test_the_trial_of_a_killed_process_is_tried_again_but_not_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    take_and_die(path)
    assert len(list((tmp_path / "s.journal.workers").iterdir())) == 1
    take_and_die(path)  # the same settings, again
    trials = go_on(path, 2)
    assert [one.state for one in trials] == ["left", "left", "complete", "complete"]
    assert trials[0].settings == trials[1].settings
    assert trials[2].settings != trials[0].settings, "settings that were twice the end of their process are given up"
    assert not (tmp_path / "s.journal.workers").exists()


def test_settings_that_were_given_up_are_not_suggested_again(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    go_on(path, 1)  # the base; from the next on the sampler chooses
    for _ in range(4):
        take_and_die(path)
    lost = [one.settings for one in go_on(path, 2) if one.state == "left"]
    assert lost[0] == lost[1] != lost[2] == lost[3]


def test_a_trial_under_way_elsewhere_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    with opened(path, "front", BASE, SPACE, 0) as one, opened(path, "front", BASE, SPACE, 0) as other:
        first = taken(one, 2)
        second = taken(other, 2)
        assert first.number != second.number
        assert one.settings(first) != other.settings(second), "processes with one seed try different settings"
        assert one.take(2) is None and other.take(2) is None
        one.complete(first, came_to(5.0, 1.0))
        assert [kept.state for kept in other.trials()] == ["complete", "running"]
        other.complete(second, came_to(4.0, 2.0))


def test_what_a_crash_left_of_a_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    go_on(path, 2)
    with path.open("ab") as file:
        file.write(b'{"op_code":5,"worker_i')
    trials = go_on(path, 4)
    assert [one.state for one in trials] == ["complete"] * 4
    assert all(json.loads(line) for line in path.read_text().splitlines())


@given(
    st.builds(
        ObjectiveSettings,
        beta=st.floats(0.1, 1.0),
        schedule=st.sampled_from(["constant", "linear", "sigmoid", "cyclical"]),
        warmup=st.floats(0, 1),
        cycles=st.integers(1, 5),
    ),
    st.integers(1, 200),
)
def test_beta_has_its_full_weight_from_the_share_that_is_told(objective: ObjectiveSettings, steps: int) -> None:
    share = full_beta_from(objective)
    after = [beta_at(step, steps, objective) for step in range(steps + 1) if step / steps >= share + 1e-9]
    assert after == pytest.approx([objective.beta] * len(after))
    since = (objective.cycles - 1) / objective.cycles if objective.schedule == "cyclical" else 0.0  # a ramp before may be full as well
    before = [step for step in range(steps) if since <= step / steps < share - 1e-9]
    assert not before or beta_at(before[-1], steps, objective) < objective.beta


def pruned_after(store: Store, values: list[float], **objective: Any) -> int | None:
    """A trial whose -ELBO on valid are given, at tenths of its steps; returns the per cent at which it was given up."""
    one = taken(store, 99)
    watch = Pruning(one, ObjectiveSettings(**objective))
    watch.on_start(100, 0)
    for step, value in zip(range(10, 101, 10), values, strict=False):
        try:
            watch.on_evaluation({"step": step, "valid": {"elbo": -value}})
        except optuna.TrialPruned:
            store.prune(one)
            return step
    store.complete(one, came_to(values[-1], 0.0))
    return None


def test_a_trial_that_falls_behind_is_pruned_but_not_before_beta_is_whole(tmp_path: Path) -> None:
    with opened(tmp_path / "s.journal", "elbo", BASE, SPACE, 0) as store:
        fine, bad = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.9, 3.8, 3.7, 3.6], [99.0] * 10
        for _ in range(5):
            assert pruned_after(store, fine) is None
        assert pruned_after(store, bad) == 30
        assert pruned_after(store, bad, warmup=0.55) == 60
        assert pruned_after(store, bad, warmup=1.0) is None
        assert pruned_after(store, bad, schedule="cyclical", warmup=0.5, cycles=4) == 90
        assert pruned_after(store, bad, schedule="constant", warmup=1.0) == 30
        assert pruned_after(store, [99.0, 99.0, *[3.0] * 8]) is None
        assert [one.state for one in store.trials()] == [*["complete"] * 5, "pruned", "pruned", "complete", "pruned", "pruned", "complete"]
        assert ranked(store.trials())[0].number == 10


def test_trials_of_nearly_as_many_steps_are_compared_at_the_same_shares(tmp_path: Path) -> None:
    with opened(tmp_path / "s.journal", "elbo", BASE, SPACE, 0) as store:
        for steps, value in ((1240, 30.0), (1260, 31.0), (1239, 20.0), (1280, 32.0), (1300, 33.0), (1238, 25.0)):
            one, every = taken(store, 99), steps // 20
            watch = Pruning(one, ObjectiveSettings(schedule="constant"))
            watch.on_start(steps, 0)
            for step in (*range(every, steps, every), steps):  # better than five of the six: never pruned
                watch.on_evaluation({"step": step, "valid": {"elbo": -value - 10 * (1 - step / steps)}})
            store.complete(one, came_to(value, 0.0))


@pytest.mark.parametrize("content", [b"oak\nelm\n", b'{"a": 1}\n', b"[1, 2]\n", b"\x00\xff\n", b"3\n"])
def test_a_file_that_is_no_sweep_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"lines\.txt is no sweep, or a damaged one"):
        go_on(path, 1)
    assert path.read_bytes() == content


def test_a_folder_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a sweep cannot be kept there"):
        go_on(tmp_path, 1)


def test_another_sweeps_file_is_refused_by_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "s.journal"
    go_on(path, 1)

    def refused(goal: Goal, flags: dict[str, object], space: Space) -> str:
        with pytest.raises(ConfigError) as error, opened(path, goal, resolve("rnn", flags=flags), space, 0):
            raise AssertionError("opened")
        return str(error.value)

    assert 'holds a sweep of another goal: "front" there, "elbo" here' in refused("elbo", {}, SPACE)
    assert "another training.steps: null there, 7 here" in refused("front", {"training": {"steps": 7}}, SPACE)
    less = {"training.learning_rate": SPACE["training.learning_rate"]}
    assert "another space, model.latent.channels.choices: [8, 16] there, nothing here" in refused("front", {}, less)


def test_an_optuna_study_of_others_is_refused(tmp_path: Path) -> None:
    from optuna.storages.journal import JournalFileBackend

    path = tmp_path / "s.journal"
    optuna.create_study(storage=optuna.storages.JournalStorage(JournalFileBackend(str(path))), study_name="theirs")
    with pytest.raises(ConfigError, match="none of textvae's"):
        go_on(path, 1)


def test_a_missing_optuna_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(PackageError, match=r"pip install '\.\[study\]'"):
        go_on(tmp_path / "s.journal", 1)
    assert os.listdir(tmp_path) == []
