"""What a mixture prior has learned, on a model whose components are set by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import textvae
from textvae.errors import ConfigError
from textvae.study.mixture import mixture_markdown, mixture_report

TINY = {"hidden": 8, "embedding": 4, "decoder": {"hidden": 8, "embedding": 4}}


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> textvae.TextVAE:
    return textvae.train(
        "sinusoids",
        preset="best/toy/rnn-dense-mixture",
        out=tmp_path_factory.mktemp("runs") / "mixture",
        corpus_settings={"draws": 64, "held_out_draws": 20},
        model={**TINY, "latent": {"components": 3}},
        training={"steps": 2, "batch": 8, "device": "cpu"},
        hooks=[],
    )


def test_lines_belong_to_the_component_they_lie_in(vae: textvae.TextVAE) -> None:
    lines = ["0123456789012345", "5555555555555555", "9876543210987654"]
    means = torch.from_numpy(vae.encode(lines))
    prior = vae.model.latents.prior
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.5, 0.25, 0.25]).log())
        prior.log_variance.fill_(-6.0)
        prior.mean.copy_(torch.stack([means[0], means[1], means[1] + 100]).unsqueeze(1))
    report = mixture_report(vae, lines[:2])
    assert report["components"] == 3 and report["used"] == pytest.approx(2.0, abs=0.1)  # two halves: exp(log 2)
    assert report["decided"] == pytest.approx(1.0, abs=0.1)
    by_weight = {round(one["weight"], 2): one for one in report["each"]}
    assert by_weight[0.5]["lines"] == lines[:1] and by_weight[0.5]["share"] == pytest.approx(0.5, abs=0.1)
    assert report["each"][-1]["lines"] == [] and report["each"][-1]["share"] == pytest.approx(0.0, abs=1e-6)
    assert all(len(one["samples"]) == 3 for one in report["each"])
    assert mixture_report(vae, lines[:2]) == report, "the same seed gives the same samples"


def test_what_has_no_components(vae: textvae.TextVAE, tmp_path: Path) -> None:
    plain = textvae.train(
        "sinusoids",
        preset="best/toy/rnn-dense",
        out=tmp_path / "plain",
        corpus_settings={"draws": 16, "held_out_draws": 8},
        model=TINY,
        training={"steps": 1, "batch": 8, "device": "cpu"},
        hooks=[],
    )
    with pytest.raises(ConfigError, match="prior is no mixture"):
        mixture_report(plain, ["0123456789012345"])
    with pytest.raises(ConfigError, match="no line"):
        mixture_report(vae, [])


def test_the_section_of_a_page(vae: textvae.TextVAE) -> None:
    text = mixture_markdown("What it learned", mixture_report(vae, ["0123456789012345"] * 2))
    assert text.startswith("## What it learned\n\n3 components, of which held-out lines use ") and text.count("\n| ") == 4
