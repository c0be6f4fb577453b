from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from textvae.architectures import architectures, find_architecture
from textvae.errors import ConfigError
from textvae.presets import load_preset, preset_names, summary
from textvae.settings import resolve

TOY = "rnn-dense cnn-dense hybrid-dense rnn-map cnn-map hybrid-map ladder-3 ladder-cnn-3"
TWEETS = "hybrid-dense rnn-map cnn-map hybrid-map ladder-3 ladder-cnn-3 ladder-5 ladder-cnn-5"
"""The rows of the study's Tables 1 and 2."""

PRINTED = {
    "study/toy/rnn-dense": 646_538,
    "study/toy/cnn-dense": 860_778,
    "study/toy/hybrid-dense": 833_848,
    "study/toy/rnn-map": 878_218,
    "study/toy/cnn-map": 845_706,
    "study/toy/hybrid-map": 1_054_868,
    "study/toy/ladder-3": 870_026,
    "study/toy/ladder-cnn-3": 761_770,
    "study/tweets/hybrid-dense": 1_306_260,
    "study/tweets/rnn-map": 896_722,
    "study/tweets/cnn-map": 901_074,
    "study/tweets/hybrid-map": 1_184_036,
    "study/tweets/ladder-5": 1_244_194,
    "study/tweets/ladder-cnn-5": 1_800_000,
}
"""The study's own parameter counts (its Tables 1 and 2)."""


def sizes(name: str) -> tuple[int, int]:
    """V and T_max of the corpus a preset is for."""
    return (12, 17) if "/toy/" in name else (84, 32)


def parameters(name: str) -> int:
    run = resolve(name)
    with torch.device("meta"):
        model = find_architecture(run.architecture).build(run.model, *sizes(name))
    return sum(p.numel() for p in model.parameters())


def test_every_row_of_both_tables_is_a_preset() -> None:
    for kind, extra in (("study", ""), ("best", " lm")):
        for table, rows in (("toy", TOY), ("tweets", TWEETS)):
            assert {f"{kind}/{table}/{row}" for row in (rows + extra).split()} <= set(preset_names())
    assert {"default", *architectures()} <= set(preset_names())
    assert len(preset_names()) == len(set(preset_names()))


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_resolves_and_its_model_runs(name: str) -> None:
    run = resolve(name)
    vocabulary, max_tokens = sizes(name)
    torch.manual_seed(0)
    model = find_architecture(run.architecture).build(run.model, vocabulary, max_tokens)
    tokens = torch.randint(1, vocabulary, (2, max_tokens))
    tokens[:, -1] = 0
    tokens[1, 3:] = 0
    with torch.no_grad():
        out = model(tokens)
    assert out.distortion.shape == (2,)
    assert torch.isfinite(out.distortion).all()
    assert summary(name)


@pytest.mark.parametrize("name", [name for name in preset_names() if name.startswith("study/")])
def test_a_study_row_has_the_studys_size_and_recipe(name: str) -> None:
    count = parameters(name)
    low, high = (650_000, 1_060_000) if "/toy/" in name else (900_000, 1_800_000)
    assert low <= count <= high
    if name in PRINTED:
        assert abs(count / PRINTED[name] - 1) < 0.25
    run = resolve(name)
    assert (run.training.optimizer, run.training.learning_rate, run.training.weight_decay) == ("adam", 1e-4, 1e-3)
    assert (run.training.decay, run.training.clip, run.training.lr_warmup, run.training.keep) == ("plateau", 0.0, 0, "last")
    assert run.training.batch == 32
    assert run.objective.beta == (0.16 if "/toy/" in name else 0.32)
    assert (run.objective.schedule, run.objective.warmup) == ("linear", 1.0)
    assert run.objective.alpha == (0.3 if run.architecture == "hybrid" else 0.0)
    if hasattr(run.model, "decoder"):
        assert (run.model.decoder.cell, run.model.decoder.feeding) == ("gru", "self")
    if hasattr(run.model, "ladder"):
        assert run.model.ladder.norm == "batch"
    assert run.model.latent.shape == ("dense" if name.endswith("-dense") else "map")


@pytest.mark.parametrize("name", [name for name in preset_names() if name.startswith(("best/toy/", "best/tweets/"))])
def test_a_best_row_keeps_to_the_studys_budget(name: str) -> None:
    largest = 1_060_000 if "/toy/" in name else 1_800_000
    theirs = name.replace("best/", "study/")
    assert parameters(name) <= PRINTED.get(theirs, largest)
    if theirs in preset_names():
        assert resolve(name).architecture == resolve(theirs).architecture


@pytest.mark.parametrize("name", list(architectures()))
def test_an_architectures_name_is_a_preset(name: str) -> None:
    assert load_preset(name)["model"]["architecture"] == name
    assert resolve(name).training == resolve("default").training


def test_a_caller_may_change_what_it_loaded() -> None:
    load_preset("study/toy/rnn-dense")["training"]["batch"] = 1
    load_preset("default")["model"]["architecture"] = "lm"
    assert load_preset("study/toy/rnn-dense")["training"]["batch"] == 32
    assert load_preset("default")["model"]["architecture"] != "lm"


@pytest.mark.parametrize("call", [load_preset, summary])
def test_an_unknown_preset_is_told_with_the_nearest(call: Callable[[str], object]) -> None:
    with pytest.raises(ConfigError, match=r"there is no preset 'study/toy/rnn-dens'\. Did you mean 'study/toy/rnn-dense'\?"):
        call("study/toy/rnn-dens")
