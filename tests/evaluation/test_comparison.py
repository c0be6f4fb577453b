"""Two models on the same lines."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import textvae
from textvae.config import CorpusSettings
from textvae.data.corpora import load_lines
from textvae.errors import ConfigError
from textvae.evaluation.bounds import Bounds
from textvae.evaluation.comparison import Comparison, compared, line_by_line, verdict

TINY = {"model": {"hidden": 4, "embedding": 3, "latent": {"channels": 2}, "decoder": {"hidden": 5, "embedding": 3}}}
TRAINING = {"steps": 2, "batch": 4, "precision": "32-true", "device": "cpu"}


def bounds(distortion: list[float], rate: list[float]) -> Bounds:
    d, r = np.array(distortion), np.array(rate)
    return Bounds(-(d + r), -(d + r) + 0.5, d, r[:, None], 7, np.zeros((2, len(d))))


def test_the_error_is_that_of_the_lines_own_differences() -> None:
    # Lines differ by tens of nats, the models by 1, 1 and 4 on each: variance 3, error sqrt(3 / 3).
    found = compared(bounds([10.0, 40.0, 80.0], [1.0] * 3), bounds([11.0, 41.0, 84.0], [1.0] * 3), np.arange(3))
    elbo = found["elbo"]
    assert (elbo.first, elbo.second) == pytest.approx((-(130 / 3 + 1), -(136 / 3 + 1)))
    assert elbo.difference == pytest.approx(2.0) and elbo.standard_error == pytest.approx(1.0)
    assert found["distortion"].difference == pytest.approx(-2.0) and found["rate"].difference == 0.0
    assert found["importance_bound"].difference == pytest.approx(2.0)


def test_copies_of_a_line_are_one_observation() -> None:
    one = compared(bounds([1.0, 2.0], [0.0] * 2), bounds([2.0, 5.0], [0.0] * 2), np.arange(2))["elbo"]
    copied = compared(bounds([1.0, 2.0] * 3, [0.0] * 6), bounds([2.0, 5.0] * 3, [0.0] * 6), np.array([0, 1] * 3))["elbo"]
    assert copied.difference == one.difference == pytest.approx(2.0)
    assert copied.standard_error == pytest.approx(one.standard_error) and one.standard_error == pytest.approx(1.0)
    alone = compared(bounds([1.0] * 4, [0.0] * 4), bounds([2.0] * 4, [0.0] * 4), np.zeros(4, dtype=int))["elbo"]
    assert alone.standard_error is None and alone.difference == 1.0


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder whose test split has 40 different short lines, one with a symbol that training has not and one that is too long."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    short = sorted({a + b + c for a in "abc" for b in ("a", "b", "c", "") for c in ("a", "b", "c", "")})[:40]
    for split in ("train", "valid"):
        (folder / f"{split}.txt").write_text("\n".join([*short, "abca"]))
    (folder / "test.txt").write_text("\n".join([*short, "dab", "abcabcab"]))
    return folder


def trained(corpus: Path | str, out: Path, **changes: Any) -> textvae.TextVAE:
    training = TRAINING | changes.pop("training", {})
    return textvae.train(corpus, preset=changes.pop("preset", "rnn"), out=out, training=training, hooks=[], **{**TINY, **changes})


def test_models_of_other_symbols_are_compared_on_lines_that_both_read_whole(corpus: Path, tmp_path: Path) -> None:
    first = trained(corpus, tmp_path / "a")
    second = trained(corpus, tmp_path / "b", corpus_settings={"tokenizer": "bytes"})
    found = first.compare(second, importance_samples=5)
    whole = (corpus / "test.txt").read_text().split("\n")[:-2]
    assert (found.sequences, found.different, found.left_out) == (len(whole), len(whole), 2), "one is unknown, one too long"
    for side, vae in (("first", first), ("second", second)):
        scores = vae.score(whole, importance_samples=5)
        assert getattr(found.elbo, side) == pytest.approx(np.mean([score.elbo for score in scores]), rel=1e-6)
        assert getattr(found.importance_bound, side) == pytest.approx(np.mean([score.importance_bound for score in scores]), rel=1e-6)


def test_models_of_the_same_symbols_are_compared_on_all_that_evaluate_measures(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.mkdir()
    for split in ("train", "valid", "test"):
        (path / f"{split}.txt").write_text("\n".join(f"{a} {b}" for a in ("red", "<unk>") for b in ("cat", "dog", "<unk>", "eel")))
    words = {"corpus_settings": {"tokenizer": "words"}}
    first, second = trained(path, tmp_path / "a", **words), trained(path, tmp_path / "b", **words, training={"seed": 1})
    found, alone = first.compare(second, importance_samples=2), first.evaluate(importance_samples=2)
    assert (found.sequences, found.left_out) == (alone.sequences, 0)
    assert found.elbo.first == pytest.approx(alone.elbo)


def test_words_read_no_line_whole_whose_white_space_they_merge(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("\n".join(f"a  {i}" if i % 2 else f"a {i}" for i in range(60)))
    first = trained(path, tmp_path / "a")
    second = trained(path, tmp_path / "b", corpus_settings={"tokenizer": "words"})
    found = first.compare(second, split="train", importance_samples=2)
    kept = [line for line in first.prepared().corpus.splits["train"] if "  " not in line]
    assert (found.sequences, found.left_out) == (len(kept), len(first.prepared().corpus.splits["train"]) - len(kept))


def test_a_model_is_as_good_as_itself_and_one_without_a_latent_has_no_rate(corpus: Path, tmp_path: Path) -> None:
    vae = trained(corpus, tmp_path / "a")
    same = vae.compare(vae, importance_samples=3)
    assert same.elbo.difference == 0.0 and same.elbo.standard_error == 0.0
    assert same.share_first_better == 0.5 and same.better is None
    lm = trained(corpus, tmp_path / "lm", preset="lm", model={"decoder": TINY["model"]["decoder"]})
    found = vae.compare(lm, importance_samples=3)
    assert found.rate.second == 0.0 and found.rate.difference == found.rate.first
    assert found.elbo.second == found.importance_bound.second


def test_the_verdict_needs_a_clear_difference_over_enough_lines(corpus: Path, tmp_path: Path) -> None:
    decoder = {"model": {"decoder": TINY["model"]["decoder"]}}
    poor = trained(corpus, tmp_path / "poor", preset="lm", **decoder)
    good = trained(corpus, tmp_path / "good", preset="lm", **decoder, training={"steps": 150, "learning_rate": 0.05, "lr_warmup": 5})
    found = poor.compare(good, importance_samples=3)
    assert found.better == "second" and found.share_first_better < 0.5
    assert verdict(found, ("p", "g")).startswith("g has the better ELBO on these lines, by ")
    assert good.compare(poor, importance_samples=3).better == "first"
    few = tmp_path / "few.txt"
    few.write_text("abc\n" * 40 + "cab\n" * 40)
    with pytest.warns(UserWarning, match="was trained on|too few different lines"):
        told = poor.compare(good, few, split="train", importance_samples=3)
    assert told.better is None and told.different <= 2 and "different lines cannot say" in verdict(told, ("p", "g"))
    assert line_by_line(told, ("p", "g")) == f"g has the better ELBO on all of the {told.sequences} lines ({told.different} different)"
    assert line_by_line(found, ("p", "g")).startswith(f"of the {found.sequences} lines")
    same = poor.compare(poor, importance_samples=3)
    assert line_by_line(same, ("p", "p")) == ""
    assert "do not tell the two apart" in verdict(same, ("p", "p"))


def warned(found: pytest.WarningsRecorder) -> str:
    return "; ".join(str(one.message) for one in found)


def test_whoever_may_know_the_lines_is_told(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.txt"
    other.write_text("\n".join(a + b for a in "abc" for b in "abcab"))
    first, second = trained(corpus, tmp_path / "a"), trained(other, tmp_path / "b")
    mixed = tmp_path / "mixed.txt"
    training = load_lines(CorpusSettings(path=str(other)), "train").lines
    mixed.write_text("\n".join([*training[:3], training[0], "b", "c"]))
    with pytest.warns(UserWarning, match="^4 of these 6 lines are among those it was trained on, which it knows better than new ones$"):
        second.evaluate(mixed, split="all", importance_samples=1)
    with pytest.warns(UserWarning) as found:
        first.compare(second, importance_samples=1)
    assert "the second model was trained on other lines" in warned(found) and "the first" not in warned(found)
    for knows in ("knows 4", "may know some"):
        with pytest.warns(UserWarning) as found:
            first.compare(second, mixed, split="all", importance_samples=1)
        assert f"the second model was trained on other lines ({other}): it {knows} of these 6" in warned(found)
        other.write_text("\n".join([*training, "aa"] * 2))  # another file: nobody can tell any more
    other.unlink()
    assert second.training_lines() is None
    onwards = trained(corpus, tmp_path / "onwards", training={"start_from": str(tmp_path / "a")})
    assert onwards.training_lines() is None and first.training_lines() is not None  # it knows lines of both
    with pytest.warns(UserWarning) as found:
        second.compare(second, corpus, importance_samples=1)
    assert "the first model" in warned(found) and "the second model" in warned(found)
    monkeypatch.chdir(corpus.parent)
    by_another_path = trained("corpus", tmp_path / "c")
    assert isinstance(first.compare(by_another_path, importance_samples=1), Comparison)  # a warning would fail the test


def test_each_seed_draws_its_own_training_lines(tmp_path: Path) -> None:
    small = {"corpus_settings": {"draws": 60, "held_out_draws": 40}}
    first, second = trained("messages", tmp_path / "a", **small), trained("messages", tmp_path / "b", **small, training={"seed": 1})
    with pytest.warns(UserWarning, match="training lines of the first model only"):
        first.compare(second, split="train", importance_samples=1)
    found = first.compare(second, importance_samples=1)
    assert found.elbo.standard_error is not None and math.isfinite(found.elbo.standard_error)


def test_no_common_line_and_no_model_are_refused(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("\n".join(a + b for a in "xyz" for b in "xyz"))
    first, second = trained(corpus, tmp_path / "a"), trained(other, tmp_path / "b")
    with pytest.warns(UserWarning, match="was trained on"), pytest.raises(ConfigError, match="is read whole by both"):
        first.compare(second)
    with pytest.raises(ConfigError, match="other is a str"):
        first.compare("runs/other")  # type: ignore[arg-type]
