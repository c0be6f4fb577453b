"""Two models on the same lines."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import textvae
from textvae.errors import ConfigError
from textvae.evaluation.bounds import Bounds
from textvae.evaluation.comparison import compared, verdict

TINY = {"model": {"hidden": 4, "embedding": 3, "latent": {"channels": 2}, "decoder": {"hidden": 5, "embedding": 3}}}
TRAINING = {"steps": 2, "batch": 4, "precision": "32-true", "device": "cpu"}


def bounds(distortion: list[float], rate: list[float]) -> Bounds:
    d, r = np.array(distortion), np.array(rate)
    return Bounds(-(d + r), -(d + r) + 0.5, d, r[:, None], 7)


def test_the_error_is_that_of_the_lines_own_differences() -> None:
    # Lines differ by tens of nats, the models by 1, 1 and 4 on each.
    found = compared("c", "test", 2, 7, bounds([10.0, 40.0, 80.0], [1.0, 1.0, 1.0]), bounds([11.0, 41.0, 84.0], [1.0, 1.0, 1.0]))
    assert found.elbo.first == pytest.approx(-(130 / 3 + 1)) and found.elbo.second == pytest.approx(-(136 / 3 + 1))
    assert found.elbo.difference == pytest.approx(2.0)
    assert found.elbo.standard_error == pytest.approx(math.sqrt(3.0 / 3))  # variance of (1, 1, 4) is 3
    assert found.distortion.difference == pytest.approx(-2.0) and found.rate.difference == 0.0
    assert found.importance_bound.difference == pytest.approx(2.0)
    assert (found.sequences, found.left_out, found.first_is_better) == (3, 2, 1.0)
    assert verdict(found, ("a", "b")).startswith("these 3 lines do not tell the two apart"), "2 is not more than two errors of 1"


def test_the_verdict_names_the_better_one() -> None:
    low, high = bounds([10.0, 40.0, 80.0], [1.0] * 3), bounds([12.0, 42.1, 81.9], [1.0] * 3)
    assert verdict(compared("c", "test", 0, 7, low, high), ("a", "b")).startswith("a has the better ELBO, by 2.000 ± 0.058")
    assert verdict(compared("c", "test", 0, 7, high, low), ("a", "b")).startswith("b has the better ELBO")
    assert "do not tell" in verdict(compared("c", "test", 0, 7, low, low), ("a", "b"))
    assert compared("c", "test", 0, 7, low, low).first_is_better == 0.5
    one = bounds([1.0], [1.0]), bounds([9.0], [1.0])
    assert "do not tell" in verdict(compared("c", "test", 0, 7, *one), ("a", "b")), "of one line no error is known"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split in ("train", "valid"):
        (folder / f"{split}.txt").write_text("\n".join(["abc", "cab", "abca", "bb"] * 3))
    (folder / "test.txt").write_text("\n".join(["abc", "bca", "ab", "dab", "abcabcab"]))
    return folder


def trained(corpus: Path, out: Path, **changes: object) -> textvae.TextVAE:
    return textvae.train(corpus, preset="rnn", out=out, training=TRAINING, hooks=[], **{**TINY, **changes})


def test_models_are_compared_on_lines_that_both_read_whole(corpus: Path, tmp_path: Path) -> None:
    first = trained(corpus, tmp_path / "a")
    second = trained(corpus, tmp_path / "b", corpus_settings={"tokenizer": "bytes"})
    found = first.compare(second, importance_samples=5)
    assert (found.sequences, found.left_out) == (3, 2), "d is unknown to the first, and eight characters too long for both"
    whole = ["abc", "bca", "ab"]
    for side, vae in (("first", first), ("second", second)):
        scores = vae.score(whole, importance_samples=5)
        assert getattr(found.elbo, side) == pytest.approx(np.mean([score.elbo for score in scores]), rel=1e-6)
        assert getattr(found.importance_bound, side) == pytest.approx(np.mean([score.importance_bound for score in scores]), rel=1e-6)


def test_a_model_is_as_good_as_itself(corpus: Path, tmp_path: Path) -> None:
    vae = trained(corpus, tmp_path / "a")
    found = vae.compare(vae, importance_samples=3)
    assert found.elbo.difference == 0.0 and found.elbo.standard_error == 0.0 and found.first_is_better == 0.5


def test_another_corpus_of_the_second_is_told_and_no_common_line_refused(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("\n".join(["xyz", "zy", "xxyz"] * 4))
    with pytest.warns(UserWarning, match="was trained on"), pytest.raises(ConfigError, match="is read whole by both"):
        trained(corpus, tmp_path / "a").compare(trained(other, tmp_path / "b"))
