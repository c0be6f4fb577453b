"""The transformer inside scikit-learn's own machinery."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import textvae
from textvae.errors import ConfigError, RunError

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from textvae.sklearn_transformer import TextVAETransformer

pytestmark = pytest.mark.filterwarnings("ignore:the latent has collapsed")  # so it has, after some steps

TEXTS = [f"{first} {second}" for first in ("oak", "elm", "ash", "fir", "yew") for second in ("sun", "sea", "sky", "fog", "ice")]
TINY = {
    "model": {"hidden": 6, "embedding": 4, "latent": {"channels": 2}, "decoder": {"hidden": 6, "embedding": 4}},
    "training": {"batch": 8, "precision": "32-true", "device": "cpu"},
}


@pytest.fixture(scope="module")
def fitted() -> TextVAETransformer:
    return TextVAETransformer(steps=8, settings=TINY, importance_samples=3).fit(TEXTS)


def test_texts_become_vectors_and_texts_again(fitted: TextVAETransformer) -> None:
    z = fitted.transform(TEXTS[:4])
    assert z.shape == (4, 2) and z.dtype == np.float32
    assert np.array_equal(fitted.transform(np.array(TEXTS[:4])), z)
    assert fitted.inverse_transform(z) == fitted.vae_.reconstruct(TEXTS[:4])
    assert list(fitted.get_feature_names_out()) == ["textvaetransformer0", "textvaetransformer1"]


def test_scores_are_the_importance_bounds(fitted: TextVAETransformer) -> None:
    scores = fitted.score_samples(TEXTS[:3])
    assert scores.shape == (3,) and (scores < 0).all()
    assert scores.tolist() == [score.importance_bound for score in fitted.vae_.score(TEXTS[:3], 3, 0)]
    assert fitted.score(TEXTS[:3]) == pytest.approx(scores.mean())


def test_a_clone_has_the_parameters_and_fits_to_the_same_vectors(fitted: TextVAETransformer) -> None:
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params() and not hasattr(copy, "vae_")
    with pytest.raises(NotFittedError):
        copy.transform(TEXTS)
    assert np.array_equal(copy.fit(TEXTS).transform(TEXTS), fitted.transform(TEXTS))


def test_a_table_of_one_column_is_its_texts_and_of_more_is_refused(fitted: TextVAETransformer) -> None:
    column = np.array(TEXTS[:4], dtype=object)[:, None]
    assert np.array_equal(fitted.transform(column), fitted.transform(TEXTS[:4]))
    with pytest.raises(ConfigError, match=r"X is an array of shape \(2, 2\): give a list"):
        fitted.transform(np.array([["a", "b"], ["c", "d"]]))
    with pytest.raises(ConfigError, match="X is a dict: give a list"):
        fitted.fit({"text": ["good", "bad"], "label": ["yes", "no"]})


def test_what_is_left_out_or_mended_is_told(fitted: TextVAETransformer) -> None:
    with pytest.warns(UserWarning, match="1 texts hold line ends, which are read as spaces"):
        assert np.array_equal(fitted.transform(["oak\nsun"]), fitted.transform(["oak sun"]))
    short = {**TINY, "corpus_settings": {"max_length": 20}}
    with pytest.warns(UserWarning, match="9 of .* lines are longer than 20 tokens and were left out"):
        TextVAETransformer(steps=1, settings=short).fit([*TEXTS, *["a text that is far too long for it"] * 9])


def test_a_pipeline_trains_it_and_what_follows(fitted: TextVAETransformer) -> None:
    labels = [text.startswith("oak") for text in TEXTS]
    pipeline = make_pipeline(clone(fitted).set_params(steps=4), LogisticRegression()).fit(TEXTS, labels)
    assert pipeline.predict(TEXTS).shape == (25,) and pipeline[0].vae_.settings.training.steps == 4


def test_a_grid_reaches_every_setting() -> None:
    given = TextVAETransformer(preset="rnn", settings={"model": {"hidden": 8}, "training": {"batch": 4}})
    grid = make_pipeline(clone(given)).set_params(
        textvaetransformer__settings__model__latent__channels=(3,),
        textvaetransformer__settings__model__hidden=16,
        textvaetransformer__seed=2,
    )
    (_, found), *_ = grid.steps
    assert found.settings == {"model": {"hidden": 16, "latent": {"channels": (3,)}}, "training": {"batch": 4}} and found.seed == 2
    assert given.settings == {"model": {"hidden": 8}, "training": {"batch": 4}}, "a clone's settings are its own"
    assert TextVAETransformer().set_params(settings__objective__beta=0.5).settings == {"objective": {"beta": 0.5}}
    with pytest.raises(ValueError, match="Invalid parameter 'colour'"):
        TextVAETransformer().set_params(colour=1)


def test_a_run_that_is_kept_is_a_run_like_any_other(tmp_path: Path) -> None:
    kept = TextVAETransformer(out=tmp_path / "run", steps=4, settings=TINY).fit(TEXTS)
    vae = textvae.load(tmp_path / "run")
    assert vae.encode(TEXTS).tolist() == kept.transform(TEXTS).tolist()
    assert vae.evaluate(split="train", importance_samples=1).sequences > 15
    with pytest.raises(RunError, match="already holds a run"):
        kept.fit(TEXTS[:3])
    assert len((tmp_path / "run" / "texts.jsonl").read_text().splitlines()) == 25


def test_a_file_of_the_users_own_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text("mine")
    TextVAETransformer(out=tmp_path / "run", steps=1, settings=TINY).fit(TEXTS)
    assert (tmp_path / "run.jsonl").read_text() == "mine"
    (tmp_path / "texts.jsonl").write_text("mine")
    with pytest.raises(RunError, match=r"holds a texts\.jsonl of other texts"):
        TextVAETransformer(out=tmp_path, steps=1, settings=TINY).fit(TEXTS)
    assert (tmp_path / "texts.jsonl").read_text() == "mine"


def test_a_fit_that_was_refused_can_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        TextVAETransformer(out=tmp_path / "run", steps=0, settings=TINY).fit(TEXTS)
    TextVAETransformer(out=tmp_path / "run", steps=1, settings=TINY).fit(TEXTS)


@pytest.mark.parametrize("wrong", ["a lone text", [1, 2], [["a"], ["b"]]])
def test_what_is_no_list_of_texts_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="give a list, array or column of texts"):
        TextVAETransformer(steps=1).fit(wrong)


def test_what_cannot_be_fitted_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    for given, told in [
        ({"preset": "lm"}, "lm has no latent, so no vectors: give another preset"),
        ({"settings": {"model": {"architecture": "lm"}}}, "lm has no latent"),
        ({"settings": {"objective.free_bits": 1}}, r"settings come in tables, this one as objective=\{'free_bits': 1\}"),
    ]:
        with pytest.raises(ConfigError, match=told):
            TextVAETransformer(out=tmp_path / "run", **given).fit(TEXTS)
    for nothing in ([], ["", ""]):
        with pytest.raises(ConfigError, match="X holds no text"):
            TextVAETransformer(out=tmp_path / "run").fit(nothing)
    assert not (tmp_path / "run").exists()


def test_two_budgets_are_refused() -> None:
    with pytest.raises(ConfigError, match="give one"):
        TextVAETransformer(steps=1, minutes=1, settings=TINY).fit(TEXTS)


def test_a_missing_extra_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "textvae.sklearn_transformer")
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[sklearn\]'"):
        import textvae.sklearn_transformer  # noqa: F401
