"""The library as DESIGN section 8 shows it: train, load, and everything a model does."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import textvae
from textvae import TextVAE
from textvae.errors import ConfigError, CorpusError, RunError
from textvae.training.hooks import Hook

WORDS = ["oak", "elm", "ash", "fir", "yew", "box", "bay", "may", "sun", "sea", "sky", "fog", "ice", "day", "one", "two", "six", "ten"]
TEXTS = ["oak elm", "", "sun sea sky", "a", "oak elm", "ten"]
SETTINGS: dict[str, dict[str, Any]] = {
    "model": {"hidden": 8, "embedding": 4, "latent": {"channels": 3}, "decoder": {"hidden": 8, "embedding": 4}},
    "training": {"steps": 20, "batch": 8, "precision": "32-true", "device": "cpu"},
}


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "lines.txt"
    path.write_text("".join(f"{a} {b} {c}\n" for a in WORDS for b in WORDS for c in ("sky", "sea")))
    return path


@pytest.fixture(scope="module")
def folder(lines: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    textvae.train(lines, out=path, hooks=(), **SETTINGS)
    return path


@pytest.fixture(scope="module")
def vae(folder: Path) -> TextVAE:
    return textvae.load(folder)


def test_a_loaded_model_is_the_one_that_was_trained(lines: Path, vae: TextVAE, tmp_path: Path) -> None:
    trained = textvae.train(lines, out=tmp_path / "again", hooks=(), **SETTINGS)
    for other in (trained, TextVAE.from_pretrained(str(tmp_path / "again"))):
        assert np.array_equal(other.encode(TEXTS), vae.encode(TEXTS))
        assert other.sample(5) == vae.sample(5) and other.settings.model == vae.settings.model


def test_it_tells_what_it_is(vae: TextVAE, folder: Path) -> None:
    weights = sum(parameter.numel() for parameter in vae.model.parameters())
    assert repr(vae).startswith(f"TextVAE(rnn: {weights:,} parameters, ")
    assert repr(vae).endswith(f", in {folder})")


def test_texts_to_vectors_and_back_in_the_callers_order(vae: TextVAE) -> None:
    z = vae.encode(TEXTS)
    assert z.shape == (6, 3) and z.dtype == np.float32 and np.array_equal(z[0], z[4])
    alone = np.concatenate([vae.encode([text]) for text in TEXTS])
    assert np.allclose(z, alone, atol=1e-5)
    assert vae.decode(z) == vae.reconstruct(TEXTS) == [row.output for row in vae.reconstructions(TEXTS)]
    assert vae.decode(z[0]) == vae.decode(z[:1])  # one vector is a batch of one
    assert vae.decode(z, beams=1) == vae.decode(z) and len(vae.decode(z, beams=3)) == 6
    assert vae.reconstruct([]) == [] and vae.reconstructions([]) == [] and vae.encode([]).shape == (0, 3)


def test_reconstructions_tell_what_a_text_costs(vae: TextVAE) -> None:
    rows = vae.reconstructions(TEXTS)
    assert [row.input for row in rows] == TEXTS
    assert all(row.distortion > 0 and row.rate >= 0 for row in rows)


def test_an_interpolation_has_both_ends(vae: TextVAE) -> None:
    for path in ("linear", "spherical"):
        strings = vae.interpolate("oak elm", "ten", steps=4, path=path)
        assert len(strings) == 4 and [strings[0], strings[-1]] == vae.reconstruct(["oak elm", "ten"])
    assert vae.interpolate("ten", "ten", steps=2) == vae.reconstruct(["ten", "ten"])


def test_samples_come_from_their_seed_alone(vae: TextVAE) -> None:
    strings = vae.sample(300, seed=3)
    assert strings == vae.sample(300, seed=3) != vae.sample(300, seed=4)
    assert vae.sample(5, seed=3) == strings[:5] == [text for text, _ in zip(vae.samples(10**9, seed=3), range(5), strict=False)]
    assert vae.sample(0) == [] and all(len(text) <= vae.max_length for text in strings)
    assert vae.sample(3, temperature=0.0) == vae.sample(3, top_k=1) == vae.sample(3, beams=1)
    assert "�" not in "".join(strings)


def test_any_iterable_of_texts_will_do(vae: TextVAE) -> None:
    once = (text for text in TEXTS)
    assert np.array_equal(vae.encode(once), vae.encode(TEXTS))
    assert vae.score(iter(TEXTS), importance_samples=2) == vae.score(TEXTS, importance_samples=2)
    assert vae.reconstruct(iter(TEXTS)) == vae.reconstruct(tuple(TEXTS)) and vae.reconstruct([]) == []


def test_scores_are_bounds_in_nats(vae: TextVAE) -> None:
    rows = vae.score(TEXTS, importance_samples=5)
    assert [row.text for row in rows] == TEXTS and vae.score([]) == []
    assert all(row.elbo <= row.importance_bound < 0 for row in rows)
    assert rows[0].bits_per_character == pytest.approx(-rows[0].importance_bound / math.log(2) / 7)
    assert rows[1].bits_per_character == pytest.approx(-rows[1].importance_bound / math.log(2))  # an empty text counts as one
    assert rows == vae.score(TEXTS, importance_samples=5) != vae.score(TEXTS, importance_samples=5, seed=1)


def test_processes_that_train_together_are_told_one_folder(lines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "one"), ("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="out is missing: processes that train together"):
        textvae.train(lines, **SETTINGS)


def test_copies_of_a_text_have_the_same_score(vae: TextVAE) -> None:
    first, _, second, third = vae.score(["oak elm", "sun sea sky", "oak elm", "oak elm"], importance_samples=3)
    assert first == second == third


def test_unknown_symbols_are_counted_in_what_is_read(vae: TextVAE, tmp_path: Path) -> None:
    texts = ["oak elm zz", "oak elm sky and Q after the end", "oak é"]
    with pytest.warns(UserWarning) as told:
        vae.score(texts, importance_samples=2)
    assert "not in the vocabulary and read as unknown: 'z', 'é', 3 in all" in [str(one.message) for one in told]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    with pytest.warns(UserWarning) as told:
        vae.evaluate(tmp_path / "texts.txt", split="all", importance_samples=2)
    assert any(str(one.message).startswith("all: 3 of 15 characters (20%) are not in the vocabulary ('z', 'é')") for one in told)


def test_a_text_that_is_cut_is_scored_as_what_was_read(vae: TextVAE) -> None:
    long = "oak elm sky and far more than fits"
    with pytest.warns(UserWarning, match=r"1 of 1 texts are longer than 11 tokens and were cut \(number 1\): .* of their beginnings"):
        (cut,) = vae.score([long], importance_samples=2)
    (read,) = vae.score([long[:11]], importance_samples=2)
    assert cut.text == long and cut.bits_per_character == pytest.approx(read.bits_per_character)
    with pytest.warns(UserWarning, match="cut"):
        assert vae.reconstructions([long])[0].input == long[:11]


def test_symbols_that_training_never_met_are_told_and_shown(vae: TextVAE) -> None:
    with pytest.warns(UserWarning, match="'E', 'O', 2 in all"):
        assert vae.reconstructions(["Oak Elm"])[0].input == "�ak �lm"


def test_an_evaluation_is_plain_data_and_measures_what_the_scores_say(vae: TextVAE, lines: Path) -> None:
    found = vae.evaluate(importance_samples=4)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert found.corpus == str(lines) and found.training_seconds > 0
    assert found.elbo == pytest.approx(-(found.distortion + found.rate))
    test = vae.prepared().lines["test"]
    scores = vae.score(test, importance_samples=4)
    assert found.sequences == len(test)
    assert found.elbo == pytest.approx(np.mean([row.elbo for row in scores]), rel=1e-6)
    assert found.importance_bound == pytest.approx(np.mean([row.importance_bound for row in scores]), rel=1e-6)


def test_an_evaluation_warns_of_what_it_left_out(vae: TextVAE, tmp_path: Path) -> None:
    for split in ("train", "valid"):
        (tmp_path / f"{split}.txt").write_text("oak elm\n")
    (tmp_path / "test.txt").write_text("oak elm\n" * 2 + "a line that is too long for this model\n" * 3)
    with pytest.warns(UserWarning, match="test: 3 of 5 lines are longer than 11 tokens, all that the model reads, and were left out"):
        assert vae.evaluate(tmp_path, importance_samples=1).sequences == 2


def test_without_a_name_the_run_gets_a_new_folder(lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short = SETTINGS | {"training": SETTINGS["training"] | {"steps": 1}}
    for name in ("lines-rnn", "lines-rnn-2"):
        vae = textvae.train(lines, hooks=(), **short)
        assert vae.folder is not None and vae.folder.path == Path("runs") / name


def test_a_training_that_is_stopped_raises_and_can_be_resumed(lines: Path, vae: TextVAE, tmp_path: Path) -> None:
    import signal

    class Stop(Hook):
        def on_step(self, record: Any) -> None:
            if record.step == 7:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="holds a checkpoint to resume from"):
        textvae.train(lines, out=tmp_path / "r", hooks=(Stop(),), **SETTINGS)
    resumed = textvae.train(out=tmp_path / "r", resume=True, hooks=())
    assert np.array_equal(resumed.encode(TEXTS), vae.encode(TEXTS))


@pytest.mark.parametrize("architecture", ["cnn", "hybrid", "ladder", "lm"])
def test_every_family_has_the_same_methods(lines: Path, tmp_path: Path, architecture: str) -> None:
    vae = textvae.train(lines, preset=architecture, out=tmp_path / "r", hooks=(), training=SETTINGS["training"] | {"steps": 1})
    z = vae.encode(TEXTS)
    assert len(z) == 6 and (z.shape[1] == 0) == (architecture == "lm")
    assert len(vae.decode(z)) == len(vae.reconstruct(TEXTS)) == len(vae.score(TEXTS, 2)) == 6
    assert len(vae.sample(4)) == 4 and len(vae.interpolate("oak", "elm", 3)) == 3


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda vae: vae.sample(-1), "n is -1: must be a whole number, at least 0"),
        (lambda vae: vae.sample("2"), "n is '2': must be a whole number, at least 0"),
        (lambda vae: vae.sample(2.5), "n is 2.5: must be a whole number"),
        (lambda vae: vae.sample(2, seed="a"), "seed is 'a': must be a whole number"),
        (lambda vae: vae.sample(2, beams=True), "beams is True: must be a whole number, at least 1"),
        (lambda vae: vae.score(["ten"], importance_samples=0), "importance_samples is 0: must be a whole number, at least 1"),
        (lambda vae: vae.evaluate(importance_samples="9"), "importance_samples is '9': must be a whole number"),
        (lambda vae: vae.interpolate("ten", "six", steps="3"), "steps is '3': must be a whole number, at least 2"),
        (lambda vae: vae.sample(2, temperature="1"), "temperature is '1': must be 0"),
        (lambda vae: vae.encode(None), "texts is a NoneType: give a list of strings"),
        (lambda vae: vae.encode({"a": 1}), "texts is a dict: give a list of strings"),
        (lambda vae: vae.decode("a"), "latent vectors are of type <U1: give numbers of shape"),
        (lambda vae: vae.decode(np.zeros((1, 3), dtype=complex)), "latent vectors are of type complex128"),
        (lambda vae: vae.interpolate(["ten"], "six"), "start is a list .* give one string"),
        (lambda _: textvae.train("x", out=3), "out is a int .* give the folder of the run"),
        (lambda _: textvae.load(""), "a run's name is empty"),
        (lambda _: textvae.load(3), r"a run's name is a int \(3\): give its folder, or user/model"),
    ],
)
def test_numbers_and_names_of_another_kind_are_refused(vae: TextVAE, call: Callable[[TextVAE], object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        call(vae)


def test_mistakes_are_told_by_their_kind(vae: TextVAE, lines: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="neither a file"):
        textvae.train(tmp_path / "none.txt", out=tmp_path / "r")
    with pytest.raises(ConfigError, match="Did you mean 'hybrid'"):
        textvae.train(lines, preset="hybird", out=tmp_path / "r")
    with pytest.raises(ConfigError, match=r"training\.bacth"):
        textvae.train(lines, out=tmp_path / "r", training={"bacth": 3})
    with pytest.raises(ConfigError, match=r"unknown argument minutes: settings come in tables, such as training=\{'minutes': 10\}\. Known"):
        textvae.train(lines, out=tmp_path / "r", minutes=10)
    with pytest.raises(ConfigError, match=r"Did you mean 'training'"):
        textvae.train(lines, out=tmp_path / "r", trainig={"steps": 1})
    with pytest.raises(ConfigError, match=r"model is 'rnn': settings come in tables"):
        textvae.train(lines, out=tmp_path / "r", model="rnn")
    with pytest.raises(ConfigError, match="device is 'gpu': must be one of cpu, cuda"):
        textvae.load(folder, device="gpu")
    with pytest.raises(ConfigError, match="column is 'text', but no corpus is named"):
        vae.evaluate(column="text")
    with pytest.raises(RunError, match="already holds a run"):
        textvae.train(lines, out=folder)
    for call in (textvae.train, vae.evaluate):
        with pytest.raises(ConfigError, match="corpus is a list: write its texts to a file, one a line"):
            call(["one", "two"])
    with pytest.raises(ConfigError, match="resume needs out"):
        textvae.train(resume=True)
    with pytest.raises(ConfigError, match="leave out corpus, preset"):
        textvae.train(lines, preset="rnn", out=folder, resume=True)
    with pytest.raises(RunError, match="does not exist"):
        textvae.load(tmp_path / "none")
    with pytest.raises(ConfigError, match="give a list of strings"):
        vae.encode("one string")
    with pytest.raises(ConfigError, match="texts hold 3, of type int"):
        vae.encode(["oak", 3])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match=r"this model takes \(N, 3\)"):
        vae.decode(np.zeros((2, 4)))
    with pytest.raises(ConfigError, match="not finite"):
        vae.decode(np.full((1, 3), np.inf))
    with pytest.raises(ConfigError, match="at least 2"):
        vae.interpolate("a", "b", steps=1)
    for split in ("tset", ""):
        with pytest.raises(ConfigError, match=f"split is '{split}': must be one of train, valid, test, all"):
            vae.evaluate(split=split)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="path is 'sphere': must be one of linear, spherical"):
        vae.interpolate("a", "b", path="sphere")  # type: ignore[arg-type]
    for one in (vae.score, vae.reconstruct, vae.reconstructions, vae.encode):
        with pytest.raises(ConfigError, match="texts is one string"):
            one("")
    with pytest.raises(ConfigError, match="leave out temperature"):
        vae.sample(1, beams=2, temperature=0.5)
    with pytest.raises(ConfigError, match="has no run folder"):
        TextVAE(vae.model, vae.tokenizer, vae.settings, vae.max_length).push_to_hub("a/b")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = textvae.nothing


def test_spaces_that_training_took_off_are_taken_off_of_texts_too(tmp_path: Path) -> None:
    corpus = tmp_path / "lines.txt"
    corpus.write_text("".join(f"{text}  \n" for text in TEXTS * 5))
    small = {"model": {"hidden": 4, "latent": {"channels": [2]}, "decoder": {"hidden": 6}}, "training": {"steps": 2}}
    vae = textvae.train(corpus, preset="rnn", out=tmp_path / "run", corpus_settings={"spaces": "strip"}, hooks=[], **small)
    with pytest.warns(UserWarning, match="spaces around 1 of 2 texts were taken off, as in training"):
        bare, spaced = vae.score([TEXTS[0], f"  {TEXTS[0]} "], importance_samples=3)
    assert bare.importance_bound == spaced.importance_bound and spaced.text == f"  {TEXTS[0]} "
    with pytest.warns(UserWarning, match="spaces around"):
        first, second = vae.encode([TEXTS[0], f" {TEXTS[0]}"])
    np.testing.assert_array_equal(first, second)
    plain = textvae.train(corpus, preset="rnn", out=tmp_path / "plain", hooks=[], **small)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        vae.compare(plain, importance_samples=2)
    assert any(
        "the second model was trained with corpus.spaces keep, and these lines are read with strip" in str(one.message) for one in told
    )
