"""What the tables declare: printed figures in one unit, rows and presets that exist, jobs that differ where their settings do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from textvae.architectures import find_architecture
from textvae.errors import ConfigError
from textvae.settings import to_dict
from textvae.study.jobs import Budget, Job
from textvae.study.printed import TABLE_1, TABLE_2
from textvae.study.records import Records
from textvae.study.tables import TABLE1, TABLE2, TABLES, jobs

TRUE_TOY = {
    **{"rnn-dense": -40.8, "cnn-dense": -38.8, "hybrid-dense": -50.6, "rnn-map": -64.1, "cnn-map": -48.5, "hybrid-map": -54.0},
    **{"ladder-3": -41.3, "ladder-cnn-3": -41.1},
}
TRUE_TWEETS = {
    **{"hybrid-dense": -65.0, "rnn-map": -72.6, "cnn-map": -66.2, "hybrid-map": -75.0, "ladder-3": -89.9, "ladder-cnn-3": -66.9},
    **{"ladder-5": -117.0, "ladder-cnn-5": -69.3},
}

every_budget = pytest.mark.parametrize("budget", ["smoke", "paper", "best"])
every_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


@pytest.mark.parametrize(("printed", "true"), [(TABLE_1, TRUE_TOY), (TABLE_2, TRUE_TWEETS)], ids=["toy", "tweets"])
def test_printed_rows_in_nats_a_sequence(printed: dict, true: dict) -> None:
    assert {name: round(row.true_elbo, 1) for name, row in printed.items()} == pytest.approx(true, abs=0.051)


def test_less_of_both_dominates() -> None:
    row = TABLE_2["hybrid-dense"]  # 1.8679 * 32 = 59.77 nats and 5.21 nats
    assert row.dominated_by(distortion=59.7, rate=5.2)
    assert not row.dominated_by(distortion=59.7, rate=5.3)
    assert not row.dominated_by(distortion=59.7, rate=2.9, least_rate=3)
    assert not row.dominated_by(distortion=59.8, rate=5.2)


@every_table
@every_budget
def test_every_job_has_settings_of_its_own(table, budget: Budget) -> None:
    if budget == "paper" and not any(row.printed for row in table.rows):
        return  # nothing of the study's to train
    found = jobs(table, budget)
    assert len({job.identity for job in found}) == len({job.name for job in found}) == len(found)
    assert [job.seed for job in found] == sorted(job.seed for job in found)


def test_every_printed_row_is_trained_at_every_budget() -> None:
    for table, printed in ((TABLE1, TABLE_1), (TABLE2, TABLE_2)):
        assert all(set(printed) <= {job.row for job in jobs(table, budget)} for budget in ("smoke", "paper", "best"))


@pytest.mark.parametrize(("table", "largest", "sizes"), [(TABLE1, 1_060_000, (12, 17)), (TABLE2, 1_800_000, (84, 32))])
def test_every_run_keeps_to_the_studys_largest_model(table, largest: int, sizes: tuple[int, int]) -> None:
    for job in jobs(table, "best"):
        with torch.device("meta"):
            model = find_architecture(job.settings.architecture).build(job.settings.model, *sizes)
        assert sum(parameter.numel() for parameter in model.parameters()) <= largest, job.name


def test_three_seeds_on_table_1() -> None:
    for budget in ("paper", "best"):
        seeds = [job.seed for job in jobs(TABLE1, budget) if job.variant == "elbo"]
        assert sorted(seeds) == sorted([0, 1, 2] * 8)
    assert {job.seed for job in jobs(TABLE1, "best", seeds=1)} == {0}


def test_the_study_s_recipe() -> None:
    toy = jobs(TABLE1, "paper")[0].settings
    assert (toy.training.epochs, toy.training.batch, toy.objective.beta, toy.model.decoder.feeding) == (50, 32, 0.16, "self")
    tweets = jobs(TABLE2, "paper", corpus="somewhere/tweets32")[0].settings
    assert (tweets.training.epochs, tweets.training.steps, tweets.training.batch) == (20, None, 32)
    assert (tweets.objective.beta, tweets.model.decoder.feeding) == (0.32, "self")
    assert tweets.corpus.path == "somewhere/tweets32"


def _job(**changes: object) -> Job:
    return Job(table="table1", budget="best", row="rnn-dense", variant="elbo", seed=0, preset="best/toy/rnn-dense", changes=changes)


def test_where_the_corpus_lies_does_not_matter_but_all_else_does() -> None:
    here, there = (_job(corpus={"path": f"{folder}/tweets32"}) for folder in ("a", "b"))
    assert here.identity == there.identity == here.anywhere().identity
    assert here.anywhere().changes == {"corpus": {"path": "tweets32"}} and _job().anywhere() == _job()
    assert _job(training={"seed": 1}).identity != _job(training={"seed": 0}).identity
    assert _job(corpus={"path": "a/tweets"}).identity != here.identity


def test_a_job_survives_json() -> None:
    job = _job(objective={"beta": 0.5})
    again = Job.from_dict(job.to_dict())
    assert again == job and again.identity == job.identity and to_dict(again.settings) == to_dict(job.settings)


def test_what_has_nothing_to_train_is_told() -> None:
    with pytest.raises(ConfigError, match="no recipe for table2-long"):
        jobs(TABLES["table2-long"], "paper")
    with pytest.raises(ConfigError, match="no recipe for lm"):
        jobs(TABLE2, "paper", rows=("lm",))
    with pytest.raises(ConfigError, match="leave out --corpus"):
        jobs(TABLE1, "best", corpus="tweets32")


def test_a_row_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="has no row 'rnn-dens'"):
        jobs(TABLE1, "best", rows=("rnn-dens",))
    assert jobs(TABLE1, "best", rows=("rnn-map", "rnn-map")) == jobs(TABLE1, "best", rows=("rnn-map",)), "twice is once"


def test_the_command_names_what_was_changed() -> None:
    command = _job(objective={"beta": 0.5}, model={"latent": {"channels": (2,)}}, corpus={"path": str(Path("far/away"))}).command
    assert command == "textvae train away --preset best/toy/rnn-dense --objective.beta 0.5 --model.latent.channels 2 --out RUN"


def test_the_committed_records_are_of_the_settings_that_are_declared_now() -> None:
    """A new setting, or another default, would have every row trained again without anybody saying so."""
    kept, found = Records(Path(__file__).parents[2] / "docs" / "study"), 0
    for table, budget, corpus in (
        (TABLE1, "best", None),
        (TABLE1, "paper", None),
        (TABLE2, "best", "tweets32"),
        (TABLE2, "paper", "tweets32"),
    ):
        for job in jobs(table, budget, corpus):  # type: ignore[arg-type]
            if kept.path(job).exists():
                assert kept.find(job) is not None, job.name
                found += 1
    assert found > 30
