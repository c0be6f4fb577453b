"""What only a GPU can show: recorded steps and decoding do what eager ones do, runs go on exactly, and numbers are the processor's."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import textvae
from textvae.architectures import find_architecture
from textvae.data.tokens import TokenTable
from textvae.evaluation.bounds import measure_bounds
from textvae.generation import RECORDED, Sampling, decode_beams, decode_greedy, decode_sampled, prior_latents
from textvae.model.text_model import LatentTextModel
from textvae.presets import preset_names
from textvae.settings import RunSettings, resolve
from textvae.training import session
from textvae.training.checkpoint import read_tensors
from textvae.training.hooks import Hook, StepRecord

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

PRESETS = [name for name in preset_names() if name.startswith(("best/tweets/", "study/tweets/rnn", "study/tweets/hybrid"))]
every_preset = pytest.mark.parametrize("preset", PRESETS)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Lines of two widths, 60 of them."""
    rng = np.random.default_rng(0)
    lines = ["".join(rng.choice(list("abcdef "), size=rng.integers(5, 9) if i % 2 else 31)) for i in range(60)]
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


def settings(preset: str, corpus: Path, **training: Any) -> RunSettings:
    short = {"steps": 16, "batch": 10, "lr_warmup": 2, "evaluate_every": 8, "device": "cuda", "precision": "32-true"}
    return resolve(preset, flags={"corpus": {"path": str(corpus)}, "training": {**short, **training}})


def trained(preset: str, corpus: Path, out: Path, **training: Any) -> dict[str, torch.Tensor]:
    session.start(settings(preset, corpus, **training), out)
    return read_tensors(out / "weights.safetensors")[0]


@every_preset
def test_recorded_steps_train_as_eager_ones_do(preset: str, corpus: Path, tmp_path: Path) -> None:
    eager = trained(preset, corpus, tmp_path / "eager", graphs=False, keep="last")
    recorded = trained(preset, corpus, tmp_path / "recorded", keep="last")
    for name, value in eager.items():
        if value.is_floating_point():
            # Adam turns the rounding of a tiny gradient into a step of the learning rate, so some weights may differ by more.
            far = (recorded[name] - value).abs() > 1e-3
            assert far.float().mean() < 0.02, (name, float((recorded[name] - value).abs().max()))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_stopped_run_goes_on_as_if_it_had_not_been_but_for_rounding(precision: str, corpus: Path, tmp_path: Path) -> None:
    class StopAt(Hook):
        def on_step(self, record: StepRecord) -> None:
            if record.step == 9:
                raise KeyboardInterrupt

    whole = trained("best/tweets/hybrid-dense", corpus, tmp_path / "whole", precision=precision, keep="last")
    chosen = settings("best/tweets/hybrid-dense", corpus, precision=precision, keep="last")
    with pytest.raises(KeyboardInterrupt):
        session.start(chosen, tmp_path / "stopped", [StopAt()])
    assert session.resume(tmp_path / "stopped")  # from step 8
    resumed = read_tensors(tmp_path / "stopped" / "weights.safetensors")[0]
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=1e-4, msg=lambda told, name=name: f"{name}: {told}")


def on_the_gpu(architecture: str) -> tuple[LatentTextModel, LatentTextModel]:
    """The same model, not trained, on both."""
    models = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        family = find_architecture(architecture)
        model = family.build(family.settings(), 30, 20).eval()
        with torch.no_grad():
            for parameter in model.decoder.parameters():
                parameter.mul_(1.5)
        models.append(model.to(device))
    return models[0], models[1]


def sampled(model: LatentTextModel, temperature: float) -> np.ndarray:
    z = prior_latents(model, 40, generator=torch.Generator(model.device).manual_seed(1))
    return decode_sampled(model, z, Sampling(temperature=temperature), torch.Generator().manual_seed(2))


def assert_alike(one: np.ndarray, other: np.ndarray) -> None:
    width = min(one.shape[1], other.shape[1])
    assert (one[:, :width] == other[:, :width]).all(1).mean() > 0.98  # but for rounding


@pytest.fixture
def drawn_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the processor beside the GPU is faster in."""
    monkeypatch.setattr("textvae.nn.kernel.generation.multiplies_bf16_faster", lambda: False)


@pytest.mark.usefixtures("drawn_in_fp32")
@pytest.mark.parametrize("architecture", ["rnn", "cnn", "hybrid", "ladder-cnn", "lm"])
def test_strings_are_those_of_the_processor_and_follow_the_weights(architecture: str) -> None:
    here, there = on_the_gpu(architecture)
    z = prior_latents(here, 500, generator=torch.Generator().manual_seed(1))
    for change in (1.0, 1.0, 1.0, 0.5):  # as it comes, recorded, replayed, replayed with other weights
        with torch.no_grad():
            for model in (here, there):
                next(iter(model.decoder.emitter.parameters())).mul_(change)
        found = [
            (
                decode_greedy(model, z.to(model.device)),
                decode_sampled(model, z.to(model.device), Sampling(top_p=0.9), torch.Generator().manual_seed(2)),
                decode_beams(model, z.to(model.device), 3),
            )
            for model in (here, there)
        ]
        for one, other in zip(*found, strict=True):
            assert_alike(one, other)


def test_more_ways_of_decoding_than_are_kept() -> None:
    _, model = on_the_gpu("rnn")
    temperatures = [0.5 + 0.05 * i for i in range(2 * RECORDED)]
    eager = [sampled(model, temperature) for temperature in temperatures]
    for _ in range(3):  # each is recorded anew, where another made room for it
        for temperature, expected in zip(temperatures, eager, strict=True):
            assert_alike(sampled(model, temperature), expected)


def test_an_emitter_that_waits_for_the_device_is_decoded_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = on_the_gpu("cnn")
    expected = decode_greedy(here, prior_latents(here, 40, generator=torch.Generator().manual_seed(1)))
    step = there.decoder.emitter.step

    def waiting(previous: torch.Tensor, state: Any) -> Any:
        previous.sum().item()
        return step(previous, state)

    monkeypatch.setattr(there.decoder.emitter, "step", waiting)
    z = prior_latents(here, 40, generator=torch.Generator().manual_seed(1)).to(there.device)
    for _ in range(4):
        assert_alike(decode_greedy(there, z), expected)
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.randn(3, device="cuda").isfinite().all()  # the device's own noise goes on


def test_recordings_outlive_those_of_other_models() -> None:
    models = [on_the_gpu("rnn")[1] for _ in range(3)]
    eager = [sampled(model, 0.8) for model in models]
    for model, expected in zip(models[:2], eager, strict=False):
        assert_alike(sampled(model, 0.8), expected)
    del model, models[0]
    gc.collect()
    torch.cuda.empty_cache()
    for _ in range(3):
        for model, expected in zip(models, eager[1:], strict=True):
            assert_alike(sampled(model, 0.8), expected)


def test_log_probabilities_are_those_of_the_processor() -> None:
    """A language model's are exact, so nothing but arithmetic can differ."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 19, size=300)
    table = TokenTable.ended(rng.integers(2, 30, size=int(lengths.sum())), lengths)
    here, there = (measure_bounds(model, table, 1).elbo for model in on_the_gpu("lm"))
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-4)


def test_minutes_are_kept_with_recorded_steps(corpus: Path, tmp_path: Path) -> None:
    chosen = settings("best/tweets/rnn-map", corpus, minutes=0.2, steps=None, evaluate_every=None)
    session.start(chosen, tmp_path / "run")
    vae = textvae.load(tmp_path / "run", device="cuda")
    assert vae.settings.training.steps is not None and vae.settings.training.steps > 300
    assert len(vae.sample(5, seed=1)) == 5
