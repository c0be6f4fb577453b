"""The verdict on latents that are made up, by what is measured of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from textvae.evaluation.collapse import LatentUse, verdict_on
from textvae.evaluation.diagnostics import RungSurvey, Survey, mutual_information, rate_below_cap
from textvae.nn.gaussian import Gaussian
from textvae.settings import resolve


@pytest.mark.parametrize(
    ("rates", "active", "expected"),
    [
        ([], 0, None),
        ([5.0], 3, None),
        ([0.1], 1, None),
        ([0.09], 1, "the latent has collapsed"),
        ([5.0], 0, "no unit of the latent moves with the text, though its rate is 5.00 nats"),
        ([0.0, 4.0, 0.05], 2, "of 3 rungs (1 is the bottom) rung 1 (0.00 nats) and rung 3 (0.05 nats) have collapsed"),
        ([0.0, 4.0], 2, "of 2 rungs (1 is the bottom) rung 1 (0.00 nats) has collapsed"),
    ],
)
def test_the_verdict_on_collapse(rates: list[float], active: int, expected: str | None) -> None:
    found = verdict_on(LatentUse(rates, active), resolve("rnn"))
    if expected is None:
        assert found is None
    else:
        assert found is not None and found.collapsed
        verdict = found.message
        assert verdict.startswith(expected) and "\n" not in verdict
        remedies = ("decoder.word_dropout",)
        against_silence = () if active == 0 else ("objective.free_bits", "objective.warmup", "objective.beta")
        assert all(setting in verdict for setting in (*remedies, *against_silence))


@pytest.mark.parametrize(
    ("rate", "information", "shown", "told"),
    [
        (4.4, 1.4, 4.4, "of the rate's 4.40 nats only 1.40 tell one text from another"),
        (4.4, 2.3, 4.4, None),  # more than half of it
        (6.0, 2.0, 2.9, None),  # so few lines cannot show much more
        (6.0, 1.0, 3.0, "of the rate's 6.00 nats so many lines can show 3.00, and only 1.00 tell one text from another"),
        (1.0, -0.02, 1.0, "of the rate's 1.00 nats only 0.00 tell one text from another"),
        (0.3, 0.05, 0.3, None),  # too little to say
        (9.0, None, 0.0, None),  # a run of an older version
    ],
)
def test_a_rate_that_tells_little_of_the_text(rate: float, information: float | None, shown: float, told: str | None) -> None:
    """Rate = mutual information + KL[q(z) || p(z)]: where the latter is most of it, free bits or the first steps made it so."""
    settings = resolve("rnn", flags={"objective": {"free_bits": 5}})
    verdict = verdict_on(LatentUse([rate], 3, information, shown), settings)
    assert (verdict is None) == (told is None)
    if verdict is not None and told is not None:
        assert not verdict.collapsed and verdict.message.startswith(told)
        assert verdict.message.endswith("what helps: more training.steps, fewer objective.free_bits than 5")
    without = verdict_on(LatentUse([4.4], 3, 1.4, 4.4), resolve("rnn", flags={"objective": {"free_bits": 0, "beta": 0.1}}))
    assert without and without.message.endswith("more training.steps, model.latent.prior mixture, an objective.beta above 0.1")


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (LatentUse([5.0], 0, 0.0, 3.0, lines=30), "no unit of the latent moves with the text"),
        (LatentUse([5.0], 0, 0.0, 3.0, lines=29), None),
        (LatentUse([5.0], 3, 0.0, 3.0, lines=30), "of the rate's 5.00 nats"),
        (LatentUse([5.0], 3, 0.0, 3.0, lines=29), None),
        (LatentUse([0.05], 0, 0.0, 0.05, lines=2), "the latent has collapsed (0.05 nats"),
        (LatentUse([0.05], 0, 0.0, 0.05, lines=1), None),
    ],
)
def test_few_lines_show_a_silent_rate_and_nothing_else(use: LatentUse, told: str | None) -> None:
    """Which units move with the line they do not; and of a single line nothing need be said."""
    verdict = verdict_on(use, resolve("rnn"))
    assert (verdict is None) == (told is None) and (verdict is None or verdict.message.startswith(str(told)))


def test_what_helps_against_a_collapse_goes_by_what_the_run_has() -> None:
    def helps(preset: str, **flags: Any) -> str:
        verdict = verdict_on(LatentUse([0.0], 0), resolve(preset, flags=flags))
        assert verdict is not None
        return verdict.message.partition("what helps: ")[2]

    plain = helps("cnn", objective={"free_bits": 0, "schedule": "cyclical", "beta": 2.0})
    assert plain == (
        "objective.beta 1 (at 2 a nat of rate costs 2), objective.free_bits (some nats), objective.beta 0.5, "
        "objective.schedule linear with an objective.warmup of 0.5"
    )
    free = {"free_bits": 4.0, "free_bits_per": "rung", "beta": 0.5, "schedule": "constant"}
    assert helps("rnn", objective=free, model={"decoder": {"word_dropout": 0.1}}) == (
        "more objective.free_bits than 4, an objective.beta below 0.5, objective.schedule linear with an objective.warmup of 0.5, "
        "more model.decoder.word_dropout (at a price in likelihood)"
    )
    assert helps("cnn", training={"steps": 40}).startswith("more training.steps than 40, ")
    assert "training.steps" not in helps("cnn", training={"steps": 4000})
    mixed = helps("rnn", objective={"free_bits": 0, "free_bits_per": "channel"}, model={"latent": {"prior": "mixture"}})
    assert mixed.startswith("objective.free_bits with objective.free_bits_per rung")
    assert "word_dropout" not in helps("rnn", model={"decoder": {"feeding": "self", "word_dropout": 0}})
    assert verdict_on(LatentUse([0.0], 0), resolve("rnn", flags={"objective": {"beta": 0}})) is None, (
        "a rate that costs nothing is no collapse"
    )


@pytest.mark.parametrize(("share", "narrow", "wide"), [(0.5, 0.002, 0.6), (0.2, 0.005, 0.8), (0.3, 0.01, 0.75)])
def test_lines_that_say_more_than_can_be_shown_accuse_no_latent(share: float, narrow: float, wide: float) -> None:
    """Posteriors whose mean is the prior, so that the rate is information alone: some of them say more than log N each."""
    count, numbers = 500, 8
    variance = torch.where(torch.rand(count, generator=torch.Generator().manual_seed(0)) < share, narrow, wide)[:, None, None]
    variance = variance.expand(count, 1, numbers)
    evidence = Gaussian((1 - variance).sqrt() * torch.randn(variance.shape, generator=torch.Generator().manual_seed(1)), variance.log())
    rates = evidence.rate(Gaussian(torch.zeros(variance.shape), torch.zeros(variance.shape))).sum((1, 2)).double().numpy()
    sample = evidence.sample(generator=torch.Generator().manual_seed(2))
    found = Survey([RungSurvey(evidence, None, sample)], np.arange(count), rates)
    use = LatentUse([float(rates.mean())], numbers, mutual_information(found), rate_below_cap(found))
    assert verdict_on(use, resolve("rnn", flags={"objective": {"free_bits": 5}})) is None


def test_an_architecture_without_the_usual_settings_is_told_too() -> None:
    @dataclass(frozen=True)
    class Own:
        size: int = 3
        decoder: str = "mine"

    settings = replace(resolve("rnn"), model=Own())
    for use in (LatentUse([0.0], 0), LatentUse([3.0], 0), LatentUse([4.4], 3, 1.4, 4.4)):
        assert verdict_on(use, settings) is not None
