"""The study's pictures: written in both formats, not blank, with units on their axes; and told where something is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import textvae
from textvae import TextVAE
from textvae.data.sources.sinusoids import Sinusoids
from textvae.errors import ConfigError, PackageError, RunError
from textvae.study.figures.chosen import Chosen, plane_job
from textvae.study.figures.curves import latent_plane, possible_lines, reconstructions, toy_samples
from textvae.study.figures.draw import draw
from textvae.study.figures.learning import elbo_curves, learning_curves, rungs
from textvae.study.figures.style import looks, paths
from textvae.study.figures.tradeoff import gap_against_rate, rate_distortion
from textvae.study.figures.tweets import latent_map, neighbours_agree, principal_plane
from textvae.study.jobs import Job
from textvae.study.printed import TABLE_1
from textvae.study.records import SCHEMA, Records
from textvae.study.tables import TABLE1, jobs

ENTROPY = 8.506
TWEETS = ["@user hi!", "good night", "what?", "so tired.", "@user why?", "I love it!", "$5 & <b>", "ok", "ok", ""]


def record(row: str, variant: str = "elbo", seed: int = 0, distortion: float = 6.0, rate: float = 2.7, rungs: int = 1) -> dict[str, Any]:
    """What a record says to the pictures, for a run whose rungs share the rate."""
    history = [
        {
            "step": 100 * i,
            "beta": 1.0,
            "distortion": distortion + 30 / i,
            "rate": rate - rate / i,
            "rate_per_rung": [rate / max(rungs, 1)] * rungs,
        }
        for i in range(1, 6)
    ]
    measured = {"distortion": distortion, "rate": rate, "elbo": -distortion - rate, "entropy": ENTROPY, "active_units": 2 * rungs}
    measured |= {"gap": distortion + rate - ENTROPY, "reconstruction": {"exact_match": 0.25}}
    objective = {"beta": 1.0, "free_bits": 0.8, "free_bits_per": "rung"}
    # On test all is a nat worse, and the better on valid the worse: what is chosen must have been chosen on valid.
    test = {**measured, "elbo": distortion + rate - 30.0}
    return {"row": row, "variant": variant, "seed": seed, "objective": objective, "history": history, "valid": measured, "test": test}


RECORDS = [
    *(record("rnn-dense", seed=seed, distortion=6.0 + 0.1 * seed) for seed in range(3)),
    *(record("rnn-dense", variant=f"free-{rate}", distortion=9.1 - rate, rate=rate) for rate in (4.0, 6.0)),
    record("ladder-3", rungs=3),
    record("ladder-3", variant="dominating", distortion=0.6, rate=10.0, rungs=3),
]


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> TextVAE:
    """A two-dimensional model of the toy set, hardly trained."""
    small = {"hidden": 8, "embedding": 4, "latent": {"channels": [2]}, "decoder": {"hidden": 8, "embedding": 4}}
    return textvae.train(
        preset="best/toy/rnn-dense",
        out=tmp_path_factory.mktemp("runs") / "plane",
        hooks=(),
        corpus_settings={"draws": 200, "held_out_draws": 40},
        model=small,
        training={"steps": 3, "batch": 8, "lr_warmup": 1, "precision": "32-true", "device": "cpu"},
    )


@pytest.fixture(scope="module")
def tweet_vae(tmp_path_factory: pytest.TempPathFactory) -> TextVAE:
    folder = tmp_path_factory.mktemp("tweets")
    for split in ("train", "valid", "test"):
        (folder / f"{split}.txt").write_text("\n".join(TWEETS * 5))
    return textvae.train(
        folder,
        out=folder / "run",
        hooks=(),
        model={"hidden": 8, "embedding": 4, "latent": {"channels": 3}, "decoder": {"hidden": 8, "embedding": 4}},
        training={"steps": 3, "batch": 8, "precision": "32-true", "device": "cpu"},
    )


def check_written(folder: Path, name: str, *said: str) -> None:
    """Both files stand there, show something, and say so much."""
    from matplotlib.image import imread

    png, svg = paths(folder, name)
    pixels = imread(png)[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert (pixels < 0.9).any(axis=-1).mean() > 0.01, "the picture is blank"
    text = svg.read_text(encoding="utf-8")  # a text stands as a comment above its shapes
    ElementTree.fromstring(text)
    assert [words for words in said if words not in text] == []
    assert not list((folder / "figures").glob(".*")), "a temporary file is left"


def test_samples_stand_beside_lines_of_the_source(tmp_path: Path) -> None:
    drawn = Sinusoids().sample(20, np.random.default_rng(0))
    toy_samples(tmp_path, "samples", drawn, [*drawn[:3], "0909090909090909", "12", ""], "rnn-dense")
    said = ("20 of them possible", "6 lines sampled from rnn-dense: 3 of them possible")
    check_written(tmp_path, "samples", *said, "digit (0 to 9)", "position")


def test_what_the_source_cannot_draw_is_known() -> None:
    assert possible_lines([Sinusoids().sample(1, np.random.default_rng(3))[0], "0909090909090909", "5", ""]) == [True, False, False, False]


def test_reconstructions_tell_what_each_line_costs(tmp_path: Path, vae: TextVAE) -> None:
    lines = Sinusoids().sample(3, np.random.default_rng(0))
    reconstructions(tmp_path, "back", {"one": vae, "two": vae}, lines)
    first = vae.reconstructions(lines)[0]
    check_written(tmp_path, "back", f"D {first.distortion:.1f}  R {first.rate:.1f}", "nats a sequence", "digit (0 to 9)", "position")


def test_the_plane_names_its_quantiles(tmp_path: Path, vae: TextVAE) -> None:
    latent_plane(tmp_path, "plane", vae, cells=5)
    check_written(tmp_path, "plane", "prior standard deviations", "50%", "1.28", "of 25 differ")


def test_a_plane_needs_two_dimensions(tmp_path: Path, tweet_vae: TextVAE) -> None:
    with pytest.raises(ConfigError, match="one latent of 2 dimensions: this one has 3"):
        latent_plane(tmp_path, "plane", tweet_vae)


def test_learning_curves_have_a_panel_a_row(tmp_path: Path) -> None:
    learning_curves(tmp_path, "learning", RECORDS)
    check_written(tmp_path, "learning", "nats a sequence, valid", "training step", "rnn-dense", "ladder-3", "entropy of the source, 8.51")


def test_all_rows_stand_in_one_panel_above_the_entropy(tmp_path: Path) -> None:
    elbo_curves(tmp_path, "elbo", RECORDS)
    check_written(tmp_path, "elbo", "−ELBO − entropy, nats a sequence, valid (log scale)", "entropy of 8.51 nats", "rnn-dense", "ladder-3")


def test_without_an_entropy_a_row_far_above_is_told_not_drawn(tmp_path: Path) -> None:
    found = [record("rnn-map", variant="longer", distortion=30.0), record("cnn-map", distortion=50.0)]
    elbo_curves(tmp_path, "elbo", [one | {"test": one["test"] | {"entropy": None}} for one in found])
    check_written(tmp_path, "elbo", "−ELBO, nats a sequence, valid", "cnn-map ends at 58.2", "dashed: longer")


def test_a_row_looks_alike_in_every_picture() -> None:
    found = looks(["ladder-cnn-5", "rnn-dense", "rnn-map", "rnn-dense-mixture", "lm", "another-kind"])
    assert found["rnn-dense"]["color"] == found["rnn-map"]["color"] == found["rnn-dense-mixture"]["color"] != found["lm"]["color"]
    assert len({look["marker"] for look in found.values()}) == 6
    assert looks(["rnn-map"])["rnn-map"] == found["rnn-map"]
    assert looks(["ladder-3"])["ladder-3"]["color"] != found["ladder-cnn-5"]["color"]


def test_rungs_have_a_line_each(tmp_path: Path) -> None:
    rungs(tmp_path, "rungs", RECORDS)
    check_written(tmp_path, "rungs", "nats a sequence, valid", "rung 1 (bottom)", "rung 3", "ladder-3, dominating", "free nats a rung")


def test_the_gap_is_drawn_against_the_rate(tmp_path: Path) -> None:
    gap_against_rate(tmp_path, "gap", RECORDS)
    check_written(tmp_path, "gap", "rate KL[q‖p], nats a sequence", "gap: log p*(x) − ELBO, nats a sequence", "8.51 nats")


@pytest.mark.parametrize("known", [True, False], ids=["entropy", "lm"])
def test_the_plane_of_rate_and_distortion_has_its_limits(tmp_path: Path, known: bool) -> None:
    found = RECORDS if known else [*RECORDS, record("lm", distortion=34.5, rate=0.0, rungs=0)]
    found = [one | {"test": one["test"] | {"entropy": ENTROPY if known else None}} for one in found]
    rate_distortion(tmp_path, "both", "Table 1", found, TABLE_1)
    limit = "entropy of the source, 8.51" if known else "lm, no latent, 34.50"
    check_written(tmp_path, "both", "rate KL[q‖p], nats a sequence", "distortion −log p(x|z), nats a sequence", "hybrid-map", limit)


def test_the_map_of_tweets_writes_some_of_them(tmp_path: Path, tweet_vae: TextVAE) -> None:
    latent_map(tmp_path, "map", tweet_vae, TWEETS, "rnn")
    check_written(tmp_path, "map", "posterior means of 8 test lines, rnn", "of the variance", "length, characters", "@user in it or not")
    with pytest.raises(ConfigError, match="at least 3 different lines: these are 1"):
        latent_map(tmp_path, "map", tweet_vae, ["ok", "ok", ""], "rnn")


def test_the_principal_plane_is_where_points_vary_most() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 4)) * [0.1, 3.0, 0.1, 1.0] + 7.0
    at, shares = principal_plane(vectors)
    assert np.allclose(at.mean(0), 0) and at.std(0) == pytest.approx([3, 1], rel=0.1)
    assert shares == pytest.approx((0.9, 0.1), abs=0.03)
    assert np.corrcoef(at[:, 0], vectors[:, 1])[0, 1] > 0.99 and np.corrcoef(at[:, 1], vectors[:, 3])[0, 1] > 0.99


def test_neighbours_of_the_same_kind_are_counted() -> None:
    line = np.array([[0.0], [1.0], [5.0], [5.5]])
    assert neighbours_agree(line, ["a", "a", "b", "b"]) == (1.0, pytest.approx(1 / 3))
    assert neighbours_agree(line, ["a", "b", "a", "b"]) == (0.0, pytest.approx(1 / 3))


NOTHING: list[Callable[[Path], None]] = [
    lambda folder: learning_curves(folder, "x", []),
    lambda folder: elbo_curves(folder, "x", []),
    lambda folder: rungs(folder, "x", [record("rnn-dense"), record("lm", rungs=0)]),
    lambda folder: gap_against_rate(folder, "x", []),
    lambda folder: rate_distortion(folder, "x", "Table 1", [], TABLE_1),
    lambda folder: reconstructions(folder, "x", {}, []),
]


@pytest.mark.parametrize("make", NOTHING)
def test_nothing_to_draw_is_told_and_writes_nothing(tmp_path: Path, make: Callable[[Path], None]) -> None:
    with pytest.raises(ConfigError):
        make(tmp_path)
    assert not (tmp_path / "figures").exists()


def kept(records: Records, job: Job, model: TextVAE | None = None, **measured: float) -> None:
    """Keep a job's record, which says so much, and a model for its run."""
    if model is not None and model.folder is not None:
        records.run(job).parent.mkdir(parents=True, exist_ok=True)
        records.run(job).symlink_to(model.folder.path, target_is_directory=True)
    made = record(job.row, job.variant, job.seed, rungs=3 if "ladder" in job.row else 1, **measured)
    records.keep(job, {**job.to_dict(), **made, "schema": SCHEMA, "identity": job.identity})


def test_a_folder_is_drawn_as_far_as_it_goes(tmp_path: Path, vae: TextVAE) -> None:
    records = Records(tmp_path)
    small = {job.row: job for job in jobs(TABLE1, "smoke")}
    kept(records, small["rnn-dense"], vae, distortion=6.0)
    kept(records, small["cnn-dense"], distortion=7.0)
    kept(records, plane_job("smoke"), vae)
    told: list[str] = []
    drawn = draw(tmp_path, "smoke", tell=told.append)
    names = {"table1-learning", "table1-elbo", "table1-rate-distortion", "toy-gap", "toy-samples", "toy-reconstructions", "toy-plane"}
    assert {path.name for path in drawn.paths} == {f"{name}-smoke.{kind}" for name in names for kind in ("png", "svg")}
    assert all(path.exists() for path in drawn.paths)
    assert set(told) == names | set(drawn.missing)
    assert "textvae reproduce table2 --budget smoke" in drawn.missing["tweets-map"]
    assert "no record has such a history" in drawn.missing["table1-rungs"]


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    kept(Records(tmp_path), jobs(TABLE1, "smoke")[0])
    chosen = Chosen(tmp_path, "smoke", None)
    with pytest.raises(RunError, match="under runs/ no model that they are of"):
        chosen.best(TABLE1)
    with pytest.raises(RunError, match="does not exist"):
        chosen.model(chosen.records(TABLE1)[0])
    with pytest.raises(RunError, match="no two-dimensional model"):
        chosen.plane()


def test_models_that_are_there_are_chosen_on_valid(tmp_path: Path, vae: TextVAE) -> None:
    records, found = Records(tmp_path), {job.row: job for job in jobs(TABLE1, "smoke")}
    kept(records, found["rnn-map"], vae, distortion=6.5, rate=2.5)
    kept(records, found["cnn-dense"], vae, distortion=3.0, rate=9.0)
    kept(records, found["rnn-dense"], distortion=6.4, rate=2.5)  # the best one, but its model is not there
    chosen = Chosen(tmp_path, "smoke", None)
    assert chosen.best(TABLE1)["row"] == "rnn-map" and chosen.closest(TABLE1)["row"] == "cnn-dense"
    assert chosen.best(TABLE1)["test"]["elbo"] < chosen.closest(TABLE1)["test"]["elbo"]


@pytest.mark.parametrize("budget", ["smoke", "paper", "best"])
def test_the_plane_has_settings_of_a_run(budget: Any) -> None:
    job = plane_job(budget)
    assert list(job.settings.model.latent.channels) == [2]


def test_a_missing_matplotlib_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PackageError, match="pip install"):
        draw(tmp_path)
