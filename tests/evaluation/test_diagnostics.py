"""Active units and mutual information against hand-worked cases, brute force and a numerical integral."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from textvae.data.tokens import TokenTable
from textvae.errors import ConfigError
from textvae.evaluation import diagnostics
from textvae.evaluation.diagnostics import Moments, RungSurvey, Survey, active_units, mutual_information, survey
from textvae.model.text_model import LatentTextModel
from textvae.nn.gaussian import Gaussian
from textvae.parts import LatentSettings

Tiny = Callable[..., LatentTextModel]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def top_rung(mean: Tensor, log_variance: float = 0.0) -> RungSurvey:
    posterior = Gaussian(mean, torch.full_like(mean, log_variance))
    return RungSurvey(posterior, None, posterior.sample(generator=seeded()))


def lower_rung(evidence: Gaussian, prior: Gaussian) -> RungSurvey:
    return RungSurvey(evidence, prior, evidence.merge(prior).sample(generator=seeded(1)))


def dense(*rungs: RungSurvey) -> Survey:
    return Survey(rungs, np.arange(len(rungs[0].sample)), [])


def moments(values: Tensor, lengths: list[int] | None = None, max_tokens: int = 3) -> Moments:
    """Of values (N, S, Z), added up in batches of three."""
    found, ends = Moments(max_tokens), np.array(lengths or [max_tokens] * len(values))
    for start in range(0, len(values), 3):
        found.add(values[start : start + 3], ends[start : start + 3])
    return found


def column(values: list[float]) -> Tensor:
    return torch.tensor(values)[:, None, None]


def test_posteriors_that_are_all_alike_tell_nothing() -> None:
    assert mutual_information(dense(top_rung(torch.ones(9, 2, 3)))) == pytest.approx(0.0, abs=1e-9)


def test_posteriors_that_never_overlap_tell_everything() -> None:
    assert mutual_information(dense(top_rung(column([100.0 * n for n in range(12)])))) == pytest.approx(math.log(12))


def test_two_groups_make_one_bit() -> None:
    assert mutual_information(dense(top_rung(column([-50.0] * 4 + [50.0] * 4)))) == pytest.approx(math.log(2))


def test_information_of_rungs_adds_up_where_they_are_independent() -> None:
    """The top tells the halves apart, the rung below (a flat prior) odd from even: two bits."""
    top = top_rung(column([-50.0] * 4 + [50.0] * 4))
    evidence = Gaussian(column([0.0, 90.0] * 4), torch.zeros(8, 1, 1))
    below = lower_rung(evidence, Gaussian(torch.zeros(8, 1, 1), torch.full((8, 1, 1), 12.0)))
    assert mutual_information(dense(below, top)) == pytest.approx(2 * math.log(2), abs=1e-3)


def test_a_rung_that_repeats_its_prior_adds_nothing() -> None:
    top = top_rung(torch.randn(30, 1, 2, generator=seeded()))
    silent = Gaussian(torch.zeros(30, 1, 2), torch.full((30, 1, 2), 14.0))
    follower = lower_rung(silent, Gaussian(3 * top.sample, torch.full((30, 1, 2), -2.0)))
    assert mutual_information(dense(follower, top)) == pytest.approx(mutual_information(dense(top)), abs=1e-3)


def test_overlapping_groups_have_the_integrated_information() -> None:
    """z ~ N(+-a, 1) with equal odds: I = log 2 - E[log(1 + exp(-2 a z))] under N(a, 1)."""
    a, count = 0.8, 6000
    found = mutual_information(dense(top_rung(column([-a, a] * (count // 2)))))
    grid = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    density = Normal(a, 1.0).log_prob(grid).exp() * 0.001
    exact = math.log(2) - (density * torch.log1p(torch.exp(-2 * a * grid))).sum().item()
    assert found == pytest.approx(exact, abs=4 * 0.5 / math.sqrt(count))


def brute_force(found: Survey) -> float:
    """Loops over pairs, merging every evidence with every parent's prior as the model itself does."""
    kept = len(found.rows)
    log_q = np.zeros((kept, len(found.rungs[0].evidence.mean)))
    for rung in found.rungs:
        for n in range(kept):
            evidence, z = rung.evidence, rung.sample[n]
            posterior = evidence if rung.prior is None else evidence.merge(Gaussian(rung.prior.mean[n], rung.prior.log_variance[n]))
            log_q[n] += Normal(posterior.mean, torch.exp(0.5 * posterior.log_variance)).log_prob(z).sum((1, 2)).numpy()
    return float(np.mean(log_q[np.arange(kept), found.rows] - np.log(np.exp(log_q).mean(1))))


@pytest.mark.parametrize("name", ["rnn", "ladder", "ladder-cnn"])
@pytest.mark.parametrize("blocks", [(1 << 22, 1 << 17), (20, 11)])
def test_mutual_information_is_its_definition(
    tiny: Tiny, lines: TokenTable, name: str, blocks: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnostics, "HELD_PAIRS", blocks[0])
    monkeypatch.setattr(diagnostics, "HELD_ENTRIES", blocks[1])
    model = tiny(name)
    with torch.no_grad():
        for rung in model.latents.rungs:
            rung.evidence.weight.mul_(5)
            rung.evidence.bias.zero_()
    found = survey(model, lines, seeded())
    assert mutual_information(found) == pytest.approx(brute_force(found), abs=1e-4)
    assert 0.02 < mutual_information(found) <= math.log(len(lines))


@pytest.mark.parametrize("name", ["rnn", "ladder"])
def test_of_many_sequences_some_are_averaged_and_all_are_in_the_mixture(
    tiny: Tiny, lines: TokenTable, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(name)
    monkeypatch.setattr(diagnostics, "KEPT", 3)
    monkeypatch.setattr(diagnostics, "lines_at_once", lambda model: 2)
    found = survey(model, lines, seeded())
    monkeypatch.setattr(diagnostics, "KEPT", len(lines))
    whole = survey(model, lines, seeded())
    assert whole.rows.tolist() == list(range(len(lines)))
    assert len(set(found.rows.tolist())) == 3 and found.rows.tolist() == sorted(found.rows.tolist())
    assert found.active_units == whole.active_units
    for few, many in zip(found.rungs, whole.rungs, strict=True):
        torch.testing.assert_close(few.evidence.mean, many.evidence.mean)
        assert len(few.evidence.mean) == len(lines)
        assert torch.equal(few.sample, many.sample[found.rows])
        if few.prior is not None and many.prior is not None:
            assert torch.equal(few.prior.mean, many.prior.mean[found.rows])
    assert mutual_information(found) == pytest.approx(brute_force(found), abs=1e-4)


def test_a_language_model_has_no_units_and_no_information(tiny: Tiny, lines: TokenTable) -> None:
    found = survey(tiny("lm"), lines)
    assert found.active_units == []
    assert mutual_information(found) == 0.0


def test_a_dense_unit_is_active_from_a_variance_of_a_hundredth_on() -> None:
    spread = torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None, None]  # variance 1
    mean = 5 + spread * torch.tensor([0.0, 0.0999, 0.1001, 2.0])  # standard deviations around the threshold's 0.1
    assert active_units([moments(mean)]) == [2]


def test_padded_positions_of_a_map_do_not_count() -> None:
    """T_max 4 on 2 positions: the second position starts at token 2, beyond the two lines of length 2."""
    mean = torch.zeros(4, 2, 3)
    mean[:2, 1, 0] = torch.tensor([-9.0, 9.0])  # channel 0 varies only where lines are padded
    mean[2:, 1, 1] = torch.tensor([-0.2, 0.2])  # channel 1 where two are not: squares 0.08 over 6 positions, 0.0133
    mean[:, 0, 2] = torch.tensor([0.12, -0.12, 0.12, -0.12])  # channel 2: squares 0.0576 over 6 positions, 0.0096
    assert active_units([moments(mean, [2, 2, 3, 4], 4)]) == [1]
    mean[2:, 1, 2] = 7.0  # alike for every line that reaches the position: no variance
    assert active_units([moments(mean, [2, 2, 3, 4], 4)]) == [1]


def test_below_the_top_a_unit_is_active_by_its_rate_not_by_its_mean() -> None:
    parent = top_rung(torch.randn(50, 1, 2, generator=seeded()))
    prior = Gaussian(10 * parent.sample, torch.zeros(50, 1, 2))
    shift = torch.tensor([math.sqrt(2 * 0.0099), math.sqrt(2 * 0.0101)])  # KL of a shifted mean is half its square
    posterior = Gaussian(prior.mean + shift, prior.log_variance)
    assert active_units([moments(posterior.rate(prior)), moments(parent.evidence.mean)]) == [1, 2]


def test_the_rate_of_a_padded_position_does_not_count() -> None:
    prior = Gaussian(torch.zeros(2, 2, 2), torch.zeros(2, 2, 2))
    mean = torch.zeros(2, 2, 2)
    mean[0, 1, 0] = 9.0  # beyond the first line's end
    mean[1, 1, 1] = 0.3  # 0.045 nat over three unpadded positions
    rate = Gaussian(mean, torch.zeros(2, 2, 2)).rate(prior)
    assert active_units([moments(rate, [1, 2], 2), moments(torch.zeros(2, 1, 1), [1, 2], 2)]) == [1, 0]


@pytest.mark.parametrize("name", ["rnn", "cnn", "ladder-rnn"])
def test_a_survey_is_in_the_callers_order(tiny: Tiny, lines: TokenTable, name: str) -> None:
    model = tiny(name)
    found = survey(model, lines, seeded())
    assert [tuple(rung.sample.shape[1:]) for rung in found.rungs] == [(s.positions, s.channels) for s in model.latents.shapes]
    assert [rung.prior is None for rung in found.rungs] == [False] * (len(found.rungs) - 1) + [True]
    for n in range(len(lines)):
        with torch.no_grad():
            alone = model.eval().evidence(torch.from_numpy(lines.take(np.array([n]), model.max_tokens)))
        for rung, one in zip(found.rungs, alone, strict=True):
            torch.testing.assert_close(rung.evidence.mean[n], one.mean[0], rtol=1e-4, atol=1e-5)


def test_a_mixture_prior_is_measured_like_any_other(tiny: Tiny, lines: TokenTable) -> None:
    model = tiny("rnn", latent=LatentSettings(channels=(3,), prior="mixture", components=2))
    found = survey(model, lines, seeded())
    assert found.rungs[0].prior is None
    assert mutual_information(found) == pytest.approx(brute_force(found), abs=1e-4)


def test_an_empty_table_is_refused(tiny: Tiny, lines: TokenTable) -> None:
    with pytest.raises(ConfigError, match="no sequence"):
        survey(tiny("rnn"), lines.select(np.array([], dtype=np.int64)))
